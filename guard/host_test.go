package guard

import (
	"net/netip"
	"testing"
	"time"

	"swallowkeeper/upstream"
)

// named is a set of upstream ext with servers 10.0.0.N:80 that are registered by a host name.
func named(host string, numbers ...byte) upstream.Set {
	u := upstream.Upstream{Name: "ext", Options: upstream.Options{Keepalive: 20}}
	for _, n := range numbers {
		u.Servers = append(u.Servers, upstream.Server{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80), Weight: 1, MaxFails: 3,
			FailTimeout: 2 * time.Second, Origin: "r", Host: host,
		})
	}
	return upstream.NewSet([]upstream.Upstream{u})
}

// What is registered by a host name has the addresses that the name has now. The old ones have moved and are not gone.
func TestJudgeMoved(t *testing.T) {
	const host, other = "lb.example:80", "other.example:80"
	for _, tt := range []struct {
		name           string
		last, seen     upstream.Set
		accepted, held string
	}{
		{"all of its addresses", named(host, 1, 2, 3, 4), named(host, 5, 6, 7, 8), "ext: 5 6 7 8", ""},
		{"it has fewer", named(host, 1, 2, 3, 4), named(host, 4), "ext: 4", ""},
		{"another name came", named(host, 1, 2, 3, 4), named(other, 5, 6, 7, 8), "ext: 1 2 3 4 5 6 7 8", "max_removal: ext 1, ext 2, ext 3, ext 4"},
		{
			"its port is another instance", named(host, 1, 2, 3, 4), named("lb.example:81", 5, 6, 7, 8),
			"ext: 1 2 3 4 5 6 7 8", "max_removal: ext 1, ext 2, ext 3, ext 4",
		},
		{"one name moves, another is gone", upstream.Join(named(host, 1, 2), named(other, 3, 4, 5)), named(host, 6), "ext: 3 4 5 6", "max_removal: ext 3, ext 4, ext 5"},
		{"it is registered no more", upstream.Join(named(host, 1, 2, 3), set("b: 9")), set("b: 9"), "b: 9, ext: 1 2 3", "max_removal: ext 1, ext 2, ext 3"},
		{"it is not usable", named(host, 1, 2, 3, 4), upstream.NewSet([]upstream.Upstream{{Name: "ext"}}), "ext: 1 2 3 4", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.MinServices = 0
			d := c.Decide(Input{Accepted: tt.last, Seen: tt.seen, Now: noon})
			if got := line(d.Accepted); got != tt.accepted || heldLine(d.Holds) != tt.held {
				t.Errorf("accepted %q, held %q; want %q, %q", got, heldLine(d.Holds), tt.accepted, tt.held)
			}
		})
	}
}
