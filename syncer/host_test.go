package syncer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"swallowkeeper/reason"
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

// A registry that can't look a name up lists no address of it, and has not said that they are gone.
func TestUnknownAddressesStay(t *testing.T) {
	const host = "lb.example:80"
	in := newIntake([]Source{{Name: "r"}, {Name: "s"}})
	written := upstream.Join(named(host, 1, 2), named("", 3))
	unknown := upstream.Out{Service: "ext", Upstream: "ext", Addr: host, Reason: reason.Text("look up"), Unknown: host}
	in.publish("s", upstream.Set{})
	for _, tt := range []struct {
		name string
		seen upstream.Set
		want string
	}{
		{"beside another", upstream.NewSet(slices.Collect(named("", 3).All()), unknown), "ext: 1 2 3"},
		{"alone", upstream.NewSet([]upstream.Upstream{{Name: "ext"}}, unknown), "ext: 1 2"},
		{"the whole upstream", upstream.NewSet(nil, upstream.Out{Service: "ext", Upstream: "ext", Reason: reason.Text("NXDOMAIN"), Unknown: upstream.Whole}), "ext: 1 2 3"},
		{"a whole other one", upstream.NewSet(slices.Collect(named("", 3).All()), upstream.Out{Upstream: "web", Unknown: upstream.Whole}), "ext: 3"},
		{"of another service", upstream.NewSet(slices.Collect(named("", 3).All()), upstream.Out{Upstream: "web", Unknown: host}), "ext: 3"},
		{"known again", named(host, 7), "ext: 7"},
	} {
		in.publish("r", tt.seen)
		got, emptied := in.seen(written)
		if line(got) != tt.want || emptied != nil {
			t.Errorf("%s: seen %q, emptied %v; want %q", tt.name, line(got), emptied, tt.want)
		}
	}
}
