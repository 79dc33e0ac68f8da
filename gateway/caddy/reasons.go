package caddy

import "swallowkeeper/reason"

var (
	garbled = reason.New("caddy-garbled", "the answer is no configuration of Caddy: {why}; is that its admin API?", "返回的内容不是 Caddy 的配置：{why}；该地址是 Caddy 的管理 API 吗？")
	foreign = reason.New("caddy-not-admin", "{address} answers {said}: that is not Caddy's admin API", "{address} 返回 {said}：那不是 Caddy 的管理 API")
	refuses = reason.New(
		"caddy-forbidden", `Caddy takes no calls from here ({said}): add {origin} to "origins" in the "admin" part of its configuration`,
		`Caddy 不接受来自这里的调用（{said}）：请在其配置的 "admin" 部分把 {origin} 加入 "origins"`,
	)
	noAdmin = reason.New(
		"caddy-no-admin", `nobody listens at {address} ({why}): start Caddy, and see that the "admin" part of its configuration has this address and is not off`,
		`{address} 无人监听（{why}）：请启动 Caddy，并确认其配置的 "admin" 部分使用该地址且未关闭`,
	)
	noServer = reason.New(
		"caddy-no-server", `Caddy has no HTTP server {server}, it has {servers}: set server to one of them, or listen, to have it made`,
		`Caddy 没有 HTTP 服务器 {server}，现有：{servers}：请把 server 设为其中之一，或设置 listen 以创建它`,
	)
	otherListen = reason.New(
		"caddy-other-listen", `Caddy's HTTP server {server} listens on {addresses}, not on {listen}: it was not made by swallowkeeper; set listen = "" to share it, or another server`,
		`Caddy 的 HTTP 服务器 {server} 监听 {addresses}，而不是 {listen}：它不是 swallowkeeper 创建的；请设 listen = "" 以共用，或使用另一个 server`,
	)
	noResolver = reason.New(
		"caddy-no-resolver", `Caddy's questions for servers can't be answered at resolver = {address}: {why}`,
		`无法在 resolver = {address} 回答 Caddy 对服务器的查询：{why}`,
	)
	twoPlaces = reason.New(
		"caddy-two-places", `Caddy's configuration has the @id "swallowkeeper" more than once, at {places}: nothing is changed until one is left`,
		`Caddy 的配置中多次出现 @id "swallowkeeper"，位于 {places}：在只剩一处之前不做任何改动`,
	)
	noRoute = reason.New(
		"caddy-no-route", `the @id "swallowkeeper" stands at {place}, which is no route: nothing is changed until it is on a route of a server or of a subroute`,
		`@id "swallowkeeper" 位于 {place}，那不是路由：在它位于服务器或 subroute 的路由上之前不做任何改动`,
	)
	refusesOne = reason.New("caddy-refuses", "Caddy refuses the change of upstream {name}: {said}", "Caddy 拒绝上游 {name} 的变更：{said}")
	busy       = reason.New("caddy-busy", "Caddy's configuration was changed by somebody else {n} times in between: not changed: {names}", "期间 Caddy 的配置被他人更改了 {n} 次：未变更：{names}")
	notShown   = reason.New("caddy-not-shown", "Caddy took the change and does not show it: not changed: {names}", "Caddy 接受了变更但并未显示：未变更：{names}")
	broken     = reason.New("caddy-broken-off", "nobody knows whether Caddy has taken the change of {names}: {why}", "无法确认 Caddy 是否已接受 {names} 的变更：{why}")
)
