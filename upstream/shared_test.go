package upstream

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/internal/allocated"
	"swallowkeeper/reason"
	"swallowkeeper/route"
)

// plain is a set as it was before sets shared anything: two slices, made anew each time.
type plain struct {
	list []Upstream
	out  []Out
}

func plainOf(list []Upstream, out []Out) plain {
	all := slices.Clone(list)
	for i := range all {
		all[i] = all[i].canonical()
	}
	return plain{whole(all), distinct(slices.Clone(out))}
}

func (p plain) of(s Set) bool {
	servers, usable, backups := 0, 0, 0
	for _, u := range p.list {
		if u.Usable() {
			usable++
		}
		for _, srv := range u.Servers {
			if !srv.Down {
				servers++
			}
			if srv.Backup {
				backups++
			}
		}
	}
	fresh := NewSet(p.list, p.out...)
	return slices.EqualFunc(slices.Collect(s.All()), p.list, Upstream.Identical) && slices.Equal(s.Out(), p.out) &&
		s.Len() == len(p.list) && s.Servers() == servers && s.Usable() == usable && s.Backups() == backups &&
		s.rivals == fresh.rivals && s.unknown == fresh.unknown && s.bare == fresh.bare && s.Equal(fresh) && s.Identical(fresh)
}

// diff is Diff, with a look at everything.
func (p plain) diff(q plain) (added, updated, removed int) {
	l, r := p.list, q.list
	for len(l)+len(r) > 0 {
		var order int
		switch {
		case len(l) == 0:
			order = 1
		case len(r) == 0:
			order = -1
		default:
			order = CompareNames(l[0].Name, r[0].Name)
		}
		if order < 0 {
			removed++
		}
		if order > 0 {
			added++
		}
		if order == 0 && !l[0].Same(r[0]) {
			updated++
		}
		if order <= 0 {
			l = l[1:]
		}
		if order >= 0 {
			r = r[1:]
		}
	}
	return added, updated, removed
}

// merge is Merge as it was. halves are what each registry has of each upstream.
func (p plain) merge(written Set, halves []Upstream) plain {
	var kept []Upstream
	out := slices.Clone(p.out)
	for rest := p.list; len(rest) > 0; {
		n := 1
		for n < len(rest) && SameName(rest[0].Name, rest[n].Name) {
			n++
		}
		winner := choose(written, rest[:n])
		kept = append(kept, rest[winner])
		for _, half := range halves {
			if half.Name != rest[winner].Name || half.Canary != rest[winner].Canary {
				continue
			}
			for _, r := range half.Routes {
				if !slices.ContainsFunc(rest[winner].Routes, func(o route.Route) bool { return o.Path == r.Path }) {
					out = append(out, Out{Service: half.Name, Upstream: half.Name, Route: r.Path, Reason: outvoted.With()})
				}
			}
		}
		for i, u := range rest[:n] {
			if i != winner {
				out = append(out, Out{Service: u.Name, Upstream: u.Name, Reason: collision(rest[winner])})
			}
		}
		rest = rest[n:]
	}
	return plainOf(kept, out)
}

// contribution is what one service of few gives at random: its own upstream, canaries that collide with others and are
// halves of them, names that differ in case, and what is out.
func contribution(random *rand.Rand, service int) ([]Upstream, []Out) {
	name := fmt.Sprintf("s%d", service)
	why := reason.Text("it is out")
	var list []Upstream
	var out []Out
	for range random.IntN(3) {
		u := Upstream{Name: name, Options: Options{Keepalive: random.IntN(3)}}
		switch random.IntN(8) {
		case 0:
			u.Name = strings.ToUpper(name)
		case 1:
			u.Name, u.Canary = fmt.Sprintf("s%d_x", service/2), "x" // two services have halves of it
		case 2:
			u.Name = fmt.Sprintf("s%d_x", service/2)
		}
		for range random.IntN(4) {
			u.Servers = append(u.Servers, Server{
				Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(9))}), 80),
				Weight: 1, Down: random.IntN(5) == 0, Backup: random.IntN(5) == 0, Origin: "r",
			})
		}
		if random.IntN(3) == 0 {
			u.Routes = []route.Route{{Path: fmt.Sprintf("/%d", random.IntN(3)), Origin: "r"}}
		}
		list = append(list, u)
	}
	for range random.IntN(3) {
		o := Out{Service: name, Upstream: name, Addr: fmt.Sprint(random.IntN(3)), Reason: why, Unhealthy: random.IntN(2) == 0}
		switch random.IntN(4) {
		case 0:
			o.Upstream = ""
		case 1:
			o.Unknown = "host:80"
		case 2:
			o.Upstream = fmt.Sprintf("s%d_x", service/2)
		}
		out = append(out, o)
	}
	return list, out
}

// Sets that share do what plain ones do, through any sequence of changes: a union of services, a merger of registries,
// and what compares them.
func FuzzShared(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint16(20+seed*90))
	}
	f.Fuzz(func(t *testing.T, seed uint64, services uint16) {
		random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // no secret
		const registries = 3
		n := int(services%1000) + 1
		var unions [registries]Union
		var lists [registries]map[string]plain
		for i := range lists {
			lists[i] = map[string]plain{}
		}
		var merger Merger
		var filter Filter
		mode := 0
		var written, before Set
		was := plain{}
		for round := range 10 {
			for range random.IntN(20) + (n/2)*max(0, 1-round) {
				i, service := random.IntN(registries), random.IntN(n)
				list, out := contribution(random, service)
				part := fmt.Sprintf("s%d", service)
				unions[i].Put(part, NewSet(list, out...))
				lists[i][part] = plainOf(list, out)
			}
			var parts []Set
			var all plain
			for i := range unions {
				var p plain
				for _, part := range slices.SortedFunc(keys(lists[i]), inOrder) {
					p.list, p.out = append(p.list, lists[i][part].list...), append(p.out, lists[i][part].out...)
				}
				s := unions[i].Set()
				if p = plainOf(p.list, p.out); !p.of(s) {
					t.Fatalf("round %d: the union of registry %d is another set", round, i)
				}
				parts = append(parts, s)
				all.list, all.out = append(all.list, p.list...), append(all.out, p.out...)
			}
			halves := slices.Clone(all.list)
			is := plainOf(all.list, all.out).merge(written, halves)
			now := merger.Merge(written, parts...)
			if !is.of(now) {
				t.Fatalf("round %d: what is merged is another set", round)
			}
			c := Diff(before, now)
			added, updated, removed := was.diff(is)
			if len(c.Added) != added || len(c.Updated) != updated || len(c.Removed) != removed {
				t.Fatalf("round %d: the changes are %d %d %d, want %d %d %d", round, len(c.Added), len(c.Updated), len(c.Removed), added, updated, removed)
			}
			outs(t, before.Outs(), now.Outs())
			anew := random.IntN(4) == 0
			if anew {
				mode++
			}
			filtered(t, &filter, now, written, anew, func(u, beside Upstream) (Upstream, []Out) {
				out := []Out{{Service: u.Name, Upstream: u.Name, Reason: reason.Text("left out")}}
				switch kind := (len(u.Name) + len(u.Servers) + mode) % 5; {
				case kind == 0 && beside.Name == "":
					return Upstream{}, out
				case kind == 1 && len(u.Servers) > 0:
					u.Servers = u.Servers[1:]
					return u, out
				}
				return u, nil
			})
			if random.IntN(3) == 0 { // else what is contested goes on with what was written
				written = now
			}
			before, was = now, is
		}
	})
}

// filtered holds a filter that remembers to one that looks at everything.
func filtered(t *testing.T, f *Filter, from, beside Set, anew bool, judge Judge) {
	t.Helper()
	got, notes := f.Apply(from, beside, anew, judge)
	var list []Upstream
	var out []Out
	for u := range from.All() {
		other, _ := beside.Get(u.Name)
		left, why := judge(u, other)
		if out = append(out, why...); left.Name != "" {
			list = append(list, left)
		}
	}
	if !plainOf(list, from.Out()).of(got) || !slices.Equal(slices.Collect(notes.All()), distinct(out)) {
		t.Fatal("what is filtered is another set")
	}
}

func keys(m map[string]plain) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// outs holds what changed in what is out to all that is out.
func outs(t *testing.T, before, now Outs) {
	t.Helper()
	left := map[Out]bool{}
	for o := range before.All() {
		left[o] = true
	}
	for was, is := range before.Changed(now) {
		if was != (Out{}) {
			delete(left, was)
		}
		if is != (Out{}) {
			left[is] = true
		}
	}
	if len(left) != now.Len() {
		t.Fatal("what is out has changed otherwise")
	}
	for o := range now.All() {
		if !left[o] || !slices.Contains(slices.Collect(now.Of(o.home())), o) {
			t.Fatal("what is out has changed otherwise")
		}
	}
}

// many is a set of services of ten servers.
func many(services int) Set {
	list := make([]Upstream, services)
	for i := range list {
		list[i] = ten(i, 10)
	}
	return NewSet(list)
}

func ten(service, servers int) Upstream {
	u := Upstream{Name: fmt.Sprintf("service-%05d", service)}
	for n := range servers {
		addr := netip.AddrFrom4([4]byte{10, byte(service >> 8), byte(service), byte(n)})
		u.Servers = append(u.Servers, Server{Addr: netip.AddrPortFrom(addr, 80), Weight: 1, Origin: "r"})
	}
	return u
}

// One change allocates as much in a large set as in a small one.
func TestAChangeCostsWhatChanged(t *testing.T) {
	cost := func(services int) map[string]allocated.Memory {
		a, fewer := many(services), ten(services/2, 9)
		b := a.With([]Upstream{fewer}, nil)
		other := many(3)
		var u Union
		for s := range a.All() {
			u.Put(s.Name, NewSet([]Upstream{s}))
		}
		u.Set()
		var m Merger
		m.Merge(a, a, other)
		flip := false
		pick := func() Set {
			if flip = !flip; flip {
				return b
			}
			return a
		}
		return map[string]allocated.Memory{
			"Diff":  allocated.By(20, func() { Diff(a, b) }),
			"Equal": allocated.By(20, func() { a.Equal(b) }),
			"With":  allocated.By(20, func() { a.With([]Upstream{fewer}, nil) }),
			"Merge": allocated.By(20, func() { m.Merge(a, pick(), other) }),
			"Union": allocated.By(20, func() {
				one, _ := pick().Get(fewer.Name)
				u.Put(one.Name, NewSet([]Upstream{one}))
				u.Set()
			}),
		}
	}
	few, all := cost(50), cost(5000)
	for what, n := range few {
		allocated.Flat(t, what, n, all[what])
	}
}

func BenchmarkFlat(b *testing.B) {
	for _, services := range []int{50, 5000} {
		a, fewer := many(services), ten(services/2, 9)
		other := many(3)
		next := a.With([]Upstream{fewer}, nil)
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("%s/services=%d", name, services), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		var m Merger
		m.Merge(a, a, other)
		flip := false
		run("Diff", func() { Diff(a, next) })
		run("With", func() { a.With([]Upstream{fewer}, nil) })
		run("Merge", func() {
			if flip = !flip; flip {
				m.Merge(a, next, other)
			} else {
				m.Merge(a, a, other)
			}
		})
	}
}
