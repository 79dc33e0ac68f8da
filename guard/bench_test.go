package guard

import (
	"fmt"
	"testing"
	"time"

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

// sharing is the same set as a registry publishes it after another one: it shares what did not change.
func sharing(before, now upstream.Set) upstream.Set {
	var put []upstream.Upstream
	for _, u := range upstream.Changed(before, now) {
		put = append(put, u)
	}
	return before.With(put, nil)
}

// A decision at 5,000 services of 10, beside what the rules before this package took for the same: where nothing
// changes, one server of one service goes, one of a hundred, one of each service, and one of a hundred after as many
// have gone within the window. docs/guard.md has the ratios.
func BenchmarkDecide(b *testing.B) {
	all := many(5000, 0)
	hundredth := sharing(all, many(5000, 500))
	gone := DefaultConfig().Decide(Input{Accepted: all, Seen: hundredth, Now: noon.Add(-time.Minute)})
	for _, tt := range []struct {
		name           string
		accepted, seen upstream.Set
		history        History
	}{
		{"nothing", all, all, History{}},
		{"a server", all, sharing(all, many(5000, 1)), History{}},
		{"1 %", all, hundredth, History{}},
		{"10 %", all, sharing(all, many(5000, 5000)), History{}},
		{"1 % after 1 %", gone.Accepted, sharing(gone.Accepted, many(5000, 1000)), gone.History},
	} {
		c := DefaultConfig()
		b.Run(tt.name+"/now", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Decide(Input{Accepted: tt.accepted, Seen: tt.seen, History: tt.history, Now: noon})
			}
		})
		b.Run(tt.name+"/before", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				before{c}.judge(tt.accepted, tt.seen)
			}
		})
	}
}
