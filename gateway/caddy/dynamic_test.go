package caddy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway/caddy"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/upstream"
)

// fleet are backends on one port and several addresses of loopback, as DNS tells them.
func fleet(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	_, port, _ := net.SplitHostPort(loopback.Free(t, 1)[0])
	for i := range n {
		name := fmt.Sprintf("127.0.1.%d", i+1)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(name, port))
		if err != nil {
			t.Fatal(err)
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, name)
		})}}
		s.Start()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		all = append(all, net.JoinHostPort(name, port))
	}
	return all
}

func of(t testing.TB, name string, addrs ...string) upstream.Upstream {
	t.Helper()
	u := with(t, name, addrs[0], "/"+name)
	for _, a := range addrs[1:] {
		u.Servers = append(u.Servers, at(a))
	}
	return u
}

// answering are who answers requests within a number of them.
func answering(t testing.TB, site, path string, n int) string {
	t.Helper()
	seen := map[string]bool{}
	for range n {
		status, got := send(t, site, "GET", "any", path, "")
		if status != http.StatusOK {
			got = fmt.Sprint(status)
		}
		seen[strings.TrimPrefix(got, "127.0.1.")] = true
	}
	all := ""
	for _, name := range []string{"1", "2", "3", "4", "502", "503"} {
		if seen[name] {
			all += name + " "
			delete(seen, name)
		}
	}
	if len(seen) > 0 {
		t.Errorf("%s is answered by %v, too", path, seen)
	}
	return strings.TrimSpace(all)
}

func dynamic(t testing.TB) func(*caddy.Config) {
	t.Helper()
	resolver := loopback.Free(t, 1)[0]
	return func(c *caddy.Config) { c.Mode, c.Resolver = "dynamic", resolver }
}

// TestServersByDNS: a change of servers alone is no change of Caddy's configuration, and all requests after Apply get the new
// ones.
func TestServersByDNS(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		addrs := fleet(t, 4)
		g := r.gateway(t, dynamic(t))
		must(t, g, set(of(t, "web", addrs[0])))
		if got := answering(t, r.site, "/web", 3); got != "1" {
			t.Errorf("at first it is answered by %s", got)
		}
		n := r.count()
		for _, tt := range []struct {
			addrs []string
			want  string
		}{
			{addrs[:2], "1 2"}, {addrs[1:2], "2"}, {addrs[1:], "2 3 4"}, {addrs[:1], "1"},
		} {
			must(t, g, set(of(t, "web", tt.addrs...)))
			if got := answering(t, r.site, "/web", 12); got != tt.want {
				t.Errorf("it is answered by %s, want %s", got, tt.want)
			}
			l, err := g.Live(t.Context())
			if err != nil || !upstream.Diff(l.Set, set(of(t, "web", tt.addrs...))).Empty() {
				t.Errorf("%v, it shows %v", err, l.Set)
			}
		}
		if got := r.count(); got != n {
			t.Errorf("%d changes of the configuration", got-n)
		}
	})
}

// TestWhatDNSCannotTell goes by the configuration: weights, several ports, names that are none, an upstream that has none or
// gets routes.
func TestWhatDNSCannotTell(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		addrs := fleet(t, 2)
		g := r.gateway(t, dynamic(t))
		must(t, g, set(of(t, "web", addrs[0])))
		heavy := of(t, "web", addrs...)
		heavy.Servers[0].Weight = 2
		ports := of(t, "web", addrs[0])
		ports.Servers = append(ports.Servers, at(backend(t, "other")))
		down := of(t, "web", addrs[0])
		down.Servers[0].Down = true
		routed := of(t, "web", addrs[1])
		routed.Routes = append(routed.Routes, with(t, "web", addrs[1], "/zzz").Routes...)
		odd := with(t, "w..b-", addrs[1], "/odd")
		for _, want := range []upstream.Set{set(heavy), set(ports), set(down), set(of(t, "web", addrs[1])), set(routed), set(odd), set(of(t, "web", addrs...), odd)} {
			n := r.count()
			must(t, g, want)
			if r.count() == n {
				t.Errorf("%v was told by DNS", want)
			}
			l, err := g.Live(t.Context())
			if err != nil || !upstream.Diff(l.Set, want).Empty() {
				t.Errorf("%v, it shows %v, want %v", err, l.Set, want)
			}
		}
		if got := answering(t, r.site, "/web", 8) + answering(t, r.site, "/odd", 2); got != "1 22" {
			t.Errorf("they are answered by %s", got)
		}
	})
}

// TestNobodyAnswersCaddy: it goes on with what stands in its configuration, which is what it was answered last. The next
// gateway answers what the conf file had.
func TestNobodyAnswersCaddy(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		addrs := fleet(t, 3)
		mode := dynamic(t)
		g := r.gateway(t, mode)
		must(t, g, set(of(t, "web", addrs[0])))
		must(t, g, set(of(t, "web", addrs[1])))
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it falls back to what it was answered last", func() bool { return answering(t, r.site, "/web", 4) == "2" })
		g = r.gateway(t, mode)
		if got := live(t, g); !strings.HasPrefix(got, "web:") {
			t.Errorf("it shows %s", got)
		}
		n := r.count()
		must(t, g, set(of(t, "web", addrs[2])))
		if got := answering(t, r.site, "/web", 4); got != "3" || r.count() != n {
			t.Errorf("it is answered by %s after %d changes", got, r.count()-n)
		}
	})
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestResolverInUse: a command beside the daemon still sees what Caddy has. Two can't answer at one address, and the second
// says so when it has a change to make.
func TestResolverInUse(t *testing.T) {
	r := double(t, false)
	mode := dynamic(t)
	must(t, r.gateway(t, mode), set(of(t, "web", "127.0.0.1:1")))
	second := r.gateway(t, mode)
	if got := live(t, second); got != "web:1" {
		t.Errorf("the second sees %q", got)
	}
	if err := change(t.Context(), second, set()); err == nil || !strings.Contains(err.Error(), "can't be answered at resolver = 127.0.0.1:") {
		t.Errorf("it says %v", err)
	}
}

// TestFromOneModeToTheOther and back, by another configuration.
func TestFromOneModeToTheOther(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		addrs := fleet(t, 2)
		mode := dynamic(t)
		want := set(of(t, "web", addrs...))
		for i := range 4 {
			var g *caddy.Gateway
			if i%2 == 0 {
				g = r.gateway(t, mode)
			} else {
				g = r.gateway(t)
			}
			must(t, g, want)
			if got := answering(t, r.site, "/web", 8); got != "1 2" {
				t.Errorf("it is answered by %s", got)
			}
			if _, config := ask(t, r.to, http.MethodGet, "/config/", ""); strings.Contains(config, "dynamic_upstreams") != (i%2 == 0) {
				t.Errorf("after change %d: %s", i, config)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
