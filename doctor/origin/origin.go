// Package origin says what the variables of an nginx configuration can hold: which texts, and
// which parts of them a client chooses. It follows set, map, geo, split_clients and what
// expressions capture, in the order in which nginx runs them. What Lua, njs, Perl or another
// server sets it does not know.
package origin

import (
	"regexp"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// Piece is a part of a text: written there, chosen by the client, or not known.
type Piece struct {
	// Text is what stands there.
	Text string
	// Client is the variable by which the client chooses this part, "" where it does not.
	Client string
	// By is the expression that captures it, where one does.
	By string
	// At is the directive that brings it in.
	At *nginxtree.Directive

	unknown bool
}

// IsEmpty reports whether it is a text without a byte.
func (p Piece) IsEmpty() bool { return p.Text == "" && p.Client == "" && !p.unknown }

// Value is one text that a variable can hold.
type Value []Piece

// Literal is the text where all of it is written in the configuration.
func (v Value) Literal() (text string, ok bool) {
	for _, p := range v {
		if p.Client != "" || p.unknown {
			return "", false
		}
		text += p.Text
	}
	return text, true
}

// Bounds of what is followed; configurations that people write stay far below.
const (
	maxDepth  = 12
	maxValues = 64
	maxSteps  = 20_000
)

// Tracer follows the variables of a configuration.
type Tracer struct {
	tree         *nginxtree.Tree
	maps, others map[string]*nginxtree.Directive
	captures     map[string][]*nginxtree.Directive // map entries by the names that they capture
	steps        int
}

// New reads which variables a configuration defines.
func New(t *nginxtree.Tree) *Tracer {
	r := &Tracer{
		tree: t, maps: map[string]*nginxtree.Directive{}, others: map[string]*nginxtree.Directive{},
		captures: map[string][]*nginxtree.Directive{},
	}
	t.Walk(func(d *nginxtree.Directive) {
		if len(d.Args) < 2 {
			return
		}
		switch d.Name() {
		case "map", "geo", "split_clients":
			r.maps[bare(d.Args[len(d.Args)-1])] = d
		case "js_set", "perl_set", "set_by_lua", "set_by_lua_file", "set_by_lua_block":
			r.others[bare(d.Args[1])] = d
		}
		if d.Parent != nil && d.Parent.Name() == "map" && len(d.Parent.Args) > 2 && strings.HasPrefix(d.Name(), "~") {
			for _, name := range groupNames(d.Name()) {
				r.captures[name] = append(r.captures[name], d)
			}
		}
	})
	return r
}

func bare(variable string) string { return strings.Trim(variable, "${}") }

var inText = regexp.MustCompile(`\$(?:\{[A-Za-z0-9_]+\}|[A-Za-z0-9_]+)`)

// Values is what a text with variables can become where a directive of a location uses it.
func (r *Tracer) Values(text string, use *nginxtree.Directive) []Value {
	r.steps = 0
	return r.expand(text, use, use, 0)
}

// expand puts in what the variables can hold. use is where the text stands; pass is the
// directive in whose request all happens.
func (r *Tracer) expand(text string, use, pass *nginxtree.Directive, depth int) []Value {
	all := []Value{nil}
	add := func(next []Value) {
		var longer []Value
		for _, v := range all {
			for _, n := range next {
				if len(longer) < maxValues {
					longer = append(longer, slices.Concat(v, n))
				}
			}
		}
		all = longer
	}
	for text != "" {
		at := inText.FindStringIndex(text)
		if at == nil {
			add([]Value{{{Text: text, At: use}}})
			break
		}
		if at[0] > 0 {
			add([]Value{{{Text: text[:at[0]], At: use}}})
		}
		add(r.variable(bare(text[at[0]:at[1]]), use, pass, depth+1))
		text = text[at[1]:]
	}
	return all
}

func (r *Tracer) variable(name string, use, pass *nginxtree.Directive, depth int) []Value {
	unknown := []Value{{{unknown: true, At: use}}}
	if r.steps++; depth > maxDepth || r.steps > maxSteps {
		return unknown
	}
	if list, ok := r.guarded(name, use, pass); ok {
		return list
	}
	number := len(name) == 1 && name[0] >= '1' && name[0] <= '9'
	if found := r.assigned(name, number, use, pass, depth); len(found) > 0 {
		return found
	}
	if d := r.maps[name]; d != nil {
		return r.mapped(d, pass, depth)
	}
	if r.others[name] != nil || number {
		return unknown
	}
	if entries := r.captures[name]; len(entries) > 0 {
		var all []Value
		for _, e := range entries {
			all = append(all, r.captured(name, e.Name(), source(e.Parent), e, pass, depth)...)
		}
		return all
	}
	switch {
	case name == "host" && pass.Around("server") != nil:
		if names := r.ownNames(pass.Around("server")); len(names) > 0 {
			return literals(names, use)
		}
		return []Value{{{Client: name, At: use}}}
	case name == "request_uri", (name == "uri" || name == "document_uri") && !r.loosens(pass):
		return []Value{{{Text: "/", At: use}, {Client: name, At: use}}}
	case name == "is_args":
		return literals([]string{"?"}, use) // or nothing, and then no arguments either
	case fromClient(name):
		return []Value{{{Client: name, At: use}}}
	case name == "scheme":
		return literals([]string{"http", "https"}, use)
	}
	return unknown
}

// loosens reports whether a rewrite takes the slash off that a URI begins with.
func (r *Tracer) loosens(pass *nginxtree.Directive) bool {
	for block := pass.Parent; block != nil && block.Name() != "http"; block = block.Parent {
		for _, d := range block.Children("rewrite") {
			if len(d.Args) > 2 && !strings.HasPrefix(d.Args[2], "/") {
				return true
			}
		}
	}
	return false
}

func literals(list []string, at *nginxtree.Directive) []Value {
	all := make([]Value, len(list))
	for i, s := range list {
		all[i] = Value{{Text: s, At: at}}
	}
	return all
}

// fromClient reports whether a variable of nginx's holds what the client likes.
func fromClient(name string) bool {
	for _, p := range []string{"http_", "arg_", "cookie_", "proxy_protocol_tlv_"} {
		if strings.HasPrefix(name, p) {
			return name != "http_" && name != "arg_" && name != "cookie_"
		}
	}
	switch name {
	case "args", "query_string", "uri", "document_uri", "request_uri", "request", "request_method", "request_body", "content_type",
		"remote_user", "ssl_server_name", "ssl_preread_server_name", "proxy_add_x_forwarded_for", "request_filename",
		"fastcgi_script_name", "fastcgi_path_info", "remote_addr", "realip_remote_addr", "proxy_protocol_addr",
		"proxy_protocol_server_addr":
		return true
	}
	return false
}

// source is what a map looks at.
func source(d *nginxtree.Directive) string {
	return strings.Join(d.Args[1:max(1, len(d.Args)-1)], " ")
}

// mapped is what a map, a geo or split_clients can give.
func (r *Tracer) mapped(d, pass *nginxtree.Directive, depth int) []Value {
	var all []Value
	byDefault := false
	looks := source(d)
	for _, e := range d.Block {
		if len(e.Args) != 2 || e.Name() == "include" {
			continue
		}
		byDefault = byDefault || e.Name() == "default"
		switch value := e.Args[1]; {
		case d.Name() != "map":
			all = append(all, Value{{Text: value, At: e}})
		case exact(d, e) && (value == looks || "$"+bare(value) == looks):
			all = append(all, Value{{Text: e.Name(), At: e}}) // the key itself
		default:
			all = append(all, r.expand(value, e, pass, depth)...)
		}
		if len(all) > maxValues {
			break
		}
	}
	if !byDefault {
		all = append(all, Value{})
	}
	return all
}

// exact reports whether a map's entry stands for one text alone.
func exact(d, entry *nginxtree.Directive) bool {
	key := entry.Name()
	if key == "default" || strings.HasPrefix(key, "~") {
		return false
	}
	return len(d.Children("hostnames")) == 0 || !strings.HasPrefix(key, "*.") && !strings.HasPrefix(key, ".") && !strings.HasSuffix(key, ".*")
}

// ownNames are the names of a server that nginx takes for these alone: all are written out,
// and other names lead to another server.
func (r *Tracer) ownNames(server *nginxtree.Directive) []string {
	var names []string
	for _, d := range server.Children("server_name") {
		for _, n := range d.Args[1:] {
			if n == "" || strings.ContainsAny(n, "~*$") || strings.HasPrefix(n, ".") {
				return nil
			}
			names = append(names, strings.ToLower(n))
		}
	}
	if len(names) == 0 || r.isDefault(server) {
		return nil
	}
	return names
}

// isDefault reports whether a server gets what no server's name fits, at any of its addresses.
func (r *Tracer) isDefault(server *nginxtree.Directive) bool {
	addresses := func(d *nginxtree.Directive) []string {
		var all []string
		for _, l := range d.Children("listen") {
			if len(l.Args) > 1 {
				all = append(all, strings.TrimPrefix(l.Args[1], "*:"))
			}
		}
		if len(all) == 0 {
			all = []string{"80"}
		}
		return all
	}
	for _, address := range addresses(server) {
		var first *nginxtree.Directive
		marked := false
		r.tree.Walk(func(d *nginxtree.Directive) {
			if d.Name() != "server" || d.Around("http") == nil || !d.HasBlock || !slices.Contains(addresses(d), address) {
				return
			}
			if first == nil {
				first = d
			}
			for _, l := range d.Children("listen") {
				if !marked && len(l.Args) > 2 && strings.TrimPrefix(l.Args[1], "*:") == address &&
					(slices.Contains(l.Args[2:], "default_server") || slices.Contains(l.Args[2:], "default")) {
					first, marked = d, true
				}
			}
		})
		if first == server {
			return true
		}
	}
	return false
}
