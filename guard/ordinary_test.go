package guard

import (
	"fmt"
	"testing"
	"time"
)

// What is work passes without a person: nothing is held for longer than the recovery, and in the end what is in
// traffic is what the registry lists.
func TestOrdinary(t *testing.T) {
	twenty := func() *story { return &story{fleet: newFleet(20, 10)} }
	all := func(f fleet, service int, nodes []int, to condition) {
		for _, n := range nodes {
			f[service][n] = to
		}
	}
	nodes := func(from, to int) []int {
		var list []int
		for n := from; n < to; n++ {
			list = append(list, n)
		}
		return list
	}
	// deploy replaces the ten instances of every service by ten others, so many at a time.
	deploy := func(width int, gone condition, startsFirst bool) *story {
		s := &story{fleet: newFleet(20, 20)}
		for service := range 20 {
			all(s.fleet, service, nodes(10, 20), deregistered)
		}
		at := time.Duration(0)
		for service := range 20 {
			for from := 0; from < 10; from += width {
				to := min(from+width, 10)
				old, next := nodes(from, to), nodes(10+from, 10+to)
				begin := func(f fleet) { all(f, service, next, up) }
				end := func(f fleet) { all(f, service, old, gone) }
				if !startsFirst {
					begin, end = end, begin
				}
				s.when(at, begin)
				s.when(at+5*time.Second, end)
				s.when(at+8*time.Second, func(f fleet) { all(f, service, old, deregistered) })
				at += 10 * time.Second
			}
		}
		return s
	}
	lose := func(s *story, at time.Duration, from, to int, is condition) {
		s.when(at, func(f fleet) {
			for service := range f {
				all(f, service, nodes(from, to), is)
			}
		})
	}
	stories := map[string]func() *story{
		"a node is lost": func() *story { s := twenty(); lose(s, 0, 3, 4, critical); return s },
		"a node is lost and comes back": func() *story {
			s := twenty()
			lose(s, 0, 3, 4, critical)
			lose(s, time.Minute, 3, 4, up)
			return s
		},
		"a zone is lost": func() *story { s := twenty(); lose(s, 0, 0, 3, critical); return s },
		"a zone is lost, then its agents are reaped": func() *story {
			s := twenty()
			lose(s, 0, 0, 3, critical)
			lose(s, 8*time.Minute, 0, 3, deregistered)
			return s
		},
		"an autoscaler goes up, and down again": func() *story {
			s := &story{fleet: newFleet(20, 20)}
			for service := range 20 {
				all(s.fleet, service, nodes(10, 20), deregistered)
				for n := 10; n < 20; n++ {
					s.when(time.Duration(n-10)*20*time.Second, func(f fleet) { f[service][n] = up })
					s.when(time.Hour+time.Duration(n-10)*20*time.Second, func(f fleet) { f[service][n] = deregistered })
				}
			}
			return s
		},
		"a service is scaled to zero": func() *story {
			s := twenty()
			for n := range 10 {
				s.when(time.Duration(n)*time.Minute, func(f fleet) { f[4][n] = deregistered })
			}
			return s
		},
		"a service is renamed": func() *story {
			s := &story{fleet: newFleet(21, 10)}
			all(s.fleet, 20, nodes(0, 10), deregistered)
			s.when(0, func(f fleet) { all(f, 20, nodes(0, 10), up); all(f, 4, nodes(0, 10), deregistered) })
			return s
		},
		"a job runs each five minutes": func() *story {
			s := &story{fleet: newFleet(21, 10)}
			all(s.fleet, 20, nodes(0, 10), deregistered)
			for i := range 12 {
				s.when(time.Duration(i)*5*time.Minute, func(f fleet) { all(f, 20, nodes(0, 10), up) })
				s.when(time.Duration(i)*5*time.Minute+time.Minute, func(f fleet) { all(f, 20, nodes(0, 10), deregistered) })
			}
			return s
		},
		"one instance crashes again and again": func() *story {
			s := twenty()
			for i := range 100 {
				s.when(time.Duration(i)*20*time.Second, func(f fleet) { f[4][4] = condition(i % 2) })
			}
			return s
		},
	}
	for _, width := range []int{1, 2, 3, 5, 8, 10} {
		for name, gone := range map[string]condition{"deregistered": deregistered, "critical": critical} {
			stories[fmt.Sprintf("a deploy of %d at a time, the old ones %s first", width, name)] = func() *story { return deploy(width, gone, false) }
			stories[fmt.Sprintf("a deploy of %d at a time, the old ones %s after", width, name)] = func() *story { return deploy(width, gone, true) }
		}
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			c := DefaultConfig()
			s := story()
			since := map[string]time.Duration{}
			_, last := s.replay(t, c, func(now time.Duration, d Decision) {
				held := map[string]time.Duration{}
				for _, h := range d.Holds {
					scope := h.Rule + h.Upstream
					held[scope] = now
					if began, was := since[scope]; was {
						held[scope] = began
					}
					if now-held[scope] > c.Recovery {
						t.Fatalf("held since %s, at %s: %s", held[scope], now, h.Reason)
					}
				}
				since = held
			})
			if want := s.fleet.seen(); !last.Accepted.Equal(want) || len(last.Holds) > 0 {
				t.Errorf("in the end %d servers are in traffic, of %d; held: %s", last.Accepted.Servers(), want.Servers(), Reasons(last.Holds))
			}
		})
	}
}
