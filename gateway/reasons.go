package gateway

import "swallowkeeper/reason"

var noBackup = reason.New("gateway-backup", "the gateway has no backup servers", "网关不支持备用服务器")

var noMethod = reason.New("gateway-method", "the gateway has no balancing method {method}", "网关没有负载均衡方式 {method}")

// Reasons for refusing a route.
var (
	noRoutes         = reason.New("gateway-routes", "the gateway does no routes", "网关不支持路由")
	noRouteHost      = reason.New("gateway-route-host", "no server block includes it: host {host} is not among the hosts of the gateway", "没有 server 块包含它：主机 {host} 不在网关的 hosts 中")
	noRouteMethods   = reason.New("gateway-route-methods", "the gateway can't tell routes apart by their methods", "网关无法按方法区分路由")
	noRouteStrip     = reason.New("gateway-route-strip", "the gateway can't strip a path", "网关无法去掉路径前缀")
	noRouteRewrite   = reason.New("gateway-route-rewrite", "the gateway can't rewrite a path", "网关无法重写路径")
	noRouteTimeout   = reason.New("gateway-route-timeout", "the gateway has no timeout for one route", "网关不支持单条路由的超时")
	noRouteAuth      = reason.New("gateway-route-auth", "the gateway can't ask before a request, and without that the route would be open", "网关无法在请求前鉴权，而不鉴权则路由会敞开")
	noRouteOwnAuth   = reason.New("gateway-route-own-auth", "the gateway can't ask its own path {path} before a request, and without that the route would be open: name an upstream, as in auth/verify", "网关无法在请求前询问自身的路径 {path}，而不鉴权则路由会敞开：请写上游，例如 auth/verify")
	noRouteWebSocket = reason.New("gateway-route-websocket", "the gateway can't keep WebSockets away from one route", "网关无法对单条路由禁用 WebSocket")
	noRouteVariables = reason.New("gateway-route-variables", "the gateway takes no variables in a path", "网关的路径不支持变量")
)
