package caddy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway/caddy"
	"swallowkeeper/gateway/caddy/caddytest"
	"swallowkeeper/internal/budget"
	"swallowkeeper/internal/caddytestserver"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/upstream"
)

// live is what a gateway shows, without the upstreams that have no servers.
func live(t testing.TB, g *caddy.Gateway) string {
	t.Helper()
	l, err := g.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for u := range l.Set.All() {
		for _, s := range u.Servers {
			all = append(all, fmt.Sprintf("%s:%d", u.Name, s.Addr.Port()))
		}
	}
	return strings.Join(all, " ")
}

// TestAPersonEditsAtTheSameMoment: both changes are there afterwards, whoever was first.
func TestAPersonEditsAtTheSameMoment(t *testing.T) {
	every(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		must(t, g, set(with(t, "a", "127.0.0.1:1")))
		before := r.count()
		r.tell(func() {
			r.onChange = func() {
				if status, answer := ask(t, r.to, http.MethodPost, "/config/apps/http/servers/srv0/routes", `{"handle":[{"handler":"static_response","body":"a person's"}]}`); status != http.StatusOK {
					t.Errorf("the person's change: %d %s", status, answer)
				}
			}
		})
		must(t, g, set(with(t, "a", "127.0.0.1:2")))
		if got := live(t, g); got != "a:2" {
			t.Errorf("it shows %s", got)
		}
		if n := r.count() - before; n != 2 {
			t.Errorf("the change was sent %d times, want it refused once and made once", n)
		}
		if _, config := ask(t, r.to, http.MethodGet, "/config/", ""); !strings.Contains(config, "a person's") {
			t.Errorf("the person's change is lost: %s", config)
		}
	})
}

// TestSomebodyEditsAllTheTime: after some tries the caller is told.
func TestSomebodyEditsAllTheTime(t *testing.T) {
	r := double(t, false)
	g := r.gateway(t)
	must(t, g, set(with(t, "a", "127.0.0.1:1")))
	n := 0
	var edit func()
	edit = func() {
		n++
		ask(t, r.to, http.MethodPost, "/config/apps/http/servers/srv0/routes", fmt.Sprintf(`{"handle":[{"handler":"static_response","body":"%d"}]}`, n))
		r.tell(func() { r.onChange = edit })
	}
	r.tell(func() { r.onChange = edit })
	err := change(t.Context(), g, set(with(t, "a", "127.0.0.1:2")))
	if err == nil || !strings.Contains(err.Error(), "by somebody else 8 times in between: not changed: a") {
		t.Errorf("it says %v", err)
	}
}

// TestNonsenseIsPutRight: what Caddy takes with a 200 and we did not mean is seen, whatever was changed, and made again.
func TestNonsenseIsPutRight(t *testing.T) {
	every(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		two := with(t, "two", "127.0.0.1:1")
		two.Servers = append(two.Servers, at("127.0.0.1:2"))
		want := set(with(t, "a", "127.0.0.1:1", "/a", "/b timeout=1s"), two, with(t, "z", "127.0.0.1:3"))
		must(t, g, want)
		proxy := "/id/swallowkeeper.upstream.two/handle/0"
		for _, tt := range []struct{ name, method, path, body string }{
			{"a dial of nonsense", http.MethodPatch, proxy + "/upstreams/0", `{"dial":"nonsense::::"}`},
			{"a server less", http.MethodDelete, proxy + "/upstreams/0", ""},
			{"a server more", http.MethodPost, proxy + "/upstreams", `{"dial":"127.0.0.1:99"}`},
			{"another policy", http.MethodPatch, proxy + "/load_balancing/selection_policy", `{"policy":"first"}`},
			{"retries", http.MethodPatch, proxy + "/load_balancing/retries", `9`},
			{"no passive checks", http.MethodDelete, proxy + "/health_checks", ""},
			{"an upstream less", http.MethodDelete, "/id/swallowkeeper.upstream.two", ""},
			{"a note of something else", http.MethodPatch, "/id/swallowkeeper.upstream.two/handle/1/swallowkeeper/block/1", `"server 10.9.9.9:1 weight=1;"`},
			{"a note of nonsense", http.MethodPatch, "/id/swallowkeeper.upstream.two/handle/1/swallowkeeper", `{"block":["server ; }"]}`},
			{"a note that is none", http.MethodPatch, "/id/swallowkeeper.upstream.two/handle/1/swallowkeeper", `7`},
			{"no note", http.MethodDelete, "/id/swallowkeeper.upstream.two/handle/1", ""},
			{"a route that takes more", http.MethodPatch, "/id/swallowkeeper.route.1/match/0/path_regexp", `{"pattern":"^/"}`},
			{"a route less", http.MethodDelete, "/id/swallowkeeper.route.1", ""},
			{"a route that asks nobody", http.MethodPatch, "/id/swallowkeeper.route.2/handle", `[{"handler":"static_response","status_code":200}]`},
			{"the state gone", http.MethodDelete, "/id/swallowkeeper.state", ""},
			{"a route more, before all", http.MethodPut, "/id/swallowkeeper/handle/0/routes/0", `{"handle":[{"handler":"static_response","body":"in between"}]}`},
			{"a handler more", http.MethodPost, "/id/swallowkeeper/handle", `{"handler":"static_response","body":"behind"}`},
			{"something else in ours", http.MethodPatch, "/id/swallowkeeper/handle", `[{"handler":"static_response","status_code":503}]`},
			{"nothing in ours", http.MethodDelete, "/id/swallowkeeper/handle", ""},
			{"no place", http.MethodDelete, "/id/swallowkeeper", ""},
		} {
			if status, answer := ask(t, r.to, tt.method, tt.path, tt.body); status != http.StatusOK {
				t.Errorf("%s is refused: %d %s", tt.name, status, answer)
				continue
			}
			l, err := g.Live(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if upstream.Diff(l.Set, want).Empty() {
				t.Errorf("%s is not seen", tt.name)
			}
			must(t, g, want)
			if got := live(t, g); got != "a:1 two:1 two:2 z:3" {
				t.Errorf("after %s it shows %s", tt.name, got)
			}
		}
	})
}

// TestNothingIsSentForNothing: what Caddy has is not sent again, by this gateway or by one that has just begun.
func TestNothingIsSentForNothing(t *testing.T) {
	every(t, func(t *testing.T, r *rig) {
		want := set(with(t, "auth", "127.0.0.1:9"), with(t, "a", "127.0.0.1:1", "shop.example/a&(b)/* methods=GET,POST strip=/a&(b) timeout=1.5s auth=auth/x"))
		must(t, r.gateway(t), want)
		n := r.count()
		for range 3 {
			must(t, r.gateway(t), want)
		}
		if got := r.count(); got != n {
			t.Errorf("%d changes were sent for nothing", got-n)
		}
	})
}

// TestRestartsAndReloads: what Caddy has forgotten is told again by the next pass, and with --resume it forgets nothing.
func TestRestartsAndReloads(t *testing.T) {
	every(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		want := set(with(t, "a", "127.0.0.1:1", "/a"), with(t, "b", "127.0.0.1:2"))
		must(t, g, want)
		for name, forget := range map[string]func(testing.TB){"a restart": r.restart, "caddy reload": r.reload} {
			forget(t)
			if got := live(t, g); got != "" {
				t.Errorf("after %s it shows %s", name, got)
			}
			must(t, g, want)
			if got := live(t, g); got != "a:1 b:2" {
				t.Errorf("after %s and a pass it shows %s", name, got)
			}
		}
	})
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t)
		must(t, g, set(with(t, "a", "127.0.0.1:1")))
		r.actual.Resume()
		if got := live(t, g); got != "a:1" {
			t.Errorf("with --resume it shows %s", got)
		}
	})
}

// TestWhereItIsPut: in the place that is prepared, with what the operator says there, else at the end of a server, else in a
// server that is made.
func TestWhereItIsPut(t *testing.T) {
	const server = `{"admin":{"listen":"ADMIN"},"apps":{"http":{"servers":{"srv0":{"listen":["SITE"],"automatic_https":{"disable":true}%s}}}}}`
	mine := `{"handle":[{"body":"mine","handler":"static_response"}],"match":[{"path":["/mine"]}]}`
	for _, tt := range []struct{ name, config, listen, want, is string }{
		{"no routes", fmt.Sprintf(server, ""), "", "/config/apps/http/servers/srv0/routes/0", ""},
		{"empty routes", fmt.Sprintf(server, `,"routes":[]`), "", "/config/apps/http/servers/srv0/routes/0", ""},
		{"behind theirs", fmt.Sprintf(server, `,"routes":[`+mine+`]`), "", "/config/apps/http/servers/srv0/routes/1", mine},
		{"before theirs", fmt.Sprintf(server, `,"routes":[{"@id":"swallowkeeper"},`+mine+`]`), "", "/config/apps/http/servers/srv0/routes/0", mine},
		{
			"a place of theirs", fmt.Sprintf(server, `,"routes":[{"handle":[{"handler":"subroute","routes":[`+mine+`,{"@id":"swallowkeeper","handle":[{"handler":"static_response"}],"match":[{"path":["/a"]}],"terminal":true}]}]}]`),
			"", "/config/apps/http/servers/srv0/routes/0/handle/0/routes/1", `"match":[{"path":["/a"]}],"terminal":true`,
		},
		{"another server", strings.ReplaceAll(fmt.Sprintf(server, ""), "srv0", "edge"), "SITE2", "/config/apps/http/servers/srv0/routes/0", `"edge"`},
		{"no server", `{"admin":{"listen":"ADMIN"},"apps":{"http":{"servers":{}}}}`, "SITE2", "/config/apps/http/servers/srv0/routes/0", ""},
		{"no app", `{"admin":{"listen":"ADMIN"}}`, "SITE2", "/config/apps/http/servers/srv0/routes/0", `{"admin"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			free := loopback.Free(t, 2)
			config := func(string) string { return strings.ReplaceAll(tt.config, "SITE", free[0]) }
			check := func(t *testing.T, r *rig) {
				g := r.gateway(t, func(c *caddy.Config) {
					if tt.listen != "" {
						c.Listen = free[1]
					}
				})
				for i := range 2 {
					must(t, g, set(with(t, "a", fmt.Sprintf("127.0.0.1:%d", 1+i), "/a")))
				}
				if got := live(t, g); got != "a:2" {
					t.Errorf("it shows %s", got)
				}
				status, answer := ask(t, r.to, http.MethodGet, tt.want, "")
				if status != http.StatusOK || !strings.Contains(answer, `"@id":"swallowkeeper"`) {
					t.Errorf("at %s is %d %s", tt.want, status, answer)
				}
				if _, all := ask(t, r.to, http.MethodGet, "/config/", ""); !strings.Contains(all, tt.is) {
					t.Errorf("what was theirs is %s", all)
				}
				if tt.listen == "" || r.double != nil {
					return
				}
				if status, _ := send(t, free[1], "GET", "any", "/other", ""); status != http.StatusNotFound {
					t.Errorf("what no route takes gets %d", status)
				}
			}
			for _, old := range []bool{false, true} {
				d, err := caddytest.New(caddytest.Options{Old: old, Config: config("")})
				if err != nil {
					t.Fatal(err)
				}
				s := httptest.NewServer(d)
				t.Cleanup(s.Close)
				check(t, &rig{double: d, faults: newFaults(t, s.Listener.Addr().String())})
			}
			t.Run("2.6", func(t *testing.T) { check(t, actualWith(t, caddytestserver.Debian(t), config)) })
			t.Run("2.11", func(t *testing.T) { check(t, actualWith(t, caddytestserver.Module(t), config)) })
		})
	}
}

// TestBadInput: each trouble is told in words that say what to do.
func TestBadInput(t *testing.T) {
	answering := func(status int, body string) func(t *testing.T) string {
		return func(t *testing.T) string {
			return "http://" + serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	of := func(o caddytest.Options) func(t *testing.T) string {
		return func(t *testing.T) string {
			d, err := caddytest.New(o)
			if err != nil {
				t.Fatal(err)
			}
			return "http://" + serve(t, d.ServeHTTP)
		}
	}
	twice := strings.Replace(base(":80"), `{"@id":"swallowkeeper"}`, `{"@id":"swallowkeeper"},{"handle":[{"handler":"subroute","routes":[{"@id":"swallowkeeper"}]}]}`, 1)
	two := `{"apps":{"http":{"servers":{"edge":{"listen":[":443",":80"]},"inner":{"listen":["10.0.0.1:80"]}}}}}`
	for _, tt := range []struct {
		name    string
		address func(t *testing.T) string
		config  func(*caddy.Config)
		says    []string
	}{
		{"nobody there", func(t *testing.T) string { return "http://" + loopback.Refused(t) }, nil, []string{"nobody listens at http://127.0.0.1:", "connection refused", `"admin"`, "not off"}},
		{"no socket", func(t *testing.T) string { return "unix:" + filepath.Join(t.TempDir(), "none.sock") }, nil, []string{"nobody listens at unix:/", "no such file"}},
		{"not allowed", of(caddytest.Options{Origins: []string{"caddy.example:2019"}}), nil, []string{"takes no calls from here", "host not allowed", `add "127.0.0.1:`, `to "origins"`}},
		{"something else", answering(http.StatusNotFound, "<html>nginx"), nil, []string{"404", "<html>nginx", "not Caddy's admin API"}},
		{"no JSON", answering(http.StatusOK, "hello"), nil, []string{"no configuration of Caddy", "is that its admin API?"}},
		{"cut", answering(http.StatusOK, `{"apps":{"http":`), nil, []string{"no configuration of Caddy"}},
		{"other JSON", answering(http.StatusOK, `[1,2]`), nil, []string{"no configuration of Caddy"}},
		{"too large", answering(http.StatusOK, strings.Repeat(" ", 2<<20)), nil, []string{"the answer of Caddy's admin API has", "bytes or more"}},
		{"no server of that name", of(caddytest.Options{Config: two}), nil, []string{`Caddy has no HTTP server "srv0"`, `it has "edge" on :443 :80, "inner" on 10.0.0.1:80`, "set server to one of them, or listen"}},
		{"no server at all", of(caddytest.Options{}), nil, []string{`Caddy has no HTTP server "srv0", it has none`, "listen"}},
		{"another listen", of(caddytest.Options{Config: two}), func(c *caddy.Config) { c.Server, c.Listen = "edge", ":8080" }, []string{`server "edge" listens on :443 :80, not on :8080`, `set listen = ""`}},
		{"the place twice", of(caddytest.Options{Old: true, Config: twice}), nil, []string{
			`has the @id "swallowkeeper" more than once`, "/config/apps/http/servers/srv0/routes/0, /config/apps/http/servers/srv0/routes/1/handle/0/routes/0", "nothing is changed",
		}},
		{"the place is no route", of(caddytest.Options{Config: `{"apps":{"http":{"servers":{"srv0":{"@id":"swallowkeeper","listen":[":80"]}}}}}`}), nil, []string{"stands at /config/apps/http/servers/srv0, which is no route"}},
		{"hanging", func(t *testing.T) string {
			ended := t.Context().Done()
			return "http://" + serve(t, func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-ended:
				case <-r.Context().Done():
				}
			})
		}, func(c *caddy.Config) { c.Timeout = 100 * time.Millisecond }, []string{"read the configuration", "deadline exceeded"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := caddy.DefaultConfig()
			c.Address, c.Timeout = tt.address(t), 5*time.Second
			if tt.config != nil {
				tt.config(&c)
			}
			g := caddy.New(c, quiet(), caddy.WithBudget(budget.New(1<<20)))
			defer g.Close()
			err := change(t.Context(), g, set(with(t, "a", "127.0.0.1:1")))
			if err == nil {
				t.Fatal("nothing is said")
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("it says %v, want %q in it", err, says)
				}
			}
		})
	}
}

// TestBadInputForReal: the real ones say of an @id that is there twice what the double says.
func TestBadInputForReal(t *testing.T) {
	t.Run("2.6 takes the place twice", func(t *testing.T) {
		r := actual(t, caddytestserver.Debian(t))
		if status, answer := ask(t, r.to, http.MethodPost, "/config/apps/http/servers/srv0/routes", `{"@id":"swallowkeeper"}`); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		err := change(t.Context(), r.gateway(t), set(with(t, "a", "127.0.0.1:1")))
		if err == nil || !strings.Contains(err.Error(), "more than once, at /config/apps/http/servers/srv0/routes/0, /config/apps/http/servers/srv0/routes/2") {
			t.Errorf("it says %v", err)
		}
	})
	t.Run("2.11 does not", func(t *testing.T) {
		r := actual(t, caddytestserver.Module(t))
		if status, answer := ask(t, r.to, http.MethodPost, "/config/apps/http/servers/srv0/routes", `{"@id":"swallowkeeper"}`); status != http.StatusBadRequest {
			t.Errorf("%d %s", status, answer)
		}
	})
	config := func(site string) string {
		return strings.Replace(base(site), `"listen":"ADMIN"`, `"listen":"ADMIN","enforce_origin":true`, 1)
	}
	for name, binary := range map[string]func(testing.TB) string{"2.6": caddytestserver.Debian, "2.11": caddytestserver.Module} {
		t.Run(name+" that wants an origin", func(t *testing.T) {
			r := actualWith(t, binary(t), config)
			c := r.config()
			c.Address = "http://" + r.to
			must(t, caddy.New(c, quiet()), set(with(t, "a", "127.0.0.1:1")))
		})
		t.Run(name+" on a socket", func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "admin.sock")
			site := loopback.Free(t, 1)[0]
			config := strings.Replace(base(site), "ADMIN", "unix/"+socket, 1)
			caddytestserver.StartOn(t, binary(t), config, socket)
			c := caddy.DefaultConfig()
			c.Address = "unix:" + socket
			g := caddy.New(c, quiet())
			defer g.Close()
			must(t, g, set(with(t, "a", backend(t, "a"), "/a")))
			if status, got := send(t, site, "GET", "any", "/a", ""); status != http.StatusOK {
				t.Errorf("%d %s", status, got)
			}
		})
	}
}

// TestHangingCaddy: a paused Caddy holds no call longer than its time, and nothing is lost when it goes on.
func TestHangingCaddy(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		c := r.config()
		c.Address, c.Timeout = "http://"+r.to, 500*time.Millisecond
		g := caddy.New(c, quiet())
		defer g.Close()
		before := with(t, "a", "127.0.0.1:1")
		must(t, g, set(before))
		release := r.actual.Pause()
		want := set(with(t, "a", "127.0.0.1:2"))
		began := time.Now()
		_, err := g.Apply(t.Context(), upstream.Diff(set(before), want))
		if took := time.Since(began); err == nil || took > 5*time.Second || !strings.Contains(err.Error(), "nobody knows whether Caddy has taken the change of a") {
			t.Errorf("a paused one: %v after %s", err, took)
		}
		release()
		for end := time.Now().Add(20 * time.Second); change(t.Context(), g, want) != nil && time.Now().Before(end); {
		}
		if got := live(t, g); got != "a:2" {
			t.Errorf("it shows %s", got)
		}
	})
}

// TestThousandRoutes: with a restart in the middle.
func TestThousandRoutes(t *testing.T) {
	every(t, func(t *testing.T, r *rig) {
		g := r.gateway(t, func(c *caddy.Config) { c.Timeout = 30 * time.Second })
		var list []upstream.Upstream
		for i := range 1000 {
			list = append(list, with(t, fmt.Sprintf("s%d", i), fmt.Sprintf("127.0.0.1:%d", 10000+i), fmt.Sprintf("/s%d/*", i)))
		}
		must(t, g, set(list[:500]...))
		r.tell(func() { r.onChange = func() { r.restart(t) } })
		must(t, g, set(list...))
		l, err := g.Live(t.Context())
		if err != nil || !upstream.Diff(l.Set, set(list...)).Empty() {
			t.Errorf("%v, it shows %d upstreams", err, l.Set.Len())
		}
		if r.double != nil {
			return
		}
		last := list[999]
		last.Servers = []upstream.Server{at(backend(t, "last"))}
		must(t, g, set(append(list[:999:999], last)...))
		if _, got := send(t, r.site, "GET", "any", "/s999/x", ""); !strings.HasPrefix(got, "last GET /s999/x") {
			t.Errorf("the last one is answered %s", got)
		}
	})
}

// TestTwoOfThem: each tells its own upstreams at the same time, and none is lost.
func TestTwoOfThem(t *testing.T) {
	every(t, func(t *testing.T, r *rig) {
		const rounds = 20
		errs := make(chan error, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i, name := range []string{"left", "right"} {
			g := r.gateway(t)
			go func() {
				var has upstream.Set
				for n := range rounds {
					want := set(with(t, name, fmt.Sprintf("127.0.0.1:%d", 1000*(i+1)+n)))
					for {
						_, err := g.Apply(ctx, upstream.Diff(has, want))
						if err == nil {
							break
						}
						if ctx.Err() != nil {
							errs <- err
							return
						}
					}
					has = want
				}
				errs <- nil
			}()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if got, want := live(t, r.gateway(t)), fmt.Sprintf("left:%d right:%d", 1000+rounds-1, 2000+rounds-1); got != want {
			t.Errorf("it shows %s, want %s", got, want)
		}
	})
}

// TestOneAfterTheOther: weights, limits and servers that are down in what a real Caddy does.
func TestOneAfterTheOther(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		u := with(t, "web", backend(t, "heavy"), "/*")
		u.Servers[0].Weight = 3
		light, gone := at(backend(t, "light")), at(net.JoinHostPort("127.0.0.1", "9"))
		gone.Down = true
		u.Servers = append(u.Servers, light, gone)
		g := r.gateway(t)
		must(t, g, set(u))
		count := map[string]int{}
		for range 80 {
			_, got := send(t, r.site, "GET", "any", "/", "")
			count[strings.Fields(got)[0]]++
		}
		if count["heavy"] != 60 || count["light"] != 20 {
			t.Errorf("3 to 1 became %v", count)
		}
		for i := range u.Servers {
			u.Servers[i].Down = true
		}
		must(t, g, set(u))
		if status, got := send(t, r.site, "GET", "any", "/", ""); status != http.StatusServiceUnavailable {
			t.Errorf("with all down: %d %s", status, got)
		}
	})
}
