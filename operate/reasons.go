package operate

import "swallowkeeper/reason"

// Why the daemon is not ready, and other things to know.
var (
	fileFailed      = reason.New("file-failed", "the conf file can't be written: {why}", "无法写入配置文件：{why}")
	fileDamaged     = reason.New("file-damaged", "the conf file was damaged, and the newest good generation of the history took its place without its freezes: look at {file}, then move it away", "配置文件曾损坏，已由历史中最新的完好一代替代，其中的冻结已丢失：请查看 {file}，然后将其移走")
	fileEdited      = reason.New("file-edited", "the conf file was edited by hand", "配置文件曾被手工修改")
	fileMissing     = reason.New("file-missing", "there is no conf file at {file}: nothing was written yet", "{file} 处没有配置文件：尚未写入任何内容")
	daemonAway      = reason.New("daemon-away", "the daemon does not answer", "守护进程没有应答")
	registryTrouble = reason.New("registry-trouble", "registry {name}: {why}", "注册中心 {name}：{why}")
	registrySilent  = reason.New("registry-silent", "registry {name} has not answered yet", "注册中心 {name} 尚未应答")
	registryMute    = reason.New("registry-mute", "registry {name} does not say why an instance is in or out", "注册中心 {name} 不说明实例是否接入的原因")
	registryNothing = reason.New("registry-nothing", "registry {name} has nothing of this name now", "注册中心 {name} 目前没有此名称")
	registryNotices = reason.New("registry-notices", "registry {name}: {how}", "注册中心 {name}：{how}")
	gatewayTrouble  = reason.New("gateway-trouble", "gateway {name} is out of sync: {why}", "网关 {name} 不一致：{why}")
	inFile          = reason.New("in-file", "in {file}, generation {g} of {time}", "位于 {file}，第 {g} 代（{time}）")
	gatewayHas      = reason.New("gateway-has", "gateway {name} has generation {g}, as it showed at {time}", "网关 {name} 为第 {g} 代（{time} 所示）")
	workersHave     = reason.New("gateway-workers-have", "gateway {name} has generation {g}, as its {n} workers showed at {time}", "网关 {name} 为第 {g} 代（其 {n} 个 worker 于 {time} 所示）")
	gatewaySilent   = reason.New("gateway-silent", "gateway {name} has not been asked yet", "尚未询问网关 {name}")
	gatewayBehind   = reason.New("gateway-behind", "gateway {name} shows generation {g}, the newest is {newest}", "网关 {name} 为第 {g} 代，最新为第 {newest} 代")

	// Held introduces a hold's reason among others.
	Held = reason.New("held", "held: {why}", "已拦截：{why}")
)

// Why a server is in or stays.
var (
	listed       = reason.New("listed", "listed as usable by {registry}", "{registry} 列为可用")
	written      = reason.New("written", "in the conf file, from {registry}", "已写入配置文件，来自 {registry}")
	keptHeld     = reason.New("stays-held", "deregistered, kept by the guard because its removal is held", "已注销，因移除被拦截而由保护规则保留")
	deregistered = reason.New("deregistered", "deregistered", "已注销")
	keptTrial    = reason.New("stays-on-trial", "deregistered, kept by the guard until it is known whether it is alive", "已注销，在确认其是否存活之前由保护规则保留")
	keptUnserved = reason.New("stays-unserved", "deregistered, kept by the guard because its service has no healthy server", "已注销，因所属服务没有健康的服务器而由保护规则保留")
	keptFrozen   = reason.New("stays-frozen", "deregistered, kept because it is {why}", "已注销，因冻结而保留（{why}）")
	alive        = reason.New("witness-alive", "it answers from here", "从本机探测有应答")
	dead         = reason.New("witness-dead", "it does not answer from here", "从本机探测无应答")
)

// What is frozen, and what keeps a server out.
var (
	frozen         = reason.New("frozen", "frozen until it is released", "已冻结，直到手动解除")
	frozenFor      = reason.New("frozen-until", "frozen until {time}", "已冻结，至 {time}")
	allFrozen      = reason.New("out-all-frozen", "everything is frozen until it is released", "全部已冻结，直到手动解除")
	allFrozenFor   = reason.New("out-all-frozen-until", "everything is frozen until {time}", "全部已冻结，至 {time}")
	theFrozen      = reason.New("out-frozen", "the upstream is frozen until it is released", "该 upstream 已冻结，直到手动解除")
	theFrozenFor   = reason.New("out-frozen-until", "the upstream is frozen until {time}", "该 upstream 已冻结，至 {time}")
	itIsFrozen     = reason.New("out-frozen-file", "it is frozen", "它已冻结")
	guardHoldsAll  = reason.New("out-guard", "the guard holds everything", "保护规则拦截了全部变更")
	listedButKept  = reason.New("listed-but", "its registry lists it ({why}), but {but}", "注册中心列出了它（{why}），但{but}")
	changesNone    = reason.New("changes-none", "no changes", "无变更")
	changesCounted = reason.New("changes", "{a} added, {u} updated, {r} removed", "新增 {a}，更新 {u}，移除 {r}")

	routeRegistered = reason.New("route-said", "registered in {registry}", "由 {registry} 声明")
	routeOrdered    = reason.New("route-ordered", "from the configuration", "由配置声明")
)
