package dyups_test

import (
	"strings"
	"testing"

	"swallowkeeper/dyups/dyupstest"
	contract "swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

const odds = " weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0"

// Upstreams of nginx's own configuration that can't be read stop no push of ours, and are left alone.
func TestWhatIsNotOursAndNotUnderstoodIsPassedOver(t *testing.T) {
	for _, noDetail := range []bool{false, true} {
		o := told()
		o.NoDetail = noDetail
		o.Static = []dyupstest.Static{
			{Name: "ext", Servers: []string{odds}}, // server NAME resolve
			{Name: "host", Servers: []string{"localhost:80" + odds, "127.0.0.1:81" + odds}},
			{Name: "zone", Servers: []string{"[fe80::1%eth0]:80" + odds}},
			{Name: "socket", Servers: []string{"unix:/run/x.sock" + odds}},
			{Name: "newer", Servers: []string{"127.0.0.1:82" + odds + " slow_start=10"}},
			{Name: "none"},
			{Name: "a b", Servers: []string{"127.0.0.1:83" + odds}},
			{Name: "", Servers: []string{"127.0.0.1:84" + odds}},
			{Name: `q"x`, Servers: []string{"127.0.0.1:85" + odds}},
			{Name: "Tw", Servers: []string{"127.0.0.1:86" + odds}},
			{Name: "tw", Servers: []string{"127.0.0.1:87" + odds}},
		}
		s := server(t, o)
		g := gateway(t, s, o, quiet())
		want := set(web("a", 1), web("b", 2))
		ours := func(live contract.Live) upstream.Changes {
			return upstream.Diff(live.Set, want).RemoveOnly(func(upstream.Upstream) bool { return false })
		}
		live, err := g.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Apply(t.Context(), ours(live)); err != nil {
			t.Fatal(err)
		}
		if live, err = g.Live(t.Context()); err != nil || !ours(live).Empty() {
			t.Errorf("out of sync: %v %+v", err, ours(live))
		}
		for _, name := range []string{"ext", "host", "zone", "socket", "none", "tw"} {
			if u, ok := live.Set.Get(name); !ok { // else a service of that name would take it over
				t.Errorf("upstream %s is not known: %+v", name, u)
			}
		}
		if u, _ := live.Set.Get("ext"); len(u.Servers) != 1 || u.Servers[0].Addr.IsValid() {
			t.Errorf("ext is %+v", u) // without a server it would count as one that the workers differ about
		}
	}
}

// What can't be read of one of ours is an error, also where the addresses alone could be read.
func TestWhatCannotBeReadOfOursIsAnError(t *testing.T) {
	tests := []struct {
		name   string
		static []dyupstest.Static
		want   string
	}{
		{
			"twins",
			[]dyupstest.Static{{Name: "A", Servers: []string{"127.0.0.1:9" + odds}}, {Name: "a", Servers: []string{"127.0.0.1:1" + odds}}},
			"upstreams A and a, which dyups can't tell apart: rename",
		},
	}
	for _, tt := range tests {
		for _, noDetail := range []bool{false, true} {
			o := told()
			o.NoDetail, o.Static = noDetail, tt.static
			s := server(t, o)
			g := gateway(t, s, o, quiet())
			live, err := g.Live(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			posts := s.Posts()
			for _, c := range []upstream.Changes{
				upstream.Diff(live.Set, set(web("a", 1), web("b", 2))),
				upstream.Diff(live.Set, set()),
			} {
				c.Removed = nil
				if u, _ := live.Set.Get("a"); c.Empty() {
					c.Removed = []upstream.Upstream{u}
				}
				if _, err := g.Apply(t.Context(), c); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: error %v", tt.name, err)
				}
			}
			if n := s.Posts() - posts; n != 1 { // b's
				t.Errorf("%s: %d posts", tt.name, n)
			}
			if got := s.Copies("b")[0]; !strings.Contains(got, ":2 ") {
				t.Errorf("b is %q: one upstream's trouble keeps it from the others", got)
			}
		}
	}
}
