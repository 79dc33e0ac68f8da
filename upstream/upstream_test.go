package upstream_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

func server(addr string, change ...func(*upstream.Server)) upstream.Server {
	s := upstream.Server{Addr: netip.MustParseAddrPort(addr), Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "r"}
	for _, c := range change {
		c(&s)
	}
	return s
}

func up(name string, addrs ...string) upstream.Upstream {
	u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
	for _, a := range addrs {
		u.Servers = append(u.Servers, server(a))
	}
	return u
}

func canary(u upstream.Upstream, c string) upstream.Upstream {
	u.Canary = c
	return u
}

func origin(o string) func(*upstream.Server) { return func(s *upstream.Server) { s.Origin = o } }

// draw makes any set of a small world, in which names and addresses often meet.
func draw(t *rapid.T) []upstream.Upstream {
	srv := rapid.Custom(func(t *rapid.T) upstream.Server {
		return server(rapid.SampledFrom([]string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:2", "[::1]:1"}).Draw(t, "addr"),
			func(s *upstream.Server) {
				s.Weight = rapid.IntRange(1, 2).Draw(t, "weight")
				s.Backup = rapid.Bool().Draw(t, "backup")
				s.Origin = rapid.SampledFrom([]string{"a", "b", "a,b"}).Draw(t, "origin")
			})
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) upstream.Upstream {
		return upstream.Upstream{
			Name:    rapid.SampledFrom([]string{"web", "Web", "a_b", "api"}).Draw(t, "name"),
			Canary:  rapid.SampledFrom([]string{"", "b"}).Draw(t, "canary"),
			Options: upstream.Options{Keepalive: rapid.SampledFrom([]int{0, 20}).Draw(t, "keepalive")},
			Servers: rapid.SliceOfN(srv, 0, 4).Draw(t, "servers"),
		}
	}), 0, 6).Draw(t, "upstreams")
}

func TestNewSet(t *testing.T) {
	backup := func(s *upstream.Server) { s.Backup = true }
	for _, tt := range []struct {
		name string
		in   []upstream.Upstream
		want []upstream.Upstream
	}{
		{"nothing", nil, nil},
		{
			"sorted by name without regard to case, servers by address",
			[]upstream.Upstream{up("b", "10.0.0.2:80", "10.0.0.10:80", "10.0.0.2:9"), up("C"), up("a")},
			[]upstream.Upstream{up("a"), up("b", "10.0.0.2:9", "10.0.0.2:80", "10.0.0.10:80"), up("C")},
		},
		{
			"two registrations of one address are one server",
			[]upstream.Upstream{up("a", "10.0.0.1:80", "10.0.0.1:80")},
			[]upstream.Upstream{up("a", "10.0.0.1:80")},
		},
		{
			"of two registrations the one that carries more counts",
			[]upstream.Upstream{{Name: "a", Servers: []upstream.Server{
				server("10.0.0.1:80", backup), server("10.0.0.1:80", func(s *upstream.Server) { s.Weight = 2 }), server("10.0.0.1:80"),
			}}},
			[]upstream.Upstream{{Name: "a", Servers: []upstream.Server{server("10.0.0.1:80", func(s *upstream.Server) { s.Weight = 2 })}}},
		},
		{
			"halves of one upstream are one upstream, from both",
			[]upstream.Upstream{
				{Name: "a", Servers: []upstream.Server{server("10.0.0.1:80", origin("y"))}},
				{Name: "a", Servers: []upstream.Server{server("10.0.0.1:80", origin("x")), server("10.0.0.2:80", origin("x"))}},
			},
			[]upstream.Upstream{{Name: "a", Servers: []upstream.Server{
				server("10.0.0.1:80", origin("x,y")), server("10.0.0.2:80", origin("x")),
			}}},
		},
		{
			"names that collide are both there",
			[]upstream.Upstream{up("web"), up("Web"), canary(up("a_b"), "b"), up("a_b")},
			[]upstream.Upstream{up("a_b"), canary(up("a_b"), "b"), up("Web"), up("web")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := slices.Collect(upstream.NewSet(tt.in).All())
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func up0(name string, addrs ...string) upstream.Upstream {
	u := up(name, addrs...)
	u.Options = upstream.Options{}
	return u
}

func TestSetLeavesItsInputAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		before := clone(in)
		set := upstream.NewSet(in)
		if !slices.EqualFunc(before, in, upstream.Upstream.Identical) {
			t.Fatal("the input has changed")
		}
		again := upstream.NewSet(slices.Collect(set.All()))
		if !again.Identical(set) {
			t.Fatal("a set made of a set's upstreams is another set")
		}
	})
}

func clone(in []upstream.Upstream) []upstream.Upstream {
	out := slices.Clone(in)
	for i := range out {
		out[i].Servers = slices.Clone(out[i].Servers)
	}
	return out
}

func TestNewSetForgetsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := draw(t)
		for i := range in {
			in[i].Options = upstream.Options{} // of two halves with different options the first counts
		}
		shuffled := clone(rapid.Permutation(in).Draw(t, "shuffled"))
		for i := range shuffled {
			slices.Reverse(shuffled[i].Servers)
		}
		a, b := upstream.NewSet(in), upstream.NewSet(shuffled)
		if diff := cmp.Diff(addrs(a), addrs(b)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func addrs(s upstream.Set) map[string][]string {
	m := map[string][]string{}
	for u := range s.All() {
		for _, srv := range u.Servers {
			m[u.Name+"/"+u.Canary] = append(m[u.Name+"/"+u.Canary], srv.Addr.String())
		}
	}
	return m
}

func TestJoinIsNewSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		joined := upstream.Join(upstream.NewSet(a), upstream.NewSet(b))
		made := upstream.NewSet(slices.Concat(slices.Collect(upstream.NewSet(a).All()), slices.Collect(upstream.NewSet(b).All())))
		if !joined.Identical(made) {
			t.Fatalf("joined %v, made %v", addrs(joined), addrs(made))
		}
	})
}

func TestGetIgnoresCase(t *testing.T) {
	s := upstream.NewSet([]upstream.Upstream{up("Web", "10.0.0.1:80"), up("api", "10.0.0.2:80"), up("a_b", "10.0.0.3:80")})
	for _, name := range []string{"web", "WEB", "Web"} {
		if u, ok := s.Get(name); !ok || u.Name != "Web" {
			t.Errorf("Get(%q) = %v, %v", name, u.Name, ok)
		}
	}
	if _, ok := s.Get("we"); ok {
		t.Error("a part of a name was found")
	}
}

func TestDiff(t *testing.T) {
	a, b := up("a", "10.0.0.1:80"), up("b", "10.0.0.2:80")
	a2 := up("a", "10.0.0.1:80", "10.0.0.9:80")
	weighted := up("a", "10.0.0.1:80")
	weighted.Servers[0].Weight = 5
	moved := up("a", "10.0.0.1:80")
	moved.Servers[0].Origin = "another"
	for _, tt := range []struct {
		name                    string
		live, want              []upstream.Upstream
		added, updated, removed string
	}{
		{"nothing to do", []upstream.Upstream{a, b}, []upstream.Upstream{b, a}, "", "", ""},
		{"added", nil, []upstream.Upstream{a, b}, "a b", "", ""},
		{"removed", []upstream.Upstream{a, b}, []upstream.Upstream{b}, "", "", "a"},
		{"a server more", []upstream.Upstream{a}, []upstream.Upstream{a2}, "", "a", ""},
		{"an option", []upstream.Upstream{a}, []upstream.Upstream{weighted}, "", "a", ""},
		{"a block option", []upstream.Upstream{up0("a", "10.0.0.1:80")}, []upstream.Upstream{a}, "", "a", ""},
		{"another origin is no difference to nginx", []upstream.Upstream{moved}, []upstream.Upstream{a}, "", "", ""},
		{"another case of the name", []upstream.Upstream{up("A", "10.0.0.1:80")}, []upstream.Upstream{a}, "", "a", ""},
		{"workers that disagree", []upstream.Upstream{up("a")}, []upstream.Upstream{a}, "", "a", ""},
		{"all at once", []upstream.Upstream{a, b}, []upstream.Upstream{a2, up("c", "10.0.0.3:1")}, "c", "a", "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := upstream.Diff(upstream.NewSet(tt.live), upstream.NewSet(tt.want))
			var updated []upstream.Upstream
			for _, u := range c.Updated {
				updated = append(updated, u.New)
			}
			for _, got := range []struct {
				what string
				list []upstream.Upstream
				want string
			}{{"added", c.Added, tt.added}, {"updated", updated, tt.updated}, {"removed", c.Removed, tt.removed}} {
				if names := strings.Join(upstream.NewSet(got.list).Names(), " "); names != got.want {
					t.Errorf("%s %q, want %q", got.what, names, got.want)
				}
			}
			if c.Empty() != (tt.added+tt.updated+tt.removed == "") {
				t.Error("Empty is wrong")
			}
		})
	}
}

func TestDiffLeadsToWant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := upstream.Merge(upstream.Set{}, upstream.NewSet(draw(t)))
		want := upstream.Merge(upstream.Set{}, upstream.NewSet(draw(t)))
		c := upstream.Diff(live, want)
		state := map[string]upstream.Upstream{}
		for u := range live.All() {
			state[strings.ToLower(u.Name)] = u
		}
		for _, u := range c.Added {
			if _, there := state[strings.ToLower(u.Name)]; there {
				t.Fatalf("%s is added and was there", u.Name)
			}
			state[strings.ToLower(u.Name)] = u
		}
		for _, u := range c.Updated {
			state[strings.ToLower(u.New.Name)] = u.New
		}
		for _, u := range c.Removed {
			delete(state, strings.ToLower(u.Name))
		}
		if len(state) != want.Len() {
			t.Fatalf("%d upstreams, want %d", len(state), want.Len())
		}
		for u := range want.All() {
			if got := state[strings.ToLower(u.Name)]; len(u.Servers) > 0 && !got.Same(u) {
				t.Fatalf("got %v, want %v", got, u)
			}
		}
	})
}

func TestMerge(t *testing.T) {
	web, Web := up("web", "10.0.0.1:80"), up("Web", "6.6.6.6:80")
	at := func(path string, u upstream.Upstream) upstream.Upstream {
		u.Routes = []route.Route{{Path: path}}
		return u
	}
	service, gray := up("a_b", "6.6.6.6:80"), canary(up("a_b", "10.0.0.1:80"), "b")
	for _, tt := range []struct {
		name    string
		written []upstream.Upstream
		parts   [][]upstream.Upstream
		kept    []upstream.Upstream
		out     int
	}{
		{"the written one stays: web", []upstream.Upstream{web}, [][]upstream.Upstream{{web, Web}}, []upstream.Upstream{web}, 1},
		{"the written one stays: Web", []upstream.Upstream{Web}, [][]upstream.Upstream{{web, Web}}, []upstream.Upstream{Web}, 1},
		{"also across registries", []upstream.Upstream{web}, [][]upstream.Upstream{{Web}, {web}}, []upstream.Upstream{web}, 1},
		{"a canary's upstream stays", []upstream.Upstream{gray}, [][]upstream.Upstream{{service, gray}}, []upstream.Upstream{gray}, 1},
		{"a service's upstream stays", []upstream.Upstream{service}, [][]upstream.Upstream{{service, gray}}, []upstream.Upstream{service}, 1},
		{"none is written: the first in order", nil, [][]upstream.Upstream{{web, Web}}, []upstream.Upstream{Web}, 1},
		{"the written one is gone: the newcomer comes in", []upstream.Upstream{web}, [][]upstream.Upstream{{Web}}, []upstream.Upstream{Web}, 0},
		{"no collision", nil, [][]upstream.Upstream{{web}, {service}}, []upstream.Upstream{service, web}, 0},
		{
			"two registries, one upstream", nil,
			[][]upstream.Upstream{{up("web", "10.0.0.1:80")}, {up("web", "10.0.0.2:80")}},
			[]upstream.Upstream{up("web", "10.0.0.1:80", "10.0.0.2:80")},
			0,
		},
		{
			"two registries with other routes: that with more servers counts", nil,
			[][]upstream.Upstream{{at("/a", up("web", "10.0.0.1:80"))}, {at("/b", up("web", "10.0.0.2:80", "10.0.0.3:80"))}},
			[]upstream.Upstream{at("/b", up("web", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))},
			1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var parts []upstream.Set
			for _, p := range tt.parts {
				parts = append(parts, upstream.NewSet(p))
			}
			got := upstream.Merge(upstream.NewSet(tt.written), parts...)
			if !got.Equal(upstream.NewSet(tt.kept)) {
				t.Errorf("kept %v, want %v", slices.Collect(got.All()), tt.kept)
			}
			if len(got.Out()) != tt.out {
				t.Errorf("out: %v, want %d", got.Out(), tt.out)
			}
		})
	}
}

func TestFrom(t *testing.T) {
	s := upstream.NewSet([]upstream.Upstream{{Name: "web", Servers: []upstream.Server{
		server("10.0.0.1:1", origin("a")), server("10.0.0.2:1", origin("b")), server("10.0.0.3:1", origin("a,b")), server("10.0.0.4:1", origin("old")),
	}}})
	if got := addrs(s.From("b"))["web/"]; !slices.Equal(got, []string{"10.0.0.2:1", "10.0.0.3:1"}) {
		t.Errorf("from b: %v", got)
	}
	if got := addrs(s.FromNoneOf([]string{"a", "b"}))["web/"]; !slices.Equal(got, []string{"10.0.0.4:1"}) {
		t.Errorf("from nowhere: %v", got)
	}
	if got := s.From("none"); got.Len() != 0 {
		t.Errorf("from none: %v", got)
	}
	// What is kept for b is written as coming from b, also where a had it too.
	for u := range s.From("b").All() {
		for _, srv := range u.Servers {
			if srv.Origin != "b" {
				t.Errorf("%s has the origin %q", srv.Addr, srv.Origin)
			}
		}
	}
}

func TestValidName(t *testing.T) {
	for _, good := range []string{"web", "Web-1", "a_b", "x.y.z", "_hidden", "8ball", strings.Repeat("a", upstream.MaxName)} {
		if err := upstream.ValidName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "a b", "a;b", "a{", "x { server 6.6.6.6; } upstream y", "../etc", "a/b", "a\nb", "a\x00b", "é", "-a", ".a",
		"$host", "a#b", `a"b`, "6.6.6.6", "::1", "a:80", strings.Repeat("a", upstream.MaxName+1),
	} {
		if upstream.ValidName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzValidName(f *testing.F) {
	f.Add("web")
	f.Add("x { server 6.6.6.6; }")
	f.Fuzz(func(t *testing.T, s string) {
		if upstream.ValidName(s) == nil && strings.ContainsAny(s, " \t\r\n;{}#'\"\\$/%?&=<>:\x00") {
			t.Errorf("%q is taken", s)
		}
	})
}

func TestParseAddr(t *testing.T) {
	for _, tt := range []struct {
		host string
		port int
		want string
	}{
		{"10.0.0.1", 80, "10.0.0.1:80"},
		{"::1", 65535, "[::1]:65535"},
		{"[2001:db8::1]", 1, "[2001:db8::1]:1"},
		{"::ffff:10.0.0.1", 80, "10.0.0.1:80"},
		{"10.0.0.1", 0, ""},
		{"10.0.0.1", -1, ""},
		{"10.0.0.1", 65536, ""},
		{"010.0.0.1", 80, ""},
		{"10.0.0", 80, ""},
		{"web.internal", 80, ""},
		{"localhost", 80, ""},
		{"fe80::1%eth0;", 80, ""},
		{"0.0.0.0", 80, ""},
		{"::", 80, ""},
		{"224.0.0.1", 80, ""},
		{"255.255.255.255", 80, ""},
		{"", 80, ""},
		{"10.0.0.1;", 80, ""},
		{strings.Repeat("1", 10_000), 80, ""},
	} {
		got, err := upstream.ParseAddr(tt.host, tt.port)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("ParseAddr(%.20q, %d) is taken as %s", tt.host, tt.port, got)
		case tt.want == "" && len(err.Error()) > 300:
			t.Errorf("the error for %.20q is %d bytes long", tt.host, len(err.Error()))
		case tt.want != "" && (err != nil || got.String() != tt.want):
			t.Errorf("ParseAddr(%q, %d) = %s, %v; want %s", tt.host, tt.port, got, err, tt.want)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	f.Add("10.0.0.1", 80)
	f.Add("[::1]", 80)
	f.Add("fe80::1%x;", 80)
	f.Fuzz(func(t *testing.T, host string, port int) {
		got, err := upstream.ParseAddr(host, port)
		if err == nil && strings.Trim(got.String(), "0123456789abcdef.:[]") != "" {
			t.Errorf("%q became %q", host, got)
		}
	})
}

func TestServerValid(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*upstream.Server)
		bad    bool
	}{
		{"as it is", func(*upstream.Server) {}, false},
		{"no address", func(s *upstream.Server) { s.Addr = netip.AddrPort{} }, true},
		{"weight 0", func(s *upstream.Server) { s.Weight = 0 }, true},
		{"weight too high", func(s *upstream.Server) { s.Weight = upstream.MaxWeight + 1 }, true},
		{"never failed", func(s *upstream.Server) { s.MaxFails = 0 }, false},
		{"negative max_fails", func(s *upstream.Server) { s.MaxFails = -1 }, true},
		{"negative max_conns", func(s *upstream.Server) { s.MaxConns = -1 }, true},
		{"half a second", func(s *upstream.Server) { s.FailTimeout = time.Second / 2 }, true},
		{"negative time", func(s *upstream.Server) { s.FailTimeout = -time.Second }, true},
	} {
		if err := server("10.0.0.1:80", tt.change).Valid(); (err != nil) != tt.bad {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func BenchmarkNewSet(b *testing.B) {
	list := make([]upstream.Upstream, 1000)
	for i := range list {
		list[i] = up("service-" + string(rune('a'+i%26)) + strings.Repeat("x", i%7))
		list[i].Name += "-" + time.Duration(i).String()
		for j := range 10 {
			list[i].Servers = append(list[i].Servers, server(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j + 1)}), 80).String()))
		}
	}
	list = slices.Collect(upstream.NewSet(list).All())
	for b.Loop() {
		upstream.NewSet(list)
	}
}
