package syncer

import "swallowkeeper/reason"

// Texts of events.
var (
	gets         = reason.New("gets-traffic", "{addr} receives traffic for {upstream}", "{addr} 开始承接 {upstream} 的流量")
	getsNone     = reason.New("gets-no-traffic", "{addr} no longer receives traffic for {upstream}: {why}", "{addr} 不再承接 {upstream} 的流量：{why}")
	noneHealthy  = reason.New("no-healthy-server", "{upstream} has no healthy server and keeps its last ones", "{upstream} 没有健康的服务器，保留最后的服务器")
	healthyAgain = reason.New("healthy-again", "{upstream} has a healthy server again", "{upstream} 重新有了健康的服务器")
	shows        = reason.New("shows-generation", "it shows generation {g}", "已为第 {g} 代")
	allShow      = reason.New("workers-have-generation", "all of its workers have generation {g}", "全部 worker 已为第 {g} 代")
	holdEnded    = reason.New("hold-ended", "hold {id} has ended", "拦截 {id} 已结束")
	holdApproved = reason.New("hold-approved", "hold {id} was approved", "拦截 {id} 已批准")
	allDead      = reason.New("proven", "none of {n} servers answers from here: they go, though {rule} would hold them", "从本机探测，{n} 台服务器均无应答：虽然 {rule} 会拦截，仍予移除")
	fileWritable = reason.New("file-writable", "the conf file can be written again", "配置文件已恢复可写")
	allFrozen    = reason.New("all-frozen", "everything is frozen until it is released", "全部已冻结，直到手动解除")
	allFrozenFor = reason.New("all-frozen-until", "everything is frozen until {time}", "全部已冻结，至 {time}")
	oneFrozen    = reason.New("upstream-frozen", "upstream {name} is frozen until it is released", "upstream {name} 已冻结，直到手动解除")
	oneFrozenFor = reason.New("upstream-frozen-until", "upstream {name} is frozen until {time}", "upstream {name} 已冻结，至 {time}")
	allThawed    = reason.New("all-unfrozen", "the freeze of everything has ended; those of single upstreams stay", "全部冻结已解除；单个 upstream 的冻结仍然有效")
	oneThawed    = reason.New("upstream-unfrozen", "upstream {name} is no longer frozen", "upstream {name} 已解冻")
	wentBack     = reason.New("rolled-back-frozen", "{why} and froze everything at it", "{why}，并冻结全部 upstream")
)

// Reasons why a server or an upstream is out.
var (
	// MarkedDown is the reason for a server that stays in its upstream without traffic.
	MarkedDown      = reason.New("marked-down", "marked down: its service is deregistered", "已标记为 down：其服务已注销")
	notListed       = reason.New("not-listed", "no registry lists it there now", "注册中心已不再在该处列出它")
	outByFreeze     = reason.New("kept-out-freeze", "it is usable, and a freeze keeps it out", "可用，但因冻结而未接入")
	stranger        = reason.New("stranger", "a gateway has an upstream of this name that swallowkeeper did not write", "某个网关已有同名 upstream，且并非由 swallowkeeper 写入")
	notYet          = reason.New("not-written-yet", "not written yet: {why}", "尚未写入：{why}")
	gatewayUnasked  = reason.New("gateway-unasked", "gateway {name} has not been asked since the start", "启动后尚未询问到网关 {name}")
	gatewaysUnasked = reason.New("gateways-unasked", "gateways {list} have not been asked since the start", "启动后尚未询问到网关 {list}")
	localhost       = reason.New("name-localhost", "localhost is this machine's own name: what nginx sends there would go to the service", "localhost 是本机自己的名称：nginx 发往那里的流量会落到该服务上")
	dotted          = reason.New("name-dotted", `its name has a dot and may be a host's: names = "dotted" in [[registry]] lets it in`, `名称含有点号，可能是主机名：在 [[registry]] 中设 names = "dotted" 即可接入`)
	leftOut         = reason.New("rollback-left-out", "of it {n} are left out, first {name}: {why}", "其中 {n} 项被排除，首先是 {name}：{why}")
)

// Reasons why an address may not be used.
var (
	ownAddress   = reason.New("address-own", "{addr} is the address of {whose}", "{addr} 是{whose}的地址")
	nobodys      = reason.New("address-nobodys", "{ip} is no address of a machine", "{ip} 不是任何一台机器的地址")
	manyMachines = reason.New("address-many", "{ip} is an address of many machines", "{ip} 是多台机器的地址")
	denied       = reason.New("address-denied", "{ip} is in {range} of deny_addresses", "{ip} 属于 deny_addresses 中的 {range}")
	notAllowed   = reason.New("address-not-allowed", "{ip} is in no range of allow_addresses", "{ip} 不在 allow_addresses 的任何范围内")
	isLinkLocal  = reason.New("address-link-local", "{ip} is link-local, and no range of allow_addresses names it", "{ip} 是链路本地地址，allow_addresses 中没有写明它的范围")
	thisMachine  = reason.New("address-loopback", "{ip} is this machine itself, and no range of allow_addresses names it", "{ip} 是本机，allow_addresses 中没有写明它的范围")
	standsFor    = reason.New("address-stands-for", "{ip} stands for {inner}: {why}", "{ip} 代表 {inner}：{why}")
)

// routesOff is the reason for a route that is out because its registry's routes are ignored.
var routesOff = reason.New("routes-off", "routes = \"toml\" of its registry takes those of [[route]] alone", "其注册中心设置了 routes = \"toml\"，只接受 [[route]] 中的路由")
