package nginx

import "swallowkeeper/reason"

var (
	notOurs   = reason.New("nginx-not-ours", "{path} was not made by swallowkeeper: nothing is touched until it is moved away", "{path} 不是 swallowkeeper 创建的：在移走之前不做任何改动")
	stranger  = reason.New("nginx-stranger", "pid {pid} is {name}, no signal sent", "进程 {pid} 是 {name}，未发送信号")
	noPID     = reason.New("nginx-pid-file", "{file} holds {text}, which is no process ID: no signal sent", "{file} 的内容是 {text}，不是进程号：未发送信号")
	noProcess = reason.New("nginx-no-process", "pid {pid} of {file} is no process here, no signal sent: {why}", "{file} 中的进程 {pid} 在本机不存在，未发送信号：{why}")
	notServed = reason.New(
		"nginx-not-included", "{url} answers {message}: include current/*.location.conf in the server of {address}, from {dir}",
		"{url} 返回 {message}：请在 {address} 的 server 中 include {dir} 下的 current/*.location.conf",
	)
	refusesOurs = reason.New("nginx-refuses-ours", "nginx refuses upstream {name}, in {file}: {message}", "nginx 拒绝上游 {name}（{file}）：{message}")
	refusesUse  = reason.New(
		"nginx-refuses-use", "nginx refuses the change of upstream {name} for a file that is not swallowkeeper's: {message}",
		"由于一个不属于 swallowkeeper 的文件，nginx 拒绝上游 {name} 的变更：{message}",
	)
	refusesTheirs = reason.New(
		"nginx-refuses-theirs", "nginx refuses its configuration for a file that is not swallowkeeper's, so it is not reloaded: {message}",
		"由于一个不属于 swallowkeeper 的文件，nginx 拒绝其配置，因此未重新加载：{message}",
	)
	twoRoutes  = reason.New("nginx-two-routes", "upstream {name} has route {route}, which upstream {other} has already", "上游 {name} 的路由 {route} 已属于上游 {other}")
	checkFails = reason.New("nginx-check-fails", "{command} fails, so nginx is not reloaded: {why}", "{command} 失败，因此未重新加载 nginx：{why}")
	tooManyOld = reason.New(
		"nginx-old-workers", "{n} old workers are shutting down, max_old_workers is {most}: no reload until some have ended; worker_shutdown_timeout in nginx.conf ends them",
		"{n} 个旧 worker 正在退出，max_old_workers 为 {most}：在部分退出之前不再重新加载；可在 nginx.conf 中用 worker_shutdown_timeout 结束它们",
	)
	notShown = reason.New(
		"nginx-not-shown", "{after} after the reload {who}: not changed: {names}; nginx's error log says why",
		"重新加载后 {after}，{who}：未变更：{names}；原因见 nginx 的错误日志",
	)
	oldWorker  = reason.New("nginx-old-worker", "worker {pid} of before it goes on", "此前的 worker {pid} 仍在继续")
	oldAnswer  = reason.New("nginx-old-answer", "worker {pid} still has another generation", "worker {pid} 仍使用另一代配置")
	noAnswer   = reason.New("nginx-no-answer", "nothing shows it: {why}", "无法确认：{why}")
	newWorkers = reason.New("nginx-new-workers", "not every new worker has shown it", "并非所有新 worker 都已确认")
	isStopped  = reason.New("nginx-stopped", "the worker is stopped", "该 worker 已被暂停")
)
