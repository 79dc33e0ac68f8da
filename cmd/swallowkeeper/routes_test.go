package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// routes are those of the conf file: "UPSTREAM ROUTE", without the test's prefix.
func (r *rig) routes() []string {
	var all []string
	for _, b := range r.read().Set.Routes() {
		all = append(all, strings.ReplaceAll(b.Upstream+" "+b.Route.Text(), r.prefix, ""))
	}
	slices.Sort(all)
	return all
}

func (r *rig) hasRoutes(want ...string) {
	r.t.Helper()
	until(r.t, patience, func() string {
		if got := r.routes(); !slices.Equal(got, want) {
			return fmt.Sprintf("the routes are\n%s", strings.Join(got, "\n"))
		}
		return ""
	})
}

// TestRoutes: what instances in Consul say of routes, in meta and as fabio has it, and what the configuration says, which goes
// over it and is read again by a SIGHUP: new ones, changed ones, and those that are there no more.
func TestRoutes(t *testing.T) {
	needConsul(t)
	t.Parallel()
	r := newRig(t)
	r.configure()
	r.put("web", instance{addr: "10.0.0.1:80", meta: map[string]string{
		"swallowkeeper-route": "shop.example/api/*", "swallowkeeper-route-strip": "true", "swallowkeeper-route-2": "/web",
	}})
	r.put("old", instance{addr: "10.0.0.2:80", tags: []string{"urlprefix-shop.example/old strip=/old", "urlprefix-/old", "other"}})
	r.put("bad", instance{addr: "10.0.0.3:80", meta: map[string]string{"swallowkeeper-route": "/a;b"}})
	d := r.process(nil)
	web, old := "web shop.example/api/* strip=/api from=consul", "old shop.example/old/* strip=/old from=consul"
	hasWeb, hasOld := "web /web from=consul", "old /old/* from=consul"
	r.hasRoutes(hasOld, old, hasWeb, web)
	match := func(request, want string) { // the file is written a moment before the daemon tells of it
		t.Helper()
		eventually(t, patience, request+" "+want, func() bool {
			got := call(t, nil, slices.Concat([]string{"routes", "match", "--socket", r.socket}, strings.Fields(request))...)
			return got.code == 0 && strings.Contains(got.stdout, want)
		})
	}
	match("GET http://shop.example/api/a", "goes to upstream "+r.prefix+"web, which is asked for /a")
	match("GET http://other.example/old/a", "goes to upstream "+r.prefix+"old")
	call(t, nil, "explain", "--socket", r.socket, r.prefix+"bad").wants(t, 0, "';' is not allowed in a path")

	hangUp := func(routes string) {
		t.Helper()
		r.extra = routes
		r.configure()
		d.signal(syscall.SIGHUP)
	}
	table := func(upstream, more string) string {
		return fmt.Sprintf("[[route]]\nupstream = %q\n%s\n", r.prefix+upstream, more)
	}
	one := table("old", "path = \"/web\"\nname = \"one\"")
	hangUp(one)
	r.hasRoutes(hasOld, "old /web name=one", old, web)
	match("GET http://a/web", "goes to upstream "+r.prefix+"old")
	call(t, nil, "explain", "--socket", r.socket, r.prefix+"web").wants(t, 0, "[[route]] of the configuration gives its requests to upstream "+r.prefix+"old")

	two := table("web", "host = \"two.example\"\npath = \"/{id:[0-9]+}\"\nrewrite = \"/v2/{id}\"\ntimeout = \"2s\"")
	hangUp(table("old", "path = \"/web\"\nname = \"one\"\nmethods = [\"POST\"]") + two)
	r.hasRoutes(hasOld, "old /web name=one methods=POST", old, hasWeb, web, "web two.example/{id:[0-9]+} rewrite=/v2/{id} timeout=2s")
	match("POST http://a/web", "goes to upstream "+r.prefix+"old")
	match("GET http://two.example/7", "goes to upstream "+r.prefix+"web, which is asked for /v2/7")

	before := r.read()
	hangUp(two + table("web", "path = \"/a;b\""))
	d.says("the new configuration is refused: the old one stays in use")
	if now := r.read(); now.Number != before.Number {
		t.Errorf("a configuration that was refused led to generation %d", now.Number)
	}

	hangUp("") // what the configuration has no more is no loss: a person took it out
	r.hasRoutes(hasOld, old, hasWeb, web)
	match("GET http://a/web", "goes to upstream "+r.prefix+"web")

	// What the instances say changes, too.
	r.put("web", instance{addr: "10.0.0.1:80", meta: map[string]string{"swallowkeeper-route": "shop.example/api/*", "swallowkeeper-route-2": "/web"}})
	r.hasRoutes(hasOld, old, hasWeb, "web shop.example/api/* from=consul")
}
