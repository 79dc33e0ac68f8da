package nginx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

const (
	// mapFile is for the http block, where maps belong. No upstream's file has this name.
	mapFile = "generation" + upstreamFile
	// sharedFile has the regular expressions of several upstreams that may match the same request: their order matters,
	// and files are included by name.
	sharedFile = "several~" + locationFile
	// authPath is below a path that routes may not use.
	authPath = "/.swallowkeeper/auth/"
)

// maps allow WebSocket, but no other upgrade: h2c would bypass nginx's checks.
const maps = `map $http_upgrade $swallowkeeper_upgrade {
    default "";
    "~*^websocket$" $http_upgrade;
}
map $http_upgrade $swallowkeeper_connection {
    default "";
    "~*^websocket$" upgrade;
}
`

// locations renders the routes of a set: NAME.location.conf for any host, HOST/NAME.location.conf for a host.
func locations(set upstream.Set, variables bool) ([]file, error) {
	all, err := scopes(set)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	files := []file{{path: mapFile, text: []byte(maps)}}
	for _, s := range all {
		w := writer{scope: s, set: set, variables: variables, texts: map[string]*strings.Builder{}, shares: map[string]string{}, named: map[string]bool{}}
		files = append(files, w.render()...)
	}
	return files, nil
}

// writer writes the locations of one scope.
type writer struct {
	scope
	set       upstream.Set
	variables bool // upstreams are passed by a variable, so that dyups can change them

	texts  map[string]*strings.Builder // by file
	shares map[string]string           // the upstream of each file
	to     *strings.Builder
	indent string
	named  map[string]bool // named locations that already exist
}

func (w *writer) line(format string, args ...any) {
	w.to.WriteString(w.indent)
	fmt.Fprintf(w.to, format, args...)
	w.to.WriteByte('\n')
}

// block writes a block with its inside.
func (w *writer) block(head string, inside func()) {
	w.line("%s {", head)
	w.indent += "    "
	inside()
	w.indent = w.indent[4:]
	w.line("}")
}

// into selects the file of an upstream, or the shared one.
func (w *writer) into(name, of string) {
	if w.host != "" {
		name = w.host + "/" + name
	}
	if w.texts[name] == nil {
		w.texts[name], w.shares[name] = &strings.Builder{}, of
	}
	w.to = w.texts[name]
}

func (w *writer) render() []file {
	for _, p := range w.places {
		w.intoOf(p)
		switch {
		case p.literal():
			w.block("location = "+word(p.first().Path), func() { w.dispatch(p) })
		case p.open():
			w.open(p)
		default:
			if !w.covered(p) {
				w.block("location ~ "+expression(p.pattern, false), func() { w.dispatch(p) })
			}
		}
		w.handlers(p)
	}
	var files []file
	for name, text := range w.texts {
		if text.Len() > 0 {
			files = append(files, file{path: name, text: []byte(text.String()), of: w.shares[name]})
		}
	}
	return files
}

// intoOf selects the file of a place: that of its first upstream, unless the order of expressions of several upstreams
// matters.
func (w *writer) intoOf(p place) {
	if w.shared[p.claim] {
		w.into(sharedFile, "")
		return
	}
	w.into(fileName(p.owner())+locationFile, p.owner())
}

// open writes the location of all paths below a path, and the redirect of the path itself.
func (w *writer) open(p place) {
	prefix := p.pattern.Prefix()
	if prefix != "" && !w.exact[prefix] {
		w.block("location = "+word(prefix), func() { w.redirect(p, prefix) })
	}
	w.block("location ^~ "+word(prefix+"/"), func() {
		inner := w.within(p)
		for _, in := range inner {
			w.block("location ~ "+expression(in.pattern, false), func() { w.dispatch(in) })
		}
		if len(inner) == 0 {
			w.dispatch(p)
			return
		}
		// Not as a sibling: within these locations its directives apply too.
		w.block("location ~ ^", func() { w.dispatch(p) })
	})
}

// redirect writes the inside of the location of the exact path: a redirect to what is below it, for the methods of the
// place.
func (w *writer) redirect(p place, prefix string) {
	to := word(prefix+"/") + "$is_args$args"
	w.line("absolute_redirect off;")
	for _, b := range p.routes {
		if len(b.Route.Methods) == 0 {
			w.line("return 308 %s;", to)
			return
		}
		w.line("if ($request_method ~ %s) { return 308 %s; }", methods(b.Route), to)
	}
	literal := p.pattern[:len(p.pattern)-1]
	if all := w.after(p, literal); len(all) > 0 {
		w.sendOn(all)
	} else {
		w.line("return 405;")
	}
}

// firstCode is the first of the codes by which a location passes requests to named locations. nginx does not use them.
const firstCode = 460

// dispatch writes the inside of a location.
func (w *writer) dispatch(p place) {
	all := w.choices(p)
	if p.slashed() {
		all = append(all, route.Belonging{}) // not handled here, as nginx would redirect the path without its slash to it
	}
	w.sendOn(all)
}

// sendOn passes requests to the routes that accept their methods.
func (w *writer) sendOn(all []route.Belonging) {
	last := len(all) - 1
	for i, b := range all[:last] {
		w.line("error_page %d = %s;", firstCode+i, w.name(b))
	}
	for i, b := range all[:last] {
		if len(b.Route.Methods) == 0 {
			w.line("return %d;", firstCode+i)
			return
		}
		w.line("if ($request_method ~ %s) { return %d; }", methods(b.Route), firstCode+i)
	}
	switch r := all[last].Route; {
	case r.Path == "":
		w.line("return 405;")
		return
	case len(r.Methods) > 0:
		w.line("if ($request_method !~ %s) { return 405; }", methods(r))
	}
	w.handler(all[last])
}

// handlers writes the named locations of a place.
func (w *writer) handlers(p place) {
	all := w.choices(p)
	if p.open() {
		all = append(all, w.after(p, p.pattern[:len(p.pattern)-1])...)
	}
	for _, b := range all {
		if len(b.Route.Methods) == 0 && !p.slashed() {
			continue
		}
		if name := w.name(b); !w.named[name] {
			w.named[name] = true
			w.into(fileName(b.Upstream)+locationFile, b.Upstream)
			w.block("location "+name, func() { w.handler(b) })
		}
	}
	for _, b := range p.routes {
		w.auth(b)
	}
}

// name returns the name of a route's named location.
func (w *writer) name(b route.Belonging) string {
	return "@swallowkeeper_" + b.Upstream + "_" + w.which(b)
}

// which identifies a route among those of its upstream.
func (w *writer) which(b route.Belonging) string {
	u, _ := w.set.Get(b.Upstream)
	return strconv.Itoa(slices.IndexFunc(u.Routes, b.Route.Identical) + 1)
}

// methods returns a regular expression for the methods of a route.
func methods(r route.Route) string {
	list := slices.Clone(r.Methods)
	if slices.Contains(list, "GET") && !slices.Contains(list, "HEAD") {
		list = append(list, "HEAD")
	}
	return `"^(?:` + strings.Join(list, "|") + `)$"`
}

// handler writes how a route handles its requests.
func (w *writer) handler(b route.Belonging) {
	r := b.Route
	if name := r.AuthUpstream(); name != "" {
		if _, there := w.set.Get(name); !there {
			w.line("return 503; # nobody can be asked: there is no upstream %s", name)
			return
		}
		w.line("auth_request %s;", word(w.asks(b)))
	} else if r.Auth != "" {
		w.line("auth_request %s;", word(r.Auth))
	}
	w.pass(requests, b.Upstream, func() { w.target(r) })
	w.line("proxy_http_version 1.1;")
	w.line("proxy_set_header Host $host;")
	w.forwarded()
	if r.Strip != "" {
		w.line("proxy_set_header X-Forwarded-Prefix %s;", word(r.Strip))
	}
	if r.NoWebSocket {
		w.line(`proxy_set_header Upgrade "";`)
		w.line(`proxy_set_header Connection "";`)
	} else {
		w.line("proxy_set_header Upgrade $swallowkeeper_upgrade;")
		w.line("proxy_set_header Connection $swallowkeeper_connection;")
	}
	connect := mostConnect
	if r.Timeout > 0 {
		connect = min(r.Timeout, mostConnect)
		for _, of := range []string{"send", "read", "next_upstream"} {
			w.line("proxy_%s_timeout %dms;", of, r.Timeout.Milliseconds())
		}
	}
	w.line("proxy_connect_timeout %dms;", connect.Milliseconds())
}

// mostConnect limits a connection attempt. nginx's default is 60 s, and a container that has just been stopped takes its
// address with it: nothing there refuses a connection. So the request would wait instead of going to the next server, until
// worker_shutdown_timeout ends it. Two seconds are enough for one lost packet.
const mostConnect = 2 * time.Second

func (w *writer) forwarded() {
	w.line("proxy_set_header X-Real-IP $remote_addr;")
	w.line("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")
	w.line("proxy_set_header X-Forwarded-Proto $scheme;")
}

// way is how an upstream is passed to nginx if dyups or the Lua library changes its servers: by variables, and for the
// library also by its own upstream, which reads the other variable. A request shares its variables with its
// subrequests, so each has different ones.
type way struct{ variable, lua, luaUpstream string }

var (
	requests  = way{"swallowkeeper_u", "dyups_upstream", "dyups_http"}
	questions = way{"swallowkeeper_auth", "dyups_auth", "dyups_auth"}
)

// pass writes where a request is sent, and the rewrite of its path. Variables are set first, as a rewrite with break
// stops the rest. With the Lua library, dyups.conf sets $sent_http_dyups_lua to 1; otherwise it is empty.
func (w *writer) pass(by way, name string, rewrite func()) {
	if w.variables {
		w.line("set $%s %s;", by.lua, name)
		w.line("set $%s %s;", by.variable, name)
		w.line("if ($sent_http_dyups_lua) { set $%s %s; }", by.variable, by.luaUpstream)
		name = "$" + by.variable
	}
	rewrite()
	w.line("proxy_pass http://%s;", name)
}

// target writes the rewrite to the path sent to the upstream. Without one, the client's original bytes are sent.
func (w *writer) target(r route.Route) {
	if r.Strip != "" {
		w.line("rewrite %s /$1 break;", `"(?s)^`+literally(r.Strip)+`(?:/(.*))?\z"`)
		return
	}
	if r.Rewrite == "" {
		return
	}
	pattern, _ := route.ParsePath(r.Path) // both are valid
	to, _ := route.ParsePath(r.Rewrite)
	var path strings.Builder
	for _, s := range to {
		path.WriteByte('/')
		if s.Kind == route.Literal {
			path.WriteString(s.Text)
			continue
		}
		i := slices.IndexFunc(pattern, func(o route.Segment) bool { return o.Kind != route.Literal && o.Text == s.Text })
		fmt.Fprintf(&path, "${%s}", variable(i))
	}
	w.line(`rewrite %s "%s" break;`, expression(pattern, true), path.String())
}

func variable(i int) string { return "swallowkeeper_" + strconv.Itoa(i+1) }

// asks returns the location of a route's auth request.
func (w *writer) asks(b route.Belonging) string { return authPath + b.Upstream + "/" + w.which(b) }

// auth writes the location that asks an upstream whether a request is authorized.
func (w *writer) auth(b route.Belonging) {
	name := b.Route.AuthUpstream()
	if _, there := w.set.Get(name); name == "" || !there || w.named[w.asks(b)] {
		return
	}
	w.named[w.asks(b)] = true
	w.into(fileName(b.Upstream)+locationFile, b.Upstream)
	w.block("location = "+word(w.asks(b)), func() {
		w.line("internal;")
		w.line("proxy_http_version 1.1;")
		w.line("proxy_pass_request_body off;")
		w.line(`proxy_set_header Content-Length "";`)
		w.line(`proxy_set_header Connection "";`)
		w.line("proxy_set_header Host $host;")
		w.line("proxy_connect_timeout %dms;", mostConnect.Milliseconds())
		w.forwarded()
		w.line("proxy_set_header X-Original-URI $request_uri;")
		w.line("proxy_set_header X-Original-Method $request_method;")
		w.pass(questions, name, func() { w.line("rewrite ^ %s break;", word(strings.TrimPrefix(b.Route.Auth, name))) })
	})
}

// expression returns a regular expression for a path as nginx matches it: decoded, and anchored at the very end. With
// keep, it captures the variables.
func expression(pattern route.Pattern, keep bool) string {
	var b strings.Builder
	b.WriteString(`"(?s)^`)
	for i, s := range pattern {
		kept := func(what string) string {
			if keep {
				return "(?<" + variable(i) + ">" + what + ")"
			}
			return what
		}
		switch s.Kind {
		case route.Literal:
			b.WriteString("/" + literally(s.Text))
		case route.Classed:
			b.WriteString("/" + kept("["+s.Class+"]"+count(s)))
		case route.Variable:
			b.WriteString("/" + kept("[^/]+"))
		case route.Rest:
			b.WriteString("(?:/" + kept(".*") + ")?")
		}
	}
	return b.String() + `\z"`
}

func count(s route.Segment) string {
	switch {
	case s.Most == 0 && s.Least <= 1:
		return "+"
	case s.Most == 0:
		return fmt.Sprintf("{%d,}", s.Least)
	}
	return fmt.Sprintf("{%d,%d}", s.Least, s.Most)
}

// literally escapes literal text for an expression.
func literally(s string) string {
	return strings.NewReplacer(".", `\.`, "+", `\+`, "(", `\(`, ")", `\)`).Replace(s)
}

// word writes a path as one word of the configuration. It is the last line of defence: what package route allows in a
// path has no meaning to nginx, quoted or not.
func word(s string) string {
	plain := true
	safe := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune("/._~-", c):
			return c
		case strings.ContainsRune("!&()+,=:@", c):
			plain = false
			return c
		}
		return '_'
	}, s)
	if plain {
		return safe
	}
	return `"` + safe + `"`
}
