package upstream

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"swallowkeeper/reason"
)

func TestPairsAndWith(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "B", "b", "c", "d_1", "D_1", "e.f"})
	sets := rapid.Custom(func(t *rapid.T) Set {
		var list []Upstream
		for _, name := range rapid.SliceOfNDistinct(names, 0, 5, func(s string) string {
			return string([]byte{lower(s[0])}) + s[1:]
		}).Draw(t, "names") {
			port := rapid.Uint16Range(1, 4).Draw(t, "port")
			list = append(list, Upstream{Name: name, Servers: []Server{{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10}), port), Weight: 1, Down: port == 2, Backup: port == 3,
			}}})
		}
		return NewSet(list, Out{Service: "x", Reason: reason.Text("y")})
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := sets.Draw(t, "a"), sets.Draw(t, "b")
		var put []Upstream
		var drop []string
		var left, right []Upstream
		for x, y := range Pairs(a, b) {
			if x.Name != "" {
				left = append(left, x)
			}
			if y.Name != "" {
				right = append(right, y)
			}
			switch {
			case x.Name != "" && y.Name != "" && !SameName(x.Name, y.Name):
				t.Fatalf("%s is no pair of %s", x.Name, y.Name)
			case y.Name == "":
				drop = append(drop, x.Name)
			case !x.Identical(y):
				put = append(put, y)
			}
		}
		if !slices.EqualFunc(left, slices.Collect(a.All()), Upstream.Identical) || !slices.EqualFunc(right, slices.Collect(b.All()), Upstream.Identical) {
			t.Fatalf("pairs have %v and %v", left, right)
		}
		next := a.With(put, drop)
		for _, sets := range [][2]Set{{a, b}, {a, next}, {next, b}, {next.Without(drop), next}} {
			var changed, want []string
			for x, y := range Changed(sets[0], sets[1]) {
				changed = append(changed, fmt.Sprint(x, y))
			}
			for x, y := range Pairs(sets[0], sets[1]) {
				if !x.Identical(y) {
					want = append(want, fmt.Sprint(x, y))
				}
			}
			if !slices.Equal(changed, want) {
				t.Fatalf("changed is %q, want %q", changed, want)
			}
		}
		for _, s := range []Set{a, b, next, next.WithOut(), next.Without(drop), b.Select(func(_ Upstream, srv Server) bool { return srv.Addr.Port() > 1 })} {
			servers, usable, backups := 0, 0, 0
			for u := range s.All() {
				for _, srv := range u.Servers {
					servers, backups = servers+map[bool]int{false: 1}[srv.Down], backups+map[bool]int{true: 1}[srv.Backup]
				}
				usable += map[bool]int{true: 1}[u.Usable()]
			}
			if s.Servers() != servers || s.Usable() != usable || s.Backups() != backups {
				t.Fatalf("%v has %d servers, %d usable, %d backups", s, s.Servers(), s.Usable(), s.Backups())
			}
		}
		before := fmt.Sprint(a)
		if got := a.With(put, drop); !got.Equal(b) || len(got.Out()) != 1 {
			t.Fatalf("%v with %v, without %v is %v", a, put, drop, got)
		}
		if fmt.Sprint(a) != before {
			t.Fatal("the set was changed")
		}
		if got := a.WithOut(); len(got.Out()) != 0 || !got.Equal(a) {
			t.Fatal(got)
		}
	})
}
