package access

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// value is the value of a variable, if known.
type value struct {
	text  string
	known bool
}

func known(s string) value { return value{s, true} }

// names are the variables that a configuration defines, and words that a client could guess.
type names struct {
	maps, geos, sets map[string]*nginxtree.Directive
	others           map[string]bool // set by Lua, njs, Perl or the answer of another server
	guesses          []string
	expressions      map[string]*regexp.Regexp
}

func readNames(t *nginxtree.Tree) *names {
	n := &names{
		maps: map[string]*nginxtree.Directive{}, geos: map[string]*nginxtree.Directive{},
		sets: map[string]*nginxtree.Directive{}, others: map[string]bool{},
		guesses:     []string{"", "zz", "1", "127.0.0.1"},
		expressions: map[string]*regexp.Regexp{},
	}
	t.Walk(func(d *nginxtree.Directive) {
		if len(d.Args) < 2 {
			return
		}
		name := strings.TrimPrefix(d.Args[len(d.Args)-1], "$")
		switch first := strings.TrimPrefix(d.Args[1], "$"); d.Name() {
		case "map":
			n.maps[name] = d
			n.guess(d.Args[1], d.Block)
		case "geo":
			n.geos[name] = d
		case "set":
			n.sets[first] = d
		case "if":
			n.guess(strings.TrimPrefix(d.Args[1], "("), nil)
			if len(d.Args) > 3 && guessable(strings.Trim(d.Args[1], "($")) {
				n.guesses = append(n.guesses, strings.TrimSuffix(d.Args[3], ")"))
			}
		case "js_set", "perl_set", "set_by_lua", "set_by_lua_file", "set_by_lua_block", "auth_request_set":
			n.others[first] = true
		}
	})
	slices.Sort(n.guesses)
	n.guesses = slices.Compact(n.guesses)
	n.guesses = n.guesses[:min(len(n.guesses), 24)]
	return n
}

// guess adds a map's keys to the words that a client may send, unless they are secret.
func (n *names) guess(source string, entries []*nginxtree.Directive) {
	if !guessable(strings.Trim(source, "${}")) {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "~") {
			n.guesses = append(n.guesses, e.Name())
		}
	}
}

// guessable reports whether the values of a variable are no secret: names of hosts and programs, and addresses.
func guessable(name string) bool {
	switch name {
	case "host", "http_host", "http_user_agent", "http_referer", "http_origin", "http_x_real_ip", "http_x_forwarded_for",
		"http_client_ip", "http_x_client_ip", "http_forwarded", "ssl_server_name", "proxy_protocol_addr", "http_x_forwarded_proto":
		return true
	}
	return false
}

func fromClient(name string) bool {
	for _, p := range []string{"http_", "arg_", "cookie_", "proxy_protocol_"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	switch name {
	case "host", "args", "query_string", "is_args", "content_type", "content_length", "ssl_server_name", "remote_user":
		return true
	}
	return false
}

// variable returns the value of a variable during this request.
func (q *request) variable(name string) value {
	if v, ok := q.vars[name]; ok {
		return v
	}
	if d := q.names.maps[name]; d != nil {
		return q.nested(func() value { return q.mapped(d) })
	}
	if d := q.names.geos[name]; d != nil {
		return q.geo(d)
	}
	switch {
	case q.names.others[name]:
		return value{}
	case q.names.sets[name] != nil:
		return known("") // not reached
	case fromClient(name):
		return q.choose(name)
	}
	switch name {
	case "remote_addr":
		return known(q.written(q.addr))
	case "binary_remote_addr":
		return known(q.written(q.addr))
	case "realip_remote_addr":
		return known(q.written(q.peer))
	case "request_method":
		return known(q.method)
	case "uri", "document_uri":
		return value{q.uri, q.uri != ""}
	case "request_uri": // as sent by the client: /./upstream/x means /upstream/x
		if _, ruling := q.ruling[name]; !ruling {
			q.ruling[name] = []string{"", "/."}[q.pick(2)] + q.first
		}
		return value{q.ruling[name], q.first != ""}
	case "scheme", "https":
		plain, tls := "http", "https"
		if name == "https" {
			plain, tls = "", "on"
		}
		if q.listen.tls {
			return known(tls)
		}
		return known(plain)
	case "server_port":
		return value{strconv.Itoa(q.listen.Port), q.listen.Socket == ""}
	case "server_addr":
		return value{q.listen.Host, q.listen.Host != ""}
	case "ssl_client_verify":
		if q.listen.tls {
			return known("NONE")
		}
		return known("")
	}
	if strings.HasPrefix(name, "ssl_client_") {
		return known("") // no certificate, or no trusted one
	}
	if len(name) == 1 && name[0] >= '0' && name[0] <= '9' {
		return known("")
	}
	return value{}
}

func (q *request) written(a netip.Addr) string {
	switch {
	case q.listen.Socket != "" && !a.IsValid():
		return "unix:"
	case a.Is4() && q.overIPv6:
		return "::ffff:" + a.String()
	}
	return a.String()
}

// nested guards against variables that refer to themselves.
func (q *request) nested(f func() value) value {
	if q.depth > 20 {
		return value{}
	}
	q.depth++
	defer func() { q.depth-- }()
	return f()
}

var inText = regexp.MustCompile(`\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))`)

// text expands variables.
func (q *request) text(s string) value {
	if !strings.Contains(s, "$") {
		return known(s)
	}
	all := true
	s = inText.ReplaceAllStringFunc(s, func(v string) string {
		got := q.variable(strings.Trim(v, "${}"))
		all = all && got.known
		return got.text
	})
	return value{s, all}
}

// choose returns what the client sends: nothing, something, or a word that it could guess, but no passwords.
func (q *request) choose(name string) value {
	if v, ok := q.ruling[name]; ok {
		return known(v)
	}
	words := []string{"", "zz", "1"}
	switch {
	case name == "proxy_protocol_addr" && !q.listen.proxyProtocol:
		words = words[:1]
	case guessable(name):
		words = q.names.guesses
	}
	if name == "host" && len(words) > 1 && words[0] == "" {
		words = words[1:]
	}
	v := words[q.pick(len(words))]
	q.ruling[name] = v
	return known(v)
}

func (q *request) mapped(d *nginxtree.Directive) value {
	if len(d.Args) < 3 {
		return value{}
	}
	source := q.text(strings.Join(d.Args[1:len(d.Args)-1], " "))
	if !source.known {
		return value{}
	}
	lower := strings.ToLower(source.text)
	hostnames := len(d.Children("hostnames")) > 0
	var byDefault, wild, matched *nginxtree.Directive
	longest := 0
	for _, e := range d.Block {
		key := e.Name()
		if len(e.Args) != 2 || key == "include" {
			continue
		}
		if key == "default" {
			byDefault = e
			continue
		}
		if strings.HasPrefix(key, "~") {
			if matched == nil {
				expression, fold := mapExpression(key)
				switch q.match(expression, fold, source.text) {
				case yes:
					matched = e
				case unknown:
					return value{}
				}
			}
			continue
		}
		key = strings.ToLower(strings.TrimPrefix(key, `\`))
		if key == lower {
			return q.text(e.Args[1])
		}
		if hostnames && len(key) > longest && wildcard(key, lower) {
			wild, longest = e, len(key)
		}
	}
	for _, e := range []*nginxtree.Directive{wild, matched, byDefault} {
		if e != nil {
			return q.text(e.Args[1])
		}
	}
	return known("")
}

func mapExpression(key string) (expression string, fold bool) {
	if s, ok := strings.CutPrefix(key, "~*"); ok {
		return s, true
	}
	return key[1:], false
}

func wildcard(pattern, host string) bool {
	switch {
	case strings.HasPrefix(pattern, "*."):
		return strings.HasSuffix(host, pattern[1:])
	case strings.HasPrefix(pattern, "."):
		return strings.HasSuffix(host, pattern) || host == pattern[1:]
	case strings.HasSuffix(pattern, ".*"):
		return strings.HasPrefix(host, pattern[:len(pattern)-1])
	}
	return false
}

// claimed returns the address that the client claims: one from a network that geo distinguishes.
func (q *request) claimed(d *nginxtree.Directive, other netip.Addr) netip.Addr {
	name := "geo " + d.Args[len(d.Args)-1]
	if _, ok := q.ruling[name]; !ok {
		n := q.pick(min(len(d.Block), 128) + 1)
		q.ruling[name] = other.String()
		if n > 0 {
			from, _, _ := strings.Cut(d.Block[n-1].Name(), "-")
			if p, ok := parsePrefix(from); ok {
				q.ruling[name] = p.Addr().String()
			}
		}
	}
	addr, _ := netip.ParseAddr(q.ruling[name])
	return addr
}

// geo returns the value of the narrowest network that contains an address.
func (q *request) geo(d *nginxtree.Directive) value {
	if len(d.Block) > maxSpans {
		return value{}
	}
	addr := q.addr
	if len(d.Args) > 2 && fromClient(strings.Trim(d.Args[1], "${}")) {
		addr = q.claimed(d, addr)
	} else if len(d.Args) > 2 {
		source := q.text(d.Args[1])
		if !source.known {
			return value{}
		}
		addr, _ = netip.ParseAddr(source.text)
	}
	for _, p := range d.Children("proxy") { // it trusts X-Forwarded-For of these
		if network, ok := parsePrefix(p.Args[len(p.Args)-1]); ok && addr.IsValid() && network.Contains(addr.Unmap()) {
			addr = q.claimed(d, addr)
			break
		}
	}
	addr = addr.Unmap()
	best, found := -1, known("")
	for _, e := range d.Block {
		if len(e.Args) != 2 {
			continue
		}
		if e.Name() == "default" && best < 0 {
			found = known(e.Args[1])
			continue
		}
		if from, to, ok := strings.Cut(e.Name(), "-"); ok {
			low, err1 := netip.ParseAddr(from)
			high, err2 := netip.ParseAddr(to)
			if err1 == nil && err2 == nil && addr.IsValid() && low.BitLen() == addr.BitLen() &&
				low.Compare(addr) <= 0 && addr.Compare(high) <= 0 {
				best, found = 0, known(e.Args[1])
			}
			continue
		}
		if p, ok := parsePrefix(e.Name()); ok && addr.IsValid() && p.Contains(addr) && p.Bits() >= best {
			best, found = p.Bits(), known(e.Args[1])
		}
	}
	return found
}

// answer is yes, no, or unknown.
type answer int

const (
	no answer = iota
	yes
	unknown
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// condition evaluates the condition of an if.
func (q *request) condition(words []string) answer {
	words = slices.Clone(words)
	if len(words) == 0 {
		return unknown
	}
	if words[0] = strings.TrimPrefix(words[0], "("); words[0] == "" {
		words = words[1:]
	}
	if n := len(words); n > 1 && words[n-1] == ")" {
		words = words[:n-1]
	} else if n > 0 {
		words[n-1] = strings.TrimSuffix(words[n-1], ")")
	}
	if len(words) == 0 || !strings.HasPrefix(words[0], "$") {
		return unknown // tests files
	}
	left := q.text(words[0])
	if len(words) == 1 {
		if !left.known {
			return unknown
		}
		return answerOf(left.text != "" && left.text != "0")
	}
	if len(words) != 3 || !left.known {
		return unknown
	}
	op, not := strings.CutPrefix(words[1], "!")
	result := unknown
	switch op {
	case "=":
		if right := q.text(words[2]); right.known {
			result = answerOf(left.text == right.text)
		}
	case "~", "~*":
		result = q.match(words[2], op == "~*", left.text)
	}
	if not && result != unknown {
		result = answerOf(result == no)
	}
	return result
}
