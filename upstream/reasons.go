package upstream

import (
	"fmt"
	"strings"

	"swallowkeeper/reason"
)

// Reasons why a name, a server or an option is invalid.
var (
	noName      = reason.New("name-empty", "the name is empty", "名称为空")
	longName    = reason.New("name-long", "the name has {n} bytes, at most {most} are allowed", "名称有 {n} 字节，最多允许 {most} 字节")
	oddName     = reason.New("name-characters", "the name has characters other than letters, digits, _ . - or begins with . or -", "名称含有字母、数字、_ . - 以外的字符，或以 . 或 - 开头")
	addressName = reason.New("name-address", "the name is an IP address", "名称是 IP 地址")
	noMethod    = reason.New("method-unknown", `unknown balancing method {method}: allowed are "" (weighted round robin), least_conn, ip_hash and random`, `未知的负载均衡方式 {method}：只允许 ""（加权轮询）、least_conn、ip_hash 和 random`)
	noIP        = reason.New("address-no-ip", "{host} is no IP address", "{host} 不是 IP 地址")
	zoned       = reason.New("address-zone", "an address with a zone is good on one machine only", "带区域标识的地址只在一台机器上有效")
	unspecified = reason.New("address-unspecified", "{ip} means every address, not one", "{ip} 代表所有地址，而非某一个")
	noMachine   = reason.New("address-no-machine", "{ip} is no address of one machine", "{ip} 不是单台机器的地址")
	badPort     = reason.New("port-range", "port {n} is not between 1 and 65535", "端口 {n} 不在 1 与 65535 之间")
	noAddress   = reason.New("address-missing", "the address is missing", "缺少地址")
	outOfRange  = reason.New("number-range", "{name} {n} is not between {least} and {most}", "{name} {n} 不在 {least} 与 {most} 之间")
	badHost     = reason.New("host-note", "the note of its host {host} is no host:port behind an origin: it could not be read back", "其主机注释 {host} 不是来源之后的 host:port：无法再读回")
	spelling    = reason.New("address-spelling", "the address is another spelling of {addr}", "该地址是 {addr} 的另一种写法")
	badServer   = reason.New("server-invalid", "server {addr}: {why}", "服务器 {addr}：{why}")
	badRoute    = reason.New("route-invalid", "route {route}: {why}", "路由 {route}：{why}")
	sameRoute   = reason.New("route-same", "route {route} takes the same requests as another one of this upstream", "路由 {route} 与该 upstream 的另一条路由匹配相同的请求")
	badTimeout  = reason.New("fail-timeout-range", "fail_timeout {time} is not a whole number of seconds between 0s and {most}", "fail_timeout {time} 不是 0s 与 {most} 之间的整秒数")
)

// Reasons why something is out, and what it conflicts with.
var (
	outvoted        = reason.New("route-outvoted", "more instances of the service, or what is written, say otherwise", "该服务更多的实例（或已写入的内容）与此说法不同")
	noUpstream      = reason.New("route-no-upstream", "there is no upstream {name} yet", "upstream {name} 尚不存在")
	noAuthUpstream  = reason.New("route-no-auth-upstream", "there is no upstream {name} to ask about its requests", "不存在用于鉴权的 upstream {name}")
	routeConfigured = reason.New("route-configured", "[[route]] of the configuration gives its requests to upstream {name}", "配置中的 [[route]] 把这些请求交给 upstream {name}")
	routeAmbiguous  = reason.New(
		"route-ambiguous", "some requests are of it and of {route} of upstream {name}, and neither is the more special",
		"有些请求同时匹配它和 upstream {name} 的 {route}，且两者都不更具体",
	)
	routeTaken     = reason.New("route-taken", "its requests go to upstream {name} already", "这些请求已由 upstream {name} 处理")
	manyRoutes     = reason.New("route-too-many", "one upstream has {most} routes at most", "一个 upstream 最多有 {most} 条路由")
	collides       = reason.New("name-collides", "its name collides with upstream {name}, which is already in use", "名称与已在使用的 upstream {name} 冲突")
	collidesCanary = reason.New("name-collides-canary", "its name collides with upstream {name} (canary {canary}), which is already in use", "名称与已在使用的 upstream {name}（canary {canary}）冲突")
	itsInstance    = reason.New("instance", "it is instance {instance} on node {node}", "它是节点 {node} 上的实例 {instance}")
	checkSays      = reason.New("check-output", "the check says {output}", "检查输出为 {output}")
)

// Reasons for writing a generation. The conf file has them in English: see [ReadReason].
var (
	changesAdded   = reason.New("added", "added {list}", "新增 {list}")
	changesUpdated = reason.New("changed", "changed {list}", "变更 {list}")
	changesRemoved = reason.New("removed", "removed {list}", "移除 {list}")
	rolledBack     = reason.New("rolled-back", "rolled back to generation {g}", "已回滚到第 {g} 代")
)

// RolledBack returns the reason for a generation that restores an earlier one.
func RolledBack(to int) reason.Reason { return rolledBack.With(to) }

// Reason lists the changes, naming at most three upstreams of each kind.
func (c Changes) Reason() reason.Reason {
	say := func(what *reason.Phrase, names []string) reason.Reason {
		const most = 3
		if n := len(names); n > most {
			names = append(names[:most], fmt.Sprintf("%d more", n-most))
		}
		if len(names) == 0 {
			return reason.Reason{}
		}
		return what.With(strings.Join(names, ", "))
	}
	var added, updated, removed []string
	for _, u := range c.Added {
		added = append(added, u.Name)
	}
	for _, u := range c.Updated {
		updated = append(updated, u.New.Name)
	}
	for _, u := range c.Removed {
		removed = append(removed, u.Name)
	}
	return reason.Join(say(changesAdded, added), say(changesUpdated, updated), say(changesRemoved, removed))
}

// ReadReason parses the reason in a conf file's header. What it does not recognize, such as the wording of another
// version, becomes plain text.
func ReadReason(line string) reason.Reason {
	var parts []reason.Reason
	for part := range strings.SplitSeq(line, "; ") {
		for _, p := range []*reason.Phrase{changesAdded, changesUpdated, changesRemoved, rolledBack} {
			if blank, is := strings.CutPrefix(part, p.With("").String()); is && areNames(blank) {
				parts = append(parts, p.With(blank))
			}
		}
	}
	if read := reason.Join(parts...); read.String() == line {
		return read
	}
	return reason.Text(line)
}

// areNames reports whether the text is a list as Reason writes it. The number of a generation passes as well.
func areNames(list string) bool {
	for name := range strings.SplitSeq(list, ", ") {
		if ValidName(strings.TrimSuffix(name, " more")) != nil {
			return false
		}
	}
	return true
}
