package nginxtest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/internal/balancer"
	"swallowkeeper/internal/logs"
	"swallowkeeper/upstream"
)

// mostTurns is how often a request may be sent on within one configuration.
const mostTurns = 10

// request is one on its way through a worker's configuration.
type request struct {
	http.ResponseWriter
	*http.Request
	by   *worker
	path string // as rewrites made it; "" is the client's own
}

// carry answers a request as the configuration says: it finds the location, follows its rewrites and returns, and passes the
// request on. It is of the first server, whatever its host; WebSockets and auth_request are not carried.
func (w *worker) carry(rw http.ResponseWriter, r *http.Request) {
	q := &request{ResponseWriter: rw, Request: r, by: w}
	at := find(w.conf.server, r.URL.Path)
	for range mostTurns {
		if at == nil {
			q.file()
			return
		}
		code, text, returned := q.rewrite(at)
		if !returned {
			q.pass(at)
			return
		}
		on := handlerOf(at, code)
		if on == "" {
			q.say(code, text)
			return
		}
		at = named(w.conf.server, on)
	}
	q.say(http.StatusInternalServerError, "")
}

// find is the location of a path: an exact one goes before all; then the longest that begins the path, and what is within it;
// then the first expression, unless that one has ^~.
func find(within *nginxtree.Directive, path string) *nginxtree.Directive {
	if within == nil {
		return nil
	}
	var best *nginxtree.Directive
	length := -1
	for _, l := range within.Children("location") {
		text := l.Args[len(l.Args)-1]
		switch {
		case len(l.Args) == 3 && l.Args[1] == "=":
			if text == path {
				return l
			}
		case len(l.Args) == 3 && l.Args[1] != "^~", strings.HasPrefix(text, "@"):
		case strings.HasPrefix(path, text) && len(text) > length:
			best, length = l, len(text)
		}
	}
	if inner := find(best, path); inner != nil {
		return inner
	}
	if best == nil || len(best.Args) == 2 {
		for _, l := range within.Children("location") {
			if len(l.Args) == 3 && l.Args[1] == "~" && regexp.MustCompile(l.Args[2]).MatchString(path) {
				return cmp.Or(find(l, path), l)
			}
		}
	}
	return best
}

// named is a named location, and handlerOf the name of the one that a location has for a code.
func named(server *nginxtree.Directive, name string) *nginxtree.Directive {
	for _, l := range server.Children("location") {
		if l.Args[1] == name {
			return l
		}
	}
	return nil
}

func handlerOf(at *nginxtree.Directive, code int) string {
	for _, d := range at.Children("error_page") {
		if len(d.Args) == 4 && d.Args[1] == strconv.Itoa(code) && d.Args[2] == "=" {
			return d.Args[3]
		}
	}
	return ""
}

// rewrite follows the directives that may end a request before it is passed on.
func (q *request) rewrite(at *nginxtree.Directive) (code int, text string, returned bool) {
	for _, d := range at.Block {
		switch d.Name() {
		case "if":
			value := strings.TrimSuffix(strings.Join(d.Args[3:], ""), ")")
			if regexp.MustCompile(value).MatchString(q.Method) == (d.Args[2] == "~") {
				if code, text, returned = q.rewrite(d); returned {
					return code, text, true
				}
			}
		case "return":
			code, _ = strconv.Atoi(d.Args[1])
			return code, strings.Join(d.Args[2:], " "), true
		case "rewrite":
			pattern := regexp.MustCompile(d.Args[1])
			if m := pattern.FindStringSubmatchIndex(q.now()); m != nil {
				q.path = string(pattern.ExpandString(nil, groups.ReplaceAllString(d.Args[2], "${$1}"), q.now(), m))
			}
		}
	}
	return 0, "", false
}

// groups are references to what an expression kept: $1 ends where Go would read on.
var groups = regexp.MustCompile(`\$(\d)`)

func (q *request) now() string { return cmp.Or(q.path, q.URL.Path) }

// say answers at once.
func (q *request) say(code int, text string) {
	arguments := ""
	if q.URL.RawQuery != "" {
		arguments = "?"
	}
	text = strings.NewReplacer("$pid", strconv.Itoa(q.by.pid), "$is_args", arguments, "$args", q.URL.RawQuery).Replace(text)
	if code >= 300 && code < 400 {
		q.ResponseWriter.Header().Set("Location", text)
		text = ""
	}
	q.WriteHeader(code)
	if text == "" {
		text = fmt.Sprintf("<html>%d %s</html>\n", code, http.StatusText(code))
	}
	_, _ = q.ResponseWriter.Write([]byte(text))
}

// file answers a request for a file, of which none is there.
func (q *request) file() {
	switch q.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
		q.say(http.StatusNotFound, "")
	default:
		q.say(http.StatusMethodNotAllowed, "")
	}
}

// pass hands a request to the servers of the location's upstream.
func (q *request) pass(at *nginxtree.Directive) {
	target := at.Children("proxy_pass")
	if len(target) == 0 || len(at.Children("auth_request")) > 0 {
		q.file()
		return
	}
	name := strings.TrimPrefix(target[0].Args[1], "http://")
	for _, d := range at.Children("set") {
		if "$"+strings.TrimPrefix(d.Args[1], "$") == name {
			name = d.Args[2]
		}
	}
	proxy := httputil.ReverseProxy{
		Transport: q.by.balancer(name), ErrorLog: logs.Nowhere(),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", name
			if q.path != "" {
				p.Out.URL.Path, p.Out.URL.RawPath = q.path, ""
			}
			p.SetXForwarded()
			for _, d := range at.Children("proxy_set_header") {
				switch value := d.Args[2]; {
				case value == "$host":
					p.Out.Host = p.In.Host
				case !strings.Contains(value, "$"):
					p.Out.Header.Set(d.Args[1], value)
				}
			}
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			if q.Context().Err() != nil {
				panic(http.ErrAbortHandler)
			}
			q.say(http.StatusBadGateway, "")
		},
	}
	proxy.ServeHTTP(q.ResponseWriter, q.Request)
}

// balancer is the worker's own for an upstream. One that is an address is a server by itself.
func (w *worker) balancer(name string) *balancer.Balancer {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.peers[name]
	if b == nil {
		u, is := w.conf.set.Get(name)
		if addr, err := netip.ParseAddrPort(name); !is && err == nil {
			u.Servers = []upstream.Server{{Addr: addr, Weight: 1}}
		}
		b = balancer.New(u.Options, u.Servers, true)
		w.peers[name] = b
	}
	return b
}

// end lets go of the worker's connections to servers.
func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.peers {
		b.Close()
	}
}
