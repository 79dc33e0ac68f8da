package etcd

import "swallowkeeper/reason"

var (
	inKey        = reason.New("etcd-in", "key {key} says so", "键 {key} 如此写明")
	unhealthy    = reason.New("etcd-unhealthy", "key {key} says healthy = false", "键 {key} 写明 healthy = false")
	badValue     = reason.New("etcd-value", "the value of key {key} is not understood: {why}", "无法理解键 {key} 的值：{why}")
	lastStays    = reason.New("etcd-value-last", "the value of key {key} is not understood, and its last server {addr} stays: {why}", "无法理解键 {key} 的值，保留其上一个服务器 {addr}：{why}")
	tooLong      = reason.New("etcd-value-long", "it has {n} bytes, at most {most} are allowed", "共 {n} 字节，最多允许 {most} 字节")
	tooLongByFar = reason.New("etcd-value-too-long", "it is too long to be read", "太长，无法读取")
	noJSON       = reason.New("etcd-value-json", "it is no JSON: {text}", "不是 JSON：{text}")
	badField     = reason.New("etcd-value-field", "{field}: no {kind} is allowed there", "{field}：不允许使用 {kind}")
	noObject     = reason.New("etcd-value-object", "it is no JSON object but a value of kind {kind}", "不是 JSON 对象，而是 {kind} 类型的值")
	noSuchField  = reason.New("etcd-value-unknown", "unknown field {field}", "未知字段 {field}")
	noField      = reason.New("etcd-value-missing", "it has no {field}", "缺少 {field}")
	isDeletion   = reason.New("etcd-value-deletion", "it is a deletion (Op = 1)", "它是一条删除记录 (Op = 1)")
	noAuth       = reason.New("etcd-no-auth", "auth_bypass is not true, and neither auth_backend nor default_route says whom to ask", "auth_bypass 不为 true，而 auth_backend 和 default_route 都没有写明向谁查询")
	noAddress    = reason.New("etcd-address", "{text} is no address with a port", "{text} 不是带端口的地址")
	noPort       = reason.New("etcd-port", "{text} is no port", "{text} 不是端口")
	noBackups    = reason.New("etcd-backup", "the balancing method {method} takes no backup servers", "负载均衡方式 {method} 不支持备用服务器")
	notIncluded  = reason.New("etcd-not-included", "no include matches service {name}", "没有 include 匹配服务 {name}")
	excluded     = reason.New("etcd-excluded", "exclude {glob} leaves service {name} out", "服务 {name} 被 exclude {glob} 排除")
	outvoted     = reason.New("etcd-route-outvoted", "key {key}: most instances say something else of the service's routes", "键 {key}：多数实例对该服务的路由说法不同")
	badRoute     = reason.New("etcd-route", "key {key}: {why}", "键 {key}：{why}")
	noticed      = reason.New("etcd-noticed", "by the watch on {prefix}", "通过对 {prefix} 的监听")
)
