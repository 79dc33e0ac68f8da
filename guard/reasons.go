package guard

import "swallowkeeper/reason"

// Reasons why changes are held.
var (
	tooFewServices     = reason.New("min-services", "the registries list {n} services with a usable server, min_services is {least}: everything is held", "注册中心只列出 {n} 个有可用服务器的服务，min_services 为 {least}：全部变更已拦截")
	nothingListed      = reason.New("registry-emptied", "{registry} no longer lists any service with a usable server: the {n} servers from there are held", "{registry} 不再列出任何有可用服务器的服务：来自那里的 {n} 台服务器已保留")
	overRemoval        = reason.New("max-removal", "{n} of {all} servers would go, max_removal allows {share}: removals are held", "{all} 台服务器中有 {n} 台将被移除，max_removal 只允许 {share}：移除已拦截")
	overWindow         = reason.New("max-removal-window", "{n} of {all} servers would be gone within {time}, max_removal_window allows {share}: removals are held", "{time} 内 {all} 台服务器中将有 {n} 台消失，max_removal_window 只允许 {share}：移除已拦截")
	overService        = reason.New("max-service-removal", "{n} of {all} servers of {name} would go, max_service_removal allows {share}: its removals are held", "{name} 的 {all} 台服务器中有 {n} 台将被移除，max_service_removal 只允许 {share}：其移除已拦截")
	overServiceWindow  = reason.New("max-service-removal-window", "{n} of {all} servers of {name} would be gone within {time}, max_service_removal allows {share}: its removals are held", "{time} 内 {name} 的 {all} 台服务器中将有 {n} 台消失，max_service_removal 只允许 {share}：其移除已拦截")
	accountLost        = reason.New("account-lost", "what the conf file's header says of removals can't be read: removals are held until {time}", "无法读取配置文件头部的移除记录：移除已拦截，直到 {time}")
	stillMissing       = reason.New("recovery", "{n} of {all} servers are still missing: removals are held until nothing has come back for {time}", "{all} 台服务器中仍缺 {n} 台：移除已拦截，直到 {time} 内不再有服务器恢复")
	overUpstreams      = reason.New("max-upstreams", "there would be {n} upstreams, max_upstreams is {most}: additions are held", "将有 {n} 个 upstream，max_upstreams 为 {most}：新增已拦截")
	overRoutes         = reason.New("max-removal-routes", "routes to {n} of {of} servers would go or move, max_removal is {most}: {routes}", "{of} 台服务器中通往 {n} 台的路由将被移除或转走，max_removal 为 {most}：{routes}")
	overRoutesReplaced = reason.New("max-removal-routes-replaced", "{why}; others come in their place, so they go if that is so for {recovery}", "{why}；已有其他路由取代，若持续 {recovery} 则放行")
	overRoutesWindow   = reason.New("max-removal-window-routes", "within {time} {of} servers would have lost {n}, or the routes to them, max_removal_window is {most}: {routes}", "{time} 内 {of} 台服务器中将失去 {n} 台或通往它们的路由，max_removal_window 为 {most}：{routes}")
	routesStillMissing = reason.New("recovery-routes", "routes are still missing: {routes} stay until none has come back for {time}", "仍有路由缺失：{routes} 将保留，直到 {time} 内不再有路由恢复")
	overServers        = reason.New("max-servers", "there would be {n} servers, max_servers is {most}: additions are held", "将有 {n} 台服务器，max_servers 为 {most}：新增已拦截")
	overGrowth         = reason.New("max-growth", "there would be {n} servers where there were {base}, max_growth allows {times} times as many: additions are held", "服务器将从 {base} 台增至 {n} 台，max_growth 只允许 {times} 倍：新增已拦截")
	moreHolds          = reason.New("more-holds", "and {n} holds more", "另有 {n} 项拦截")
)

// What the witness found, appended to the reason of a hold.
var (
	someAccept    = reason.New("witness-accept", "{n} of {all} still accept connections", "{all} 台中仍有 {n} 台接受连接")
	someAnswer    = reason.New("witness-answer", "{n} of {all} still answer {path}", "{all} 台中仍有 {n} 台应答 {path}")
	untried       = reason.New("witness-untried", "{n} could not be tried", "{n} 台未能探测")
	noneAccepts   = reason.New("witness-blind", "none of the {n} accepts connections, and neither do servers that are listed: that proves nothing", "{n} 台均不接受连接，而列出的服务器也不接受：这不能证明什么")
	noneAnswers   = reason.New("witness-blind-http", "none of the {n} answers {path}, and neither do servers that are listed: that proves nothing", "{n} 台均不应答 {path}，而列出的服务器也不应答：这不能证明什么")
	acceptDecides = reason.New("witness-person", "none of the {n} accepts connections: an operator must decide", "{n} 台均不接受连接：须由人决定")
	answerDecides = reason.New("witness-person-http", "none of the {n} answers {path}: an operator must decide", "{n} 台均不应答 {path}：须由人决定")
)

// Reasons why a server or an upstream is out.
var (
	refused     = reason.New("nginx-refuses", "nginx would refuse it: {why}", "nginx 会拒绝它：{why}")
	refusedStay = reason.New("nginx-refuses-stays", "nginx would refuse it: {why}: it stays as it is", "nginx 会拒绝它：{why}：保持原样")
	leftOften   = reason.New("damped", "it left traffic {n} times within {time}: it stays out until {until}", "它在 {time} 内 {n} 次失去流量：在 {until} 之前不接入")
	nameHeld    = reason.New("name-held", "its name collides with upstream {name}, whose removal is held", "名称与 upstream {name} 冲突，而后者的移除正被拦截")
	serverHeld  = reason.New("server-held", "another upstream has it, where its removal is held", "它属于另一个 upstream，而在那里的移除正被拦截")
	outByRule   = reason.New("kept-out", "it is usable, and {rule} keeps it out", "可用，但因 {rule} 而未接入")
	outByHold   = reason.New("kept-out-hold", "it is usable, and a hold on everything keeps it out", "可用，但因全部变更被拦截而未接入")

	// KeptAllTheSame wraps the registry's reason for a server that is out but still gets traffic.
	KeptAllTheSame = reason.New("kept-all-the-same", "{why}: it is kept in traffic", "{why}：但仍保留其流量")
)
