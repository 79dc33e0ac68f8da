package guard

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"swallowkeeper/internal/allocated"
	"swallowkeeper/upstream"
)

// flapper decides again and again: an instance of one service after the other goes and comes back, as a registry lists it
// that shares what did not change.
type flapper struct {
	accepted upstream.Set
	all      []upstream.Upstream
	history  History
	now      time.Time
	n        int
}

func newFlapper(services int) *flapper {
	f := &flapper{accepted: many(services, 0), now: noon}
	for u := range f.accepted.All() {
		f.all = append(f.all, u)
	}
	return f
}

func (f *flapper) decide(tb testing.TB) {
	u := f.all[f.n/2%len(f.all)]
	if f.n%2 == 0 {
		u.Servers = u.Servers[1:]
	}
	f.n++
	f.now = f.now.Add(time.Minute)
	d := DefaultConfig().Decide(Input{Accepted: f.accepted, Seen: f.accepted.With([]upstream.Upstream{u}, nil), History: f.history, Now: f.now})
	if len(d.Holds) > 0 || upstream.Diff(f.accepted, d.Accepted).Empty() {
		tb.Fatalf("held are %+v", d.Holds)
	}
	f.accepted, f.history = d.Accepted, d.History
}

// A decision on one change allocates as much of many services as of few.
func TestADecisionCostsWhatChanged(t *testing.T) {
	cost := func(services int) allocated.Memory {
		f := newFlapper(services)
		f.decide(t)
		return allocated.By(20, func() { f.decide(t) })
	}
	allocated.Flat(t, "a decision", cost(50), cost(5000))
}

// Nor does it depend on how much the guard remembers.
func TestADecisionCostsNoMemory(t *testing.T) {
	cost := func(remembered int) allocated.Memory {
		var h History
		for n := range remembered {
			id := ServerID{fmt.Sprintf("gone-%05d", n/10), at(n>>8, n)}
			h.leaves(id, noon, departure{server: &upstream.Server{Addr: id.Addr}, times: 2})
			h.spare.put(id, noon, struct{}{})
		}
		h.settle()
		f := newFlapper(50)
		f.history = h
		return allocated.By(4, func() { f.decide(t) }) // within the window of what is remembered
	}
	allocated.Flat(t, "a decision with a long memory", cost(100), cost(10_000))
}

// Holds of single services that end at once, as the witness finds all of their servers dead, cost as much each however
// many there are.
func TestManyHoldsEndInLinearTime(t *testing.T) {
	cost := func(services int) float64 {
		c := DefaultConfig()
		c.MaxRemoval, c.MaxRemovalWindow = 1, 1
		var before, left []upstream.Upstream
		for u := range many(services, 0).All() {
			before = append(before, u)
			u.Servers = u.Servers[8:]
			left = append(left, u)
		}
		written, seen := upstream.NewSet(before), upstream.NewSet(left)
		var h History
		for _, u := range before { // each lost one lately
			id := ServerID{u.Name, netip.AddrPortFrom(u.Servers[0].Addr.Addr(), 1)}
			h.leaves(id, noon, departure{server: &upstream.Server{Addr: id.Addr}, times: 1, lost: true})
		}
		h.settle()
		in := Input{Accepted: written, Seen: seen, Now: noon, History: h, Witness: func(addr netip.AddrPort) Answer {
			for _, srv := range left[0].Servers {
				if srv.Addr == addr {
					return Answered
				}
			}
			return Refused
		}}
		return testing.AllocsPerRun(1, func() {
			if d := c.Decide(in); len(d.Released) != services || len(d.Holds) > 0 {
				t.Fatalf("%d of %d are released, and %d held", len(d.Released), services, len(d.Holds))
			}
		})
	}
	if few, many := cost(100), cost(800); many > 12*few {
		t.Errorf("800 holds that end allocate %v times, and 100 of them %v times", many, few)
	}
}

func BenchmarkFlat(b *testing.B) {
	for _, services := range []int{50, 5000} {
		b.Run(fmt.Sprintf("Decide/services=%d", services), func(b *testing.B) {
			f := newFlapper(services)
			b.ReportAllocs()
			for b.Loop() {
				f.decide(b)
			}
		})
	}
	// A registry that lost nine of ten services gets them back one by one, and all of that is held.
	b.Run("Hold/services=5000", func(b *testing.B) {
		all := many(5000, 0)
		names := all.Names()
		var h History
		n := 0
		for b.Loop() {
			n++
			d := DefaultConfig().Decide(Input{
				Accepted: all, Seen: all.Without(names[500+n%4000:]), History: h, Now: noon.Add(time.Duration(n) * time.Second),
			})
			if h = d.History; d.Accepted.Servers() != all.Servers() {
				b.Fatal("something is let go")
			}
		}
	})
	b.Run("Lines/departures=10000", func(b *testing.B) {
		var h History
		for n := range 10_000 {
			id := ServerID{fmt.Sprintf("service-%05d", n/10), at(n>>8, n)}
			h.leaves(id, noon, departure{server: &upstream.Server{Addr: id.Addr}, times: 2})
		}
		h.settle()
		b.ReportAllocs()
		for b.Loop() {
			h.Lines()
		}
	})
}
