package dns

import "swallowkeeper/reason"

// Why a server is in.
var (
	inRecord = reason.New("dns-in", "{record} record of {name}, asked for every {interval}; its TTL of {ttl} s is not waited for", "{name} 的 {record} 记录，每 {interval} 查询一次；不等待其 {ttl} 秒的 TTL")
	inSRV    = reason.New("dns-in-srv", "SRV record of {name}: target {target}, priority {priority}, weight {weight}; asked for every {interval}, its TTL of {ttl} s is not waited for", "{name} 的 SRV 记录：目标 {target}，优先级 {priority}，权重 {weight}；每 {interval} 查询一次，不等待其 {ttl} 秒的 TTL")
	lastIn   = reason.New("dns-last", "it stays as it was in the last answer, since {since}: {why}", "自 {since} 起保留上一次应答中的状态：{why}")
	kept     = reason.New("dns-kept", "it is not known, and what is written of it stays: {why}", "状态未知，保留已写入的内容：{why}")
	isEmpty  = reason.New("dns-empty", "{name} exists, and has no {record} record: it is registered with no usable server", "{name} 存在，但没有 {record} 记录：已注册，但没有可用的服务器")
	isGone   = reason.New("dns-gone", "{name} does not exist (NXDOMAIN {n} times in a row): it is deregistered", "{name} 不存在（连续 {n} 次 NXDOMAIN）：已注销")
	inPart   = reason.New("dns-part", "the server seems to answer with a part of the records: each answer has {n}, and others each time", "服务器似乎只返回部分记录：每次应答 {n} 条，且每次不同")
	noticed  = reason.New("dns-noticed", "{name} is asked for every {interval}", "每 {interval} 查询一次 {name}")
)

// Why a record gives no server.
var (
	noPort    = reason.New("dns-port", "SRV record of {name}: target {target} has port 0", "{name} 的 SRV 记录：目标 {target} 的端口为 0")
	noBackups = reason.New("dns-backup", "SRV record of {name}: priority {priority} is not the lowest, and the balancing method {method} takes no backup servers", "{name} 的 SRV 记录：优先级 {priority} 不是最低值，而负载均衡方式 {method} 不支持备用服务器")
	badRecord = reason.New("dns-record", "{record} record of {name}: {why}", "{name} 的 {record} 记录：{why}")
)

// Why a name is not known.
var (
	nxdomain    = reason.New("dns-nxdomain", "{name} does not exist (NXDOMAIN from {server}): scaled to 0, removed, misspelt, or this machine is not on its network", "{name} 不存在（{server} 返回 NXDOMAIN）：可能已缩容到 0、已删除、名称有误，或本机不在其网络中")
	servfail    = reason.New("dns-servfail", "{server} could not find out (SERVFAIL)", "{server} 无法查出结果 (SERVFAIL)")
	refused     = reason.New("dns-refused", "{server} refuses to answer (REFUSED)", "{server} 拒绝应答 (REFUSED)")
	otherCode   = reason.New("dns-rcode", "{server} answers {code}", "{server} 应答 {code}")
	silent      = reason.New("dns-timeout", "no answer from {server} within {time}", "{server} 在 {time} 内没有应答")
	unreachable = reason.New("dns-unreachable", "{server} can't be reached: {why}", "无法连接 {server}：{why}")
	isCut       = reason.New("dns-cut", "the answer of {server} is cut, and over TCP there is no whole one: {why}", "{server} 的应答被截断，通过 TCP 也得不到完整应答：{why}")
	stillCut    = reason.New("dns-cut-still", "it is cut, too", "也被截断")
	malformed   = reason.New("dns-malformed", "the answer of {server} is no message of DNS: {why}", "{server} 的应答不是 DNS 报文：{why}")
	stranger    = reason.New("dns-stranger", "{server} answers with another ID or another question", "{server} 的应答 ID 或问题不符")
	referral    = reason.New("dns-referral", "{server} only refers to other servers: it does not look names up for others", "{server} 只返回其他服务器的引用：它不为他人解析域名")
	aliases     = reason.New("dns-alias", "{name} is an alias that leads on and on", "{name} 是没有尽头的别名")
	half        = reason.New("dns-half", "half an answer: {record} of {name} is not known: {why}", "只有一半应答：{name} 的 {record} 未知：{why}")
	contradicts = reason.New("dns-contradiction", "half an answer: {name} has {record} records, and for {other} it is said not to exist", "只有一半应答：{name} 有 {record} 记录，但查询 {other} 时却称其不存在")
	noTarget    = reason.New("dns-target", "target {target} of {name} has no address: {why}", "{name} 的目标 {target} 没有地址：{why}")
	noAddress   = reason.New("dns-target-empty", "it has neither an A nor an AAAA record", "它既没有 A 记录也没有 AAAA 记录")
	noServer    = reason.New("dns-no-server", "no name server: {why}", "没有域名服务器：{why}")
	aboutName   = reason.New("dns-name", "the {record} records of {name} are not known: {why}", "{name} 的 {record} 记录未知：{why}")
)
