package access

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// request is a request passing through nginx's phases.
type request struct {
	names    *names
	listen   Listen
	server   *nginxtree.Directive
	overIPv6 bool
	peer     netip.Addr // address of the connection
	claim    netip.Addr // the address that the client claims, if it is trusted
	method   string
	first    string // the original URI; "" if any will do
	anyURI   bool
	pick     func(of int) int // the client's choice among so many options

	addr     netip.Addr // the client's address according to nginx
	uri      string
	vars     map[string]value
	ruling   map[string]string
	internal bool
	moved    bool // the URI was changed, so the location must be looked up again
	depth    int

	believed *nginxtree.Directive // the set_real_ip_from that accepted the claim
	unsure   *nginxtree.Directive // the first limit that can't be evaluated
}

// outcome is the result of a request.
type outcome int

const (
	refused     outcome = iota
	credentials         // a password or a certificate is required
	letIn
)

// flow is how the rewrite directives of a block end.
type flow int

const (
	next  flow = iota
	stop       // break
	again      // look up the location again
	ended      // answered
)

// arrive sends a request to a location and reports whether it reaches the content. start is where a request without a
// URI begins.
func (q *request) arrive(place, start *nginxtree.Directive) outcome {
	q.addr, q.uri = q.peer, q.first
	q.realIP(q.server)
	if q.listen.tls && q.server.Value("ssl_verify_client", "off") == "on" {
		return credentials
	}
	uri := q.uri
	if q.rewrite(q.server) == ended {
		return refused
	}
	q.moved = false
	q.unknownLua(q.server, "server_rewrite_by_lua_block", "server_rewrite_by_lua_file")
	location := start
	if location == nil || q.uri != uri {
		location = q.find(q.server)
	}
	for range 10 { // nginx's limit
		if location == nil || !q.internal && hidden(location) || !q.excepted(location) {
			return refused
		}
		f := q.rewrite(location)
		q.unknownLua(location, "rewrite_by_lua", "rewrite_by_lua_file", "rewrite_by_lua_block")
		switch {
		case f == ended:
			return refused
		case q.moved:
			q.internal, q.moved = true, false
			location = q.find(q.server)
			continue
		}
		q.realIP(location)
		o := q.access(location)
		switch {
		case o != letIn:
			return o
		case location == place && !q.anyURI && !q.understood():
			return refused
		case location == place:
			return letIn
		}
		tries := location.Inherited("try_files")
		if len(tries) == 0 || tries[0].Parent != location || len(location.Children("proxy_pass")) > 0 {
			return refused
		}
		q.internal = true
		switch other := tries[0].Args[len(tries[0].Args)-1]; {
		case strings.HasPrefix(other, "@"):
			location = named(q.server, other)
		case strings.HasPrefix(other, "="):
			return refused
		default:
			q.uri = q.text(other).text
			location = q.find(q.server)
		}
	}
	return refused
}

// understood reports whether the API knows the location's final URI.
func (q *request) understood() bool {
	words := strings.Split(strings.Trim(q.uri, "/"), "/")
	if q.method == "GET" {
		return q.uri == "" || slices.Contains([]string{"list", "detail", "upstream"}, words[0])
	}
	return q.uri == "" || words[0] == "upstream" && len(words) == 2
}

func named(server *nginxtree.Directive, name string) *nginxtree.Directive {
	for _, l := range server.Children("location") {
		if len(l.Args) == 2 && l.Args[1] == name {
			return l
		}
	}
	return nil
}

// hidden reports whether a location can't be requested from outside: it is internal or named.
func hidden(location *nginxtree.Directive) bool {
	_, name := locationName(location)
	return strings.HasPrefix(name, "@") || len(location.Inherited("internal")) > 0
}

// excepted reports whether the location's content serves the method, considering limit_except.
func (q *request) excepted(location *nginxtree.Directive) bool {
	for _, e := range location.Children("limit_except") {
		if !slices.ContainsFunc(e.Args[1:], func(m string) bool { return strings.EqualFold(m, q.method) }) {
			return false
		}
	}
	return true
}

// realIP applies the realip module.
func (q *request) realIP(block *nginxtree.Directive) {
	if q.believed != nil || !q.claim.IsValid() {
		return
	}
	if strings.EqualFold(block.Value("real_ip_header", "X-Real-IP"), "proxy_protocol") && !q.listen.proxyProtocol {
		return
	}
	for _, d := range block.Inherited("set_real_ip_from") {
		if len(d.Args) < 2 {
			continue
		}
		if p, ok := parsePrefix(d.Args[1]); ok && p.Contains(q.peer) {
			q.believed, q.addr = d, q.claim
			return
		}
	}
}

func (q *request) unknownLua(block *nginxtree.Directive, names ...string) {
	if found := block.Inherited(names...); len(found) > 0 {
		q.doubt(found[0])
	}
}

func (q *request) doubt(d *nginxtree.Directive) {
	if q.unsure == nil {
		q.unsure = d
	}
}

// rewrite runs the directives of the rewrite module.
func (q *request) rewrite(block *nginxtree.Directive) flow {
	for _, d := range block.Block {
		switch d.Name() {
		case "return":
			return ended
		case "break":
			return stop
		case "set":
			if len(d.Args) == 3 {
				q.vars[strings.Trim(d.Args[1], "${}")] = q.text(d.Args[2])
			}
		case "rewrite":
			if f := q.rewriteURI(d); f != next {
				return f
			}
		case "if":
			switch q.condition(d.Args[1:]) {
			case yes:
				if f := q.rewrite(d); f != next {
					return f
				}
			case unknown:
				q.either(d)
			}
		}
	}
	return next
}

// either treats an if that can't be evaluated as false, and remembers what may be missed.
func (q *request) either(d *nginxtree.Directive) {
	if len(d.Children("return", "rewrite", "break")) > 0 {
		q.doubt(d)
	}
	for _, s := range d.Children("set") {
		if len(s.Args) == 3 {
			q.vars[strings.Trim(s.Args[1], "${}")] = value{}
		}
	}
}

func (q *request) rewriteURI(d *nginxtree.Directive) flow {
	if len(d.Args) < 3 {
		return next
	}
	flag := ""
	if len(d.Args) > 3 {
		flag = d.Args[3]
	}
	matched := unknown
	if q.uri != "" || d.Args[1] == "^" || d.Args[1] == "^/" || d.Args[1] == ".*" || d.Args[1] == "^.*$" || d.Args[1] == "^(.*)$" {
		matched = q.match(d.Args[1], false, q.uri)
	}
	switch matched {
	case no:
		return next
	case unknown:
		q.doubt(d)
		return next
	}
	to := d.Args[2]
	if flag == "redirect" || flag == "permanent" || strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") ||
		strings.HasPrefix(to, "$scheme") {
		return ended
	}
	uri := q.text(to)
	q.uri, _, _ = strings.Cut(uri.text, "?")
	if !uri.known {
		q.doubt(d)
	}
	switch flag {
	case "break":
		q.moved = false
		return stop
	case "last":
		q.moved = true
		return again
	}
	q.moved = true // looked up again once the directives have run
	return next
}

// find returns the location that nginx chooses for the URI, within a server or location.
func (q *request) find(block *nginxtree.Directive) *nginxtree.Directive {
	var best *nginxtree.Directive
	var expressions []*nginxtree.Directive
	longest, noExpressions := -1, false
	for _, l := range block.Children("location") {
		kind, name := locationName(l)
		switch {
		case kind == "=":
			if name == q.uri {
				return l
			}
		case kind == "~" || kind == "~*":
			expressions = append(expressions, l)
		case strings.HasPrefix(name, "@"):
		case strings.HasPrefix(q.uri, name) && len(name) > longest:
			best, longest, noExpressions = l, len(name), kind == "^~"
		}
	}
	if best != nil {
		inner := q.find(best)
		if kind, _ := locationName(inner); inner != nil && (kind == "=" || kind == "~" || kind == "~*") {
			return inner
		}
		if inner != nil {
			best = inner
		}
	}
	if noExpressions {
		return best
	}
	for _, l := range expressions {
		kind, name := locationName(l)
		if q.match(name, kind == "~*", q.uri) == yes {
			if inner := q.find(l); inner != nil {
				return inner
			}
			return l
		}
	}
	return best
}

// locationName splits location = /x into its modifier and name.
func locationName(l *nginxtree.Directive) (kind, name string) {
	switch {
	case l == nil || len(l.Args) < 2:
		return "", ""
	case len(l.Args) == 3:
		return l.Args[1], l.Args[2]
	}
	for _, kind := range []string{"^~", "~*", "~", "="} {
		if name, ok := strings.CutPrefix(l.Args[1], kind); ok {
			return kind, name
		}
	}
	return "", l.Args[1]
}

// match matches an expression and stores its captures.
func (q *request) match(expression string, fold bool, text string) answer {
	if fold {
		expression = "(?i)" + expression
	}
	re, seen := q.names.expressions[expression]
	if !seen {
		re, _ = regexp.Compile(expression) // nil for syntax that Go lacks
		q.names.expressions[expression] = re
	}
	if re == nil {
		return unknown
	}
	m := re.FindStringSubmatch(text)
	if m == nil {
		return no
	}
	for i, name := range re.SubexpNames() {
		if i > 0 && i < 10 {
			q.vars[strconv.Itoa(i)] = known(m[i])
		}
		if name != "" {
			q.vars[name] = known(m[i])
		}
	}
	return yes
}
