package caddy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// How Caddy finds a route: the first match in a group excludes the others. They are in the order of
// package route, so both select the same one.
//
// Caddy's matcher "path" ignores case, so each path is an expression over the path as Caddy cleans it: decoded,
// without empty segments, . and .. segments.

// group contains all routes: at most one takes a request.
const group = "swallowkeeper"

// routes writes all routes of the set, then the authorization requests and guards.
func (r *renderer) routes() {
	all := r.set.Routes()
	if len(all) == 0 {
		return
	}
	for i, b := range all {
		r.add(routeID+strconv.Itoa(i+1), b.Upstream, object{
			"group":  group,
			"match":  []any{match(b.Route)},
			"handle": r.choose(b),
		})
	}
	r.questions(all)
	r.add("", "", object{ // h2c would bypass the checks
		"match": []any{object{
			"header": object{"Upgrade": []any{"*"}},
			"not": []any{
				object{"header_regexp": object{"Upgrade": object{"pattern": "(?i)^websocket$"}}},
				object{"vars": object{upstreamVar: []any{""}}},
			},
		}},
		"handle": []any{withoutUpgrade()},
	})
}

func withoutUpgrade() object {
	return object{"handler": "headers", "request": object{"delete": []any{"Upgrade"}}}
}

// match returns the matcher of a route.
func match(r route.Route) object {
	m := object{"path_regexp": object{"pattern": expression(r.Path)}}
	if r.Host != "" {
		m["host"] = []any{r.Host, r.Host + "."}
	}
	if len(r.Methods) > 0 {
		methods := slices.Clone(r.Methods)
		if slices.Contains(methods, "GET") && !slices.Contains(methods, "HEAD") {
			methods = append(methods, "HEAD")
		}
		m["method"] = methods
	}
	return m
}

// choose returns the handlers for a matching request: they set its path and the name of its upstream.
func (r *renderer) choose(b route.Belonging) []any {
	var all []any
	vars := object{"handler": "vars", upstreamVar: timed(b.Upstream, b.Route.Timeout)}
	if name := b.Route.AuthUpstream(); name != "" {
		asked, there := r.set.Get(name)
		if !there || len(usable(asked)) == 0 {
			return []any{unavailable()} // there is nobody to ask
		}
		vars[authVar] = b.Route.Auth
	}
	if b.Route.NoWebSocket {
		all = append(all, withoutUpgrade())
	}
	if plain, to := rewritten(b.Route); to != "" {
		all = append(all, object{"handler": "subroute", "routes": []any{object{
			"match": []any{
				object{"not": []any{object{"vars_regexp": object{"{http.request.uri}": object{"pattern": plain + `(?:\?.*)?$`}}}}},
				object{"vars_regexp": object{"{http.request.uri.path}": object{"pattern": `(?:^|/)\.\.?(?:/|\z)`}}},
			},
			"handle": []any{object{"handler": "static_response", "status_code": 400}},
		}}}, object{"handler": "rewrite", "path_regexp": []any{object{"find": plain + "$", "replace": to}}})
	}
	if b.Route.Strip != "" {
		all = append(all, object{"handler": "headers", "request": object{"set": object{"X-Forwarded-Prefix": []any{b.Route.Strip}}}})
	}
	return append(all, vars)
}

// questions writes the authorization requests, each once.
func (r *renderer) questions(all []route.Belonging) {
	var done []string
	for _, b := range all {
		question := b.Route.Auth
		name := b.Route.AuthUpstream()
		asked, there := r.set.Get(name)
		if name == "" || !there || len(usable(asked)) == 0 || slices.Contains(done, question) {
			continue
		}
		done = append(done, question)
		r.add("", b.Upstream, object{
			"match":  []any{object{"vars": object{authVar: []any{question}}}},
			"handle": []any{r.ask(asked, strings.TrimPrefix(question, name))},
		})
	}
}

// ask returns the authorization request. A 2xx answer lets the request pass; any other goes to the client.
func (r *renderer) ask(asked upstream.Upstream, path string) object {
	p := r.proxy(asked, 0)
	p["rewrite"] = object{"method": "GET", "uri": path + "?"}
	p["headers"] = object{"request": object{"set": object{
		"X-Original-Method":  []any{"{http.request.method}"},
		"X-Original-Uri":     []any{"{http.request.orig_uri}"},
		"X-Forwarded-Method": []any{"{http.request.method}"},
		"X-Forwarded-Uri":    []any{"{http.request.orig_uri}"},
	}}}
	p["handle_response"] = []any{object{
		"match":  object{"status_code": []any{2}},
		"routes": []any{object{"handle": []any{object{"handler": "vars"}}}},
	}}
	return p
}

// expression returns the pattern for a cleaned path, anchored at both ends.
func expression(path string) string {
	pattern, _ := route.ParsePath(path) // already validated
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for _, s := range pattern {
		switch s.Kind {
		case route.Literal:
			b.WriteString("/" + regexp.QuoteMeta(s.Text))
		case route.Classed:
			b.WriteString("/[" + s.Class + "]" + count(s))
		case route.Variable:
			b.WriteString("/[^/]+")
		case route.Rest:
			b.WriteString("(?:/.*)?")
		}
	}
	return b.String() + `\z`
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

// rewritten is the path that the upstream is asked for, "" where it is the request's. plain is the expression that the
// request's own bytes have to be of for that: what variables stand for is taken out of them as it was sent, and nothing is
// decoded twice.
func rewritten(r route.Route) (plain, to string) {
	pattern, _ := route.ParsePath(r.Path) // both already validated
	switch {
	case r.Strip != "":
		// The path begins with it.
		return "^" + slashes(r.Strip) + "(?:/+([^?]*))?", "/$1"
	case r.Rewrite == "":
		return "", ""
	}
	var b strings.Builder
	groups := map[string]int{}
	b.WriteString("^")
	for _, s := range pattern {
		if s.Kind != route.Literal {
			groups[s.Text] = len(groups) + 1
		}
		switch s.Kind {
		case route.Literal:
			b.WriteString("/+" + regexp.QuoteMeta(s.Text))
		case route.Classed, route.Variable:
			b.WriteString("/+([^/?]+)")
		case route.Rest:
			b.WriteString("(?:/+([^?]*))?")
		}
	}
	target, _ := route.ParsePath(r.Rewrite)
	for _, s := range target {
		to += "/"
		if s.Kind == route.Literal {
			to += s.Text
		} else {
			to += "$" + strconv.Itoa(groups[s.Text])
		}
	}
	return b.String(), to
}

// slashes returns the expression of a literal path that also accepts doubled slashes.
func slashes(path string) string { return strings.ReplaceAll(regexp.QuoteMeta(path), "/", "/+") }
