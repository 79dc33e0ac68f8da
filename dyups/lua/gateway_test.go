package lua_test

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/dyups"
	contract "swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/persist"
	"swallowkeeper/upstream"
)

// What follows is swallowkeeper's own gateway, unchanged, on the library.

func gateway(t *testing.T, n *nginx, options ...dyups.Option) *dyups.Gateway {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	c := dyups.DefaultConfig()
	c.Address = n.api
	c.Timeout = 5 * time.Second
	g := dyups.New(c, log, options...)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// converge does what one pass of the syncer does, and returns what it changed.
func converge(t *testing.T, g *dyups.Gateway, want upstream.Set) upstream.Changes {
	t.Helper()
	live, err := g.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := upstream.Diff(live.Set, want)
	if _, err := g.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// holds checks, by a gateway that knows nothing, that every worker shows the set.
func holds(t *testing.T, n *nginx, want upstream.Set) {
	t.Helper()
	written := &contract.Written{}
	written.Set(want)
	g := gateway(t, n, dyups.WithWritten(written))
	live, err := g.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := upstream.Diff(live.Set, want); !c.Empty() {
		t.Fatalf("%d added, %d updated, %d removed: %.500s", len(c.Added), len(c.Updated), len(c.Removed), fmt.Sprint(c))
	}
	_ = g.Close()
}

func one(name string, ports ...uint16) upstream.Upstream {
	u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
	for _, p := range ports {
		u.Servers = append(u.Servers, upstream.Server{
			Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 2, 3}), p),
			Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second,
		})
	}
	return u
}

func many(n, each int) upstream.Set {
	list := make([]upstream.Upstream, n)
	for i := range list {
		list[i] = one(fmt.Sprintf("service-%04d", i))
		for k := range each {
			s := one("", uint16(8000+k)).Servers[0]
			s.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(k + 1)}), s.Addr.Port())
			list[i].Servers = append(list[i].Servers, s)
		}
	}
	return upstream.NewSet(list)
}

func TestGateway(t *testing.T) {
	n := start(t, options{})
	g := gateway(t, n)
	want := many(3000, 10)
	began := time.Now()
	converge(t, g, want)
	t.Logf("3,000 upstreams in %s", time.Since(began))
	holds(t, n, want)
	if c := converge(t, g, want); !c.Empty() {
		t.Errorf("again: %d added, %d updated", len(c.Added), len(c.Updated))
	}
	list := slices.Collect(want.All())
	for i := range 20 {
		list[i*7] = one(list[i*7].Name, uint16(i+1), uint16(i+2))
		list[i*7].Options.Method = []string{"", "least_conn", "ip_hash", "random"}[i%4]
		list[i*7].Servers[1].MaxConns = i
		list[i*7].Servers[1].Down = i%3 == 0
		next := upstream.NewSet(list)
		if c := converge(t, g, next); len(c.Updated) != 1 {
			t.Errorf("%d updated", len(c.Updated))
		}
	}
	want = upstream.NewSet(list)
	holds(t, n, want)
	want = upstream.NewSet(list[:10])
	if c := converge(t, g, want); len(c.Removed) != 2990 {
		t.Errorf("%d removed", len(c.Removed))
	}
	holds(t, n, want)
}

// TestGatewayAndCrash: nothing is lost, so nothing has to be repaired.
func TestGatewayAndCrash(t *testing.T) {
	n := start(t, options{})
	g := gateway(t, n)
	want := upstream.NewSet([]upstream.Upstream{one("a", 1), one("b", 2)})
	converge(t, g, want)
	for range 3 {
		if err := syscall.Kill(n.workers()[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "four workers", func() bool { return len(n.workers()) == 4 })
		holds(t, n, want)
	}
	n.reload()
	holds(t, n, want)
	converge(t, g, want)
	if c := converge(t, g, want); !c.Empty() {
		t.Errorf("%+v", c)
	}
}

// TestColdStart starts nginx with the file that swallowkeeper wrote, and nothing else.
func TestColdStart(t *testing.T) {
	for name, above := range map[string]string{"one file": "0", "shards": "1KB"} {
		t.Run(name, func(t *testing.T) { coldStart(t, above) })
	}
	for name, text := range map[string]string{
		"no file":       "",
		"broken behind": "upstream a { server 127.0.0.1:1; }\nupstream b { server",
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, options{upstreams: text})
			status, _, _ := n.call("GET", "/upstream/a", "")
			if want := map[bool]int{true: 404, false: 200}[text == ""]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if text != "" && !strings.Contains(n.log(), "read up to an error: line 2") {
				t.Error("the error is not in the log")
			}
		})
	}
}

func coldStart(t *testing.T, shardAbove string) {
	n := start(t, options{})
	if status, _, _ := n.call("GET", "/list", ""); status != 204 {
		t.Errorf("with an empty file: %d", status)
	}
	list := slices.Collect(many(300, 3).All())
	list[5].Options.Method = "least_conn"
	list[6].Servers[1].Backup = true
	list[7].Servers[2].Down = true
	list[8].Servers[0].Addr = netip.MustParseAddrPort("[2001:db8::1]:80")
	for i := range list {
		for k := range list[i].Servers {
			list[i].Servers[k].Origin = "consul@127.0.0.1:8500"
		}
	}
	want := upstream.NewSet(list)
	pc := persist.DefaultConfig()
	pc.Path, pc.ShardAbove = n.upstreams, shardAbove
	log := logrus.New()
	log.SetOutput(io.Discard)
	f, err := persist.Open(pc, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), generation.Generation{Set: want}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	n.reload() // the memory is there: the file is not read
	if status, _, _ := n.call("GET", "/list", ""); status != 204 {
		t.Errorf("after a reload: %d", status)
	}
	n.stop()
	bin, _ := binary(t)
	n.run(bin)
	holds(t, n, want)

	// A part that is missing costs its upstreams, and says so.
	parts, err := filepath.Glob(filepath.Join(n.dir, ".upstreams.conf.shards", "*.conf"))
	if err != nil || len(parts) > 0 != (shardAbove != "0") {
		t.Fatalf("the parts are %q, %v", parts, err)
	}
	if len(parts) == 0 {
		return
	}
	if err := os.Remove(parts[0]); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.run(bin)
	if log := n.log(); !strings.Contains(log, "a part of the upstreams can't be read: "+parts[0]) {
		t.Error("the log does not name the part that is missing")
	}
	if status, body, _ := n.call("GET", "/list", ""); status != 200 || strings.Count(body, "\n") < want.Len()/2 {
		t.Errorf("%d, %d upstreams", status, strings.Count(body, "\n"))
	}
}

// TestGatewayKnowsWhatNginxHas: the names of nginx's own configuration are told apart from those that
// somebody posted, and an interface that can't tell them says so.
func TestGatewayKnowsWhatNginxHas(t *testing.T) {
	const location = "server { listen unix:DIR/x.sock; location / { proxy_pass http://localhost; } }"
	n := start(t, options{http: shop + location})
	n.post("posted", "server 127.0.0.1:1;")
	g := gateway(t, n)
	taken := func() string {
		t.Helper()
		live, err := g.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := live.Set.Get("shop"); !ok || len(u.Servers) != 3 {
			t.Errorf("shop: %+v", u)
		}
		return strings.Join(live.Reserved, " ")
	}
	if got := taken(); got != "dyups dyups_auth dyups_http localhost shop" {
		t.Errorf("taken: %s", got)
	}
	n.write(n.dir+"/nginx.conf", strings.Replace(n.read(n.dir+"/nginx.conf"), "proxy_pass http://localhost;", "return 404;", 1))
	n.reload()
	if got := taken(); got != "dyups dyups_auth dyups_http shop" { // the same list, and another header
		t.Errorf("taken after a reload: %s", got)
	}
	for _, row := range []struct {
		edit func(string) string
		want bool
	}{
		{func(s string) string { return s }, false},
		{func(s string) string {
			return strings.Replace(s, "init_by_lua_block {", "init_by_lua_block {"+blind, 1)
		}, true},
	} {
		x, err := gateway(t, start(t, options{workers: 1, edit: row.edit})).Examine(t.Context())
		unknown := slices.ContainsFunc(x.Findings, func(f finding.Finding) bool { return f.Check == "own-upstreams" })
		if err != nil || unknown != row.want {
			t.Errorf("%+v, %v, want %v", x, err, row.want)
		}
	}
}
