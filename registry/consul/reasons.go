package consul

import "swallowkeeper/reason"

// States of an instance's checks.
var (
	nodeMaintained    = reason.New("consul-node-maintenance", "node {node} is in maintenance", "节点 {node} 处于维护模式")
	nodeMaintainedFor = reason.New("consul-node-maintenance-for", "node {node} is in maintenance: {notes}", "节点 {node} 处于维护模式：{notes}")
	maintained        = reason.New("consul-maintenance", "it is in maintenance", "处于维护模式")
	maintainedFor     = reason.New("consul-maintenance-for", "it is in maintenance: {notes}", "处于维护模式：{notes}")
	checkIs           = reason.New("consul-check", "check {check} is {state}", "检查 {check} 为 {state}")
	nodeCheckIs       = reason.New("consul-node-check", "check {check} of node {node} is {state}", "节点 {node} 的检查 {check} 为 {state}")
	checkPasses       = reason.New("consul-passing", "check {check} is passing", "检查 {check} 通过")
	checksPass        = reason.New("consul-passing-all", "checks {list} are passing", "检查 {list} 通过")
	moreChecksPass    = reason.New("consul-passing-more", "checks {list} and {n} more are passing", "检查 {list} 及另外 {n} 项通过")
	taken             = reason.New("consul-health", "{why}, which health = {value} takes", "{why}，health = {value} 允许接入")
	noCheck           = reason.New("consul-no-check", "it has no check of its own", "它没有自己的检查")
	noState           = reason.New("consul-check-broken", "the answer has a check without a state", "应答中有一项检查没有状态")
)

// How a change of a service is noticed.
var (
	noticedByQuery  = reason.New("consul-noticed-query", "a query of its own tells each change of it", "它有自己的查询，每次变更都会立即得知")
	noticedByIndex  = reason.New("consul-noticed-bell", "a query for its index tells each change of it, over HTTP/2", "通过 HTTP/2 查询其索引，每次变更都会立即得知")
	noticedByNode   = reason.New("consul-noticed-node", "the queries of its nodes tell its changes: the agent allows {n} connections for {services} services; over HTTPS each would have a query", "由其所在节点的查询得知变更：agent 只允许 {n} 个连接，而服务有 {services} 个；使用 HTTPS 时每个服务都有自己的查询")
	noticedBySearch = reason.New("consul-noticed-search", "its changes are searched for: the agent allows {n} connections for {services} services; over HTTPS, or with more of limits.http_max_conns_per_client, each would have a query", "其变更需要逐个查找：agent 只允许 {n} 个连接，而服务有 {services} 个；使用 HTTPS，或调大 limits.http_max_conns_per_client，每个服务都会有自己的查询")
)

// Which services and instances are wanted.
var (
	incomplete    = reason.New("consul-incomplete", "the answer lacks its service or its node", "应答中缺少服务或节点")
	notIncluded   = reason.New("consul-not-included", "no include matches service {name}", "没有 include 匹配服务 {name}")
	excluded      = reason.New("consul-excluded", "exclude {glob} leaves service {name} out", "服务 {name} 被 exclude {glob} 排除")
	noneTagged    = reason.New("consul-none-tagged", "no instance of service {name} has a wanted tag", "服务 {name} 没有带所需标签的实例")
	notTagged     = reason.New("consul-not-tagged", "no tag matches the wanted ones", "没有符合要求的标签")
	filteredOut   = reason.New("consul-filtered", "the filter {filter} leaves it out", "被 filter {filter} 排除")
	tagged        = reason.New("consul-tagged", "tag {tag} is wanted by tags {glob}", "标签 {tag} 符合 tags {glob}")
	tagPutsHere   = reason.New("consul-canary", "tag {tag} puts it here", "标签 {tag} 将它归入此处")
	tagPutsThere  = reason.New("consul-canary-elsewhere", "its tag puts it into upstream {name}", "其标签将它归入 upstream {name}")
	emptyTag      = reason.New("consul-tag-empty", "tag {tag} has no value", "标签 {tag} 没有值")
	tagsDisagree  = reason.New("consul-tags-contradict", "two tags contradict each other: {one} and {other}", "两个标签互相矛盾：{one} 与 {other}")
	badTag        = reason.New("consul-tag-invalid", "tag {tag}: {why}", "标签 {tag}：{why}")
	hasMeta       = reason.New("consul-meta", "meta {key} = {value}", "meta {key} 为 {value}")
	badNumber     = reason.New("consul-meta-number", "meta {key} = {value}: allowed is a number from {least} to {most}", "meta {key} = {value}：只允许 {least} 到 {most} 的数字")
	badSeconds    = reason.New("consul-meta-seconds", "meta {key} = {value}: allowed are whole seconds such as 5 or 5s, up to {most}", "meta {key} = {value}：只允许整秒数，例如 5 或 5s，最多 {most}")
	badBool       = reason.New("consul-meta-bool", "meta {key} = {value}: allowed are true and false", "meta {key} = {value}：只允许 true 或 false")
	noBackups     = reason.New("consul-meta-backup", "meta {key}: the balancing method {method} takes no backup servers", "meta {key}：负载均衡方式 {method} 不支持备用服务器")
	badWeight     = reason.New("consul-weight", "{name} is {n}, not between 1 and {most}", "{name} 为 {n}，不在 1 与 {most} 之间")
	noAddress     = reason.New("consul-no-address", "neither the service nor its node has an address", "服务及其节点都没有地址")
	namesOff      = reason.New("consul-host-names-off", "{host} is a host name, and host_names is off", "{host} 是主机名，而 host_names 已关闭")
	lookupFailed  = reason.New("consul-lookup", "look up {host}: {why}", "解析 {host}：{why}")
	nothingFound  = reason.New("consul-lookup-empty", "no address", "没有地址")
	badAddress    = reason.New("consul-host-address", "{host}: {why}", "主机 {host}：{why}")
	hostless      = reason.New("consul-host-empty", "{host} has no address", "{host} 没有地址")
	hasThisServer = reason.New("consul-host", "{host} has this address", "{host} 解析为此地址")
)
