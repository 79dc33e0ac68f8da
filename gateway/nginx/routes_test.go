package nginx_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"swallowkeeper/gateway"
	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// both runs a test on the double and on Debian's nginx.
func both(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run("double", func(t *testing.T) { test(t, double(t)) })
	t.Run("nginx", func(t *testing.T) {
		if !nginxtest.Exists(nginxtest.Nginx) {
			t.Skip("no nginx is installed here")
		}
		test(t, debian(t))
	})
}

// with is an upstream of one server with routes.
func with(t *testing.T, name, server string, routes ...string) upstream.Upstream {
	t.Helper()
	u := upstream.Upstream{Name: name, Servers: []upstream.Server{upstream.DefaultTemplate().Server()}}
	u.Servers[0].Addr = address(t, server)
	for _, text := range routes {
		r, err := route.ParseText(text, name)
		if err != nil {
			t.Fatal(err)
		}
		u.Routes = append(u.Routes, r)
	}
	u.Routes = route.Canonical(u.Routes)
	return u
}

func set(list ...upstream.Upstream) upstream.Set { return upstream.NewSet(list) }

// change brings a gateway to a set as the syncer does.
func change(t *testing.T, g *nginx.Gateway, want upstream.Set) error {
	t.Helper()
	live, err := g.Live(t.Context())
	if err != nil {
		return err
	}
	want, _ = gateway.Admit(want, g.Abilities())
	_, err = g.Apply(t.Context(), upstream.Diff(live.Set, want))
	return err
}

// do makes a request over a connection of its own. A redirect is the answer.
func do(t *testing.T, method, url, host string) (resp *http.Response, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if resp, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, body := do(t, http.MethodGet, url, "")
	return resp.StatusCode, body
}

// TestRoutesAreServed: a route is there after Apply, read back as it was, and gone with the change that takes it away.
func TestRoutesAreServed(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t, func(c *nginx.Config) { c.Hosts = []string{"shop.example"} })
		web := backend(t, func(req *http.Request) (int, string) { return http.StatusOK, "web " + req.RequestURI })
		auth := backend(t, func(req *http.Request) (int, string) {
			if req.RequestURI != "/verify" || req.Header.Get("X-Original-URI") != "/in/a?x=1" {
				return http.StatusForbidden, ""
			}
			return http.StatusOK, ""
		})
		want := set(with(t, "auth", auth), with(t, "web", web, "/web/* strip=/web", "/in/* auth=auth/verify", "/exact", "shop.example/api/*", "other.example/api/*"))
		_, out := gateway.Admit(want, g.Abilities())
		if len(out) != 1 || out[0].Route != "other.example/api/*" || !strings.Contains(out[0].Reason.String(), "no server block includes it") {
			t.Errorf("out is %+v", out)
		}
		if err := change(t, g, want); err != nil {
			t.Fatal(err)
		}
		live, err := g.Live(t.Context())
		admitted, _ := gateway.Admit(want, g.Abilities())
		if err != nil || !upstream.Diff(live.Set, admitted).Empty() {
			t.Errorf("live is %+v, %v", live, err)
		}
		if _, err := os.Stat(r.dir + "/current/shop.example/web.location.conf"); err != nil {
			t.Error(err)
		}
		if r.double == nil {
			for path, want := range map[string]string{"/web/a%20b?x=1": "web /a%20b?x=1", "/exact": "web /exact", "/in/a?x=1": "web /in/a?x=1"} {
				if status, body := get(t, "http://"+r.addr+path); status != http.StatusOK || body != want {
					t.Errorf("%s is %d %q, want %q", path, status, body, want)
				}
			}
			if status, _ := get(t, "http://"+r.addr+"/in/b"); status != http.StatusForbidden {
				t.Errorf("who may not pass gets %d", status)
			}
		}
		if err := change(t, g, set(with(t, "auth", auth), with(t, "web", web, "/exact"))); err != nil {
			t.Fatal(err)
		}
		if r.double == nil {
			if status, _ := get(t, "http://"+r.addr+"/web/a"); status != http.StatusNotFound {
				t.Errorf("a route that is gone answers %d", status)
			}
		}
	})
}

// TestALocationOfTheOperatorsStays: a route that would stand beside one of the operator's own is refused with its upstream, and
// all others are made.
func TestALocationOfTheOperatorsStays(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		write(t, r.theirs+"/own.conf", "location ^~ /web/ { return 200 own; }\n")
		r.reload(t)
		err := change(t, g, set(with(t, "web", "127.0.0.1:1", "/web/*"), with(t, "api", "127.0.0.1:1", "/api/*")))
		if err == nil || !strings.Contains(err.Error(), "web") || !strings.Contains(err.Error(), "duplicate location") || strings.Contains(err.Error(), "upstream api") {
			t.Errorf("it was said: %v", err)
		}
		live, err := g.Live(t.Context())
		if names := live.Set.Names(); err != nil || len(names) != 1 || names[0] != "api" {
			t.Errorf("there is %q, %v", names, err)
		}
	})
}

// backend is a server of the test's.
func backend(t *testing.T, answer func(*http.Request) (int, string)) string {
	t.Helper()
	at, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status, body := answer(req)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(func() { stop(context.Background()) })
	return at
}

// TestServersByAnotherGateway: with servers = "dyups" only routes are written and reloaded, and the servers are taken to be what
// another gateway has told.
func TestServersByAnotherGateway(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		web := backend(t, func(*http.Request) (int, string) { return http.StatusOK, "web" })
		auth := backend(t, func(*http.Request) (int, string) { return http.StatusOK, "" })
		one := set(with(t, "web", web, "/web/*", "/in auth=auth/"), with(t, "auth", auth), with(t, "none", "127.0.0.1:1"))
		made := func(written upstream.Set) *nginx.Gateway {
			c := r.config()
			c.Servers = "dyups"
			w := &gateway.Written{}
			w.Set(written)
			g := nginx.New(c, quiet(), nginx.On(r.faults), nginx.WithWritten(w))
			t.Cleanup(func() { _ = g.Close() })
			return g
		}
		inSync := func(g *nginx.Gateway, want upstream.Set) {
			t.Helper()
			if live, err := g.Live(t.Context()); err != nil || !upstream.Diff(live.Set, want).Empty() {
				t.Errorf("it differs from what is wanted: %+v, %v", live, err)
			}
		}
		if r.double == nil { // what dyups would have told it
			write(t, r.theirs+".upstream.conf", "upstream web { server "+web+"; }\nupstream auth { server "+auth+"; }\n")
		}
		g := made(upstream.Set{})
		if err := change(t, g, one); err != nil {
			t.Fatal(err)
		}
		inSync(g, one)
		if text, err := os.ReadFile(r.dir + "/current/web.location.conf"); err != nil || !strings.Contains(string(text), "set $swallowkeeper_u web;\n") || !strings.Contains(string(text), "proxy_pass http://$swallowkeeper_u;\n") {
			t.Errorf("the locations are %s, %v", text, err)
		}
		if _, err := os.Stat(r.dir + "/current/web.upstream.conf"); err == nil {
			t.Error("the upstream is written, and dyups tells its servers")
		}
		if r.double == nil {
			for _, path := range []string{"/web/a", "/in"} {
				if status, body := get(t, "http://"+r.addr+path); status != http.StatusOK || body != "web" {
					t.Errorf("%s is %d %q", path, status, body)
				}
			}
		}
		reloads := r.count()
		two := set(with(t, "web", "127.0.0.1:2", "/web/*", "/in auth=auth/"), with(t, "auth", auth), with(t, "more", "127.0.0.1:3"))
		if err := change(t, g, two); err != nil {
			t.Fatal(err)
		}
		inSync(g, two)
		if n := r.count(); n != reloads {
			t.Errorf("for servers alone it was reloaded %d times", n-reloads)
		}
		later := made(two)
		inSync(later, two)
		three := set(with(t, "web", "127.0.0.1:2", "/web/*"), with(t, "auth", auth))
		if err := change(t, later, three); err != nil {
			t.Fatal(err)
		}
		inSync(later, three)
		if n := r.count(); n != reloads+1 {
			t.Errorf("for a route it was reloaded %d times", n-reloads)
		}
	})
}
