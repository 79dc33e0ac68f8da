package statustest

import "swallowkeeper/reason"

// Texts of a daemon, in the words of a real one.
var (
	noRoutes     = reason.New("fake-no-routes", "the gateway does no routes", "网关不支持路由")
	listed       = reason.New("fake-listed", "listed as usable by {registry}", "{registry} 列为可用")
	check        = reason.New("fake-check", `check "http" is critical`, `检查 "http" 为 critical`)
	hostile      = reason.New("fake-check-hostile", `check "http" is critical: {output}`, `检查 "http" 为 critical: {output}`)
	nodeCheck    = reason.New("fake-node-check", "check {check} of node {node} is critical", "节点 {node} 的检查 {check} 为 critical")
	maintenance  = reason.New("fake-maintenance", "it is in maintenance: {notes}", "处于维护模式：{notes}")
	markedDown   = reason.New("fake-marked-down", "marked down: its service is deregistered", "已标记为 down：其服务已注销")
	staysHeld    = reason.New("fake-stays-held", "deregistered, kept by the guard because its removal is held", "已注销，因移除被拦截而由保护规则保留")
	deregistered = reason.New("fake-deregistered", "deregistered", "已注销")
	wouldGo      = reason.New("fake-max-removal", "{n} of {all} servers would go, max_removal allows 5%: removals are held", "{all} 台服务器中有 {n} 台将被移除，max_removal 只允许 5%：移除已拦截")
	held         = reason.New("fake-held", "held: {why}", "已拦截：{why}")
	fileFailed   = reason.New("fake-file-failed", "the conf file can't be written: {why}", "无法写入配置文件：{why}")
	trouble      = reason.New("fake-registry-trouble", "registry {name}: {why}", "注册中心 {name}：{why}")
	behind       = reason.New("fake-gateway-trouble", "gateway {name} is out of sync: {why}", "网关 {name} 不一致：{why}")
	unserved     = reason.New("fake-no-healthy-server", "{upstream} has no healthy server and keeps its last ones", "{upstream} 没有健康的服务器，保留最后的服务器")
	getsTraffic  = reason.New("fake-gets-traffic", "{addr} receives traffic for {upstream}", "{addr} 开始承接 {upstream} 的流量")
	getsNone     = reason.New("fake-gets-no-traffic", "{addr} no longer receives traffic for {upstream}", "{addr} 不再承接 {upstream} 的流量")
	allHave      = reason.New("fake-workers-have-generation", "all of its workers have generation {g}", "全部 worker 已为第 {g} 代")
	counted      = reason.New("fake-changes", "{a} added, {u} updated, {r} removed", "新增 {a}，更新 {u}，移除 {r}")
)
