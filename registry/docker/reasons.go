package docker

import "swallowkeeper/reason"

// Why a container is in or out.
var (
	runs         = reason.New("docker-in", "container {container} runs", "容器 {container} 正在运行")
	stillRuns    = reason.New("docker-still-runs", "it was told to stop by {signal}, and still runs after {time}", "它收到 {signal} 停止信号，{time} 后仍在运行")
	isContainer  = reason.New("docker-container", "it is container {container}", "它是容器 {container}")
	isPaused     = reason.New("docker-paused", "it is paused", "它已暂停")
	isRestarting = reason.New("docker-restarting", "it ended and is started again", "它已退出，正在重新启动")
	isNotRunning = reason.New("docker-state", "it does not run: its state is {state}", "它没有运行：状态为 {state}")
	notYet       = reason.New("docker-starting", "not yet: its health check has not passed", "尚未就绪：其健康检查还没有通过")
	isUnhealthy  = reason.New("docker-unhealthy", "its health check says unhealthy", "其健康检查结果为 unhealthy")
	hasEnded     = reason.New("docker-ended", "it has just ended", "它刚刚结束")
	isLeaving    = reason.New("docker-leaving", "it was told to stop, by {signal}", "它已收到停止信号 {signal}")
	taskState    = reason.New("docker-task", "its task is {state}", "其任务状态为 {state}")

	noName       = reason.New("docker-no-name", "nothing names its service: set swallowkeeper.name", "没有服务名称：请设置 swallowkeeper.name")
	notEnabled   = reason.New("docker-enable", "swallowkeeper.enable is false", "swallowkeeper.enable 为 false")
	isIgnored    = reason.New("docker-ignore", "SERVICE_IGNORE is set", "设置了 SERVICE_IGNORE")
	notIncluded  = reason.New("docker-include", "its service is not in include", "其服务不在 include 中")
	isExcluded   = reason.New("docker-exclude", "its service is in exclude", "其服务在 exclude 中")
	badLabel     = reason.New("docker-label", "{label} is {value}: allowed is {allowed}", "{label} 的值为 {value}：只允许 {allowed}")
	noPort       = reason.New("docker-no-port", "exposes no tcp port: set swallowkeeper.port", "没有暴露 tcp 端口：请设置 swallowkeeper.port")
	manyPorts    = reason.New("docker-ports", "exposes {ports}: set swallowkeeper.port", "暴露了 {ports}：请设置 swallowkeeper.port")
	notPublished = reason.New("docker-not-published", "port {port} is not published: docker run --publish", "端口 {port} 没有发布：docker run --publish")
	isMeshed     = reason.New("docker-meshed", "port {port} is published by the swarm's routing mesh, behind which no task can be told from another: publish it with mode=host", "端口 {port} 由 swarm 的路由网格发布，无法区分各个任务：请用 mode=host 发布")
	noNetwork    = reason.New("docker-no-network", "it has no address on a network", "它在任何网络上都没有地址")
	manyNetworks = reason.New("docker-networks", "on {n} networks: set swallowkeeper.network ({names})", "连接了 {n} 个网络：请设置 swallowkeeper.network（{names}）")
	notOnNetwork = reason.New("docker-network", "it is not on network {network} of swallowkeeper.network, but on {names}", "它不在 swallowkeeper.network 指定的网络 {network} 上，而在 {names} 上")
	lostRoutes   = reason.New("docker-routes", "most instances of its service say other routes", "该服务的多数实例声明了其他路由")

	notManager = reason.New("docker-worker", `this engine is a swarm's worker, which knows no tasks: ask a manager, or set swarm = "off"`, `该引擎是 swarm 的工作节点，不知道任务：请查询管理节点，或设置 swarm = "off"`)
)
