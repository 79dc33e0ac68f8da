package wiring

import "swallowkeeper/reason"

// Owners of an address. The Chinese text has a space after a name if words follow.
var (
	statusPage  = reason.New("of-status-page", "the status page", "状态页")
	ofRegistry  = reason.New("of-registry", "registry {name}", "注册中心 {name} ")
	ofInterface = reason.New("of-interface", "the interface of gateway {name}", "网关 {name} 的接口")
)

// What nginx's own configuration uses a name for.
var (
	nginxProxies = reason.New("name-proxied", "nginx proxies to a host of this name ({place}): the service would take that over", "nginx 正代理到同名主机（{place}）：该服务会接管其流量")
	nginxPort    = reason.New("name-proxied-port", "nginx proxies to a host and port of this name ({place}): beside an upstream of it nginx does not load", "nginx 正代理到同名主机及端口（{place}）：若有同名 upstream，nginx 无法加载")
	nginxHas     = reason.New("name-configured", "nginx's configuration has an upstream of this name ({place})", "nginx 配置中已有同名 upstream（{place}）")
)
