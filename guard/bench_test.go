package guard

import (
	"fmt"
	"testing"

	"swallowkeeper/upstream"
)

// many is a set of services of ten, of which the first so many have lost one.
func many(services, lost int) upstream.Set {
	var list []upstream.Upstream
	for s := range services {
		u := upstream.Upstream{Name: fmt.Sprintf("service-%05d", s)}
		for n := range 10 {
			if s >= lost || n > 0 {
				srv := server(at(s>>8, n))
				a := srv.Addr.Addr().As4()
				a[2] = byte(s)
				srv.Addr = at(s>>8, s<<8|n)
				u.Servers = append(u.Servers, srv)
			}
		}
		list = append(list, u)
	}
	return upstream.NewSet(list)
}

// A decision at 5,000 services of 10: where nothing changes, one server goes, or a whole node.
func BenchmarkDecide(b *testing.B) {
	last := many(5000, 0)
	for _, lost := range []int{0, 1, 2000} {
		b.Run(fmt.Sprintf("lost=%d", lost), func(b *testing.B) {
			in := Input{Accepted: last, Seen: many(5000, lost), Now: noon}
			c := DefaultConfig()
			b.ReportAllocs()
			for b.Loop() {
				c.Decide(in)
			}
		})
	}
}
