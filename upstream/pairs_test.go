package upstream

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPairsAndWith(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "B", "b", "c", "d_1", "D_1", "e.f"})
	sets := rapid.Custom(func(t *rapid.T) Set {
		var list []Upstream
		for _, name := range rapid.SliceOfNDistinct(names, 0, 5, func(s string) string {
			return string([]byte{lower(s[0])}) + s[1:]
		}).Draw(t, "names") {
			port := rapid.Uint16Range(1, 4).Draw(t, "port")
			list = append(list, Upstream{Name: name, Servers: []Server{{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10}), port), Weight: 1}}})
		}
		return NewSet(list, Out{Service: "x", Reason: "y"})
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
		before := fmt.Sprint(a)
		if got := a.With(put, drop); !got.Equal(b) || len(got.Out()) != 1 {
			t.Fatalf("%v with %v, without %v is %v", a, put, drop, got)
		}
		if fmt.Sprint(a) != before {
			t.Fatal("the set was changed")
		}
		if got := a.WithOut(nil); len(got.Out()) != 0 || !got.Equal(a) {
			t.Fatal(got)
		}
	})
}
