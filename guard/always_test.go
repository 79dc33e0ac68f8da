package guard

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"swallowkeeper/upstream"
)

// traffic is the servers that get traffic.
func traffic(s upstream.Set) map[ServerID]bool {
	in := map[ServerID]bool{}
	for u := range s.All() {
		for _, srv := range u.Servers {
			if !srv.Down {
				in[ServerID{u.Name, srv.Addr}] = true
			}
		}
	}
	return in
}

// unhealthy is what is registered and not usable.
func unhealthy(s upstream.Set) map[ServerID]bool {
	is := map[ServerID]bool{}
	for _, o := range s.Out() {
		is[ServerID{o.Upstream, netip.MustParseAddrPort(o.Addr)}] = true
	}
	return is
}

// drawSeen draws what a registry may list: any services, servers and states.
func drawSeen(t *rapid.T) upstream.Set {
	var parts []string
	for _, name := range []string{"a", "b", "c"} {
		if !rapid.Bool().Draw(t, "has "+name) {
			continue
		}
		words := []string{name + ": none"}
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 9), 0, 7, rapid.ID).Draw(t, name) {
			words = append(words, rapid.SampledFrom([]string{"", "", "", "!"}).Draw(t, "is")+fmt.Sprint(n))
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return set(strings.Join(parts, ", "))
}

func drawLimits(t *rapid.T) Config {
	shares := rapid.SampledFrom([]float64{0, 0.25, 0.5, 0.75, 1})
	c := DefaultConfig()
	c.MinServices = rapid.IntRange(0, 2).Draw(t, "min_services")
	c.MaxRemoval, c.MaxRemovalWindow = shares.Draw(t, "max_removal"), shares.Draw(t, "max_removal_window")
	c.MaxServiceRemoval = shares.Draw(t, "max_service_removal")
	c.MaxGrowth = rapid.SampledFrom([]float64{1, 3}).Draw(t, "max_growth")
	c.MaxUpstreams, c.MaxServers = rapid.IntRange(0, 3).Draw(t, "max_upstreams"), rapid.IntRange(0, 12).Draw(t, "max_servers")
	c.OnUnhealthy = rapid.SampledFrom([]string{Keep, Remove}).Draw(t, "on_unhealthy")
	c.OnRemoved = rapid.SampledFrom([]string{Delete, Down}).Draw(t, "on_removed")
	c.Damping = rapid.Bool().Draw(t, "damping")
	c.HoldFor = rapid.SampledFrom([]time.Duration{0, 0, 5 * time.Minute}).Draw(t, "hold_for")
	return c
}

var steps = []time.Duration{0, time.Millisecond, time.Second, 40 * time.Second, 4 * time.Minute, 11 * time.Minute}

// always draws limits and what a registry lists, one thing after the other, and holds each decision to what must be
// true of every one.
func always(t *rapid.T) {
	c := drawLimits(t)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	in := Input{Now: noon}
	for range rapid.IntRange(1, 12).Draw(t, "decisions") {
		in.Now = in.Now.Add(rapid.SampledFrom(steps).Draw(t, "after"))
		in.Seen = drawSeen(t)
		in.Indexes = map[string]uint64{"r": rapid.Uint64Range(1, 5).Draw(t, "index")}
		in.Away, in.Witness, in.Approved = nil, nil, ""
		if rapid.IntRange(0, 4).Draw(t, "away") == 0 {
			in.Away = map[string]time.Time{"r": in.Now}
		}
		if rapid.Bool().Draw(t, "witness") {
			answers := rapid.SliceOfN(rapid.SampledFrom([]Answer{Untried, Answered, Refused, Unproven}), 10, 10).Draw(t, "answers")
			in.Witness = func(a netip.AddrPort) Answer { return answers[a.Addr().As4()[3]] }
		}
		d := c.Decide(in)
		holdsAlways(t, c, in, d)
		if len(d.Holds) > 0 && rapid.IntRange(0, 5).Draw(t, "approve") == 0 {
			in.Approved = rapid.SampledFrom(d.Holds).Draw(t, "hold").ID
			approved := c.Decide(in)
			if id := in.Approved; !approved.Approved() || slices.ContainsFunc(approved.Holds, func(h Hold) bool { return h.ID == id }) {
				t.Fatalf("the approval of %s let nothing through: %+v", id, approved.Holds)
			}
			holdsAlways(t, c, in, approved)
			d = approved
		}
		in.Accepted, in.History = d.Accepted, d.History
	}
}

// same reports in what two decisions differ.
func same(a, b Decision) string {
	switch {
	case !a.Accepted.Equal(b.Accepted):
		return fmt.Sprintf("accepted %q, and %q", line(a.Accepted), line(b.Accepted))
	case brief(a.Holds) != brief(b.Holds):
		return fmt.Sprintf("held %q, and %q", brief(a.Holds), brief(b.Holds))
	case a.Again != b.Again:
		return fmt.Sprintf("again after %s, and %s", a.Again, b.Again)
	case !slices.Equal(a.History.Lines(), b.History.Lines()):
		return fmt.Sprintf("remembered\n%s\nand\n%s", strings.Join(a.History.Lines(), "\n"), strings.Join(b.History.Lines(), "\n"))
	}
	return ""
}

func holdsAlways(t *rapid.T, c Config, in Input, d Decision) {
	about := fmt.Sprintf("written %q, seen %q with %d out; accepted %q, held %q", line(in.Accepted), line(in.Seen), len(in.Seen.Out()), line(d.Accepted), brief(d.Holds))
	before, listed, after, sick := traffic(in.Accepted), traffic(in.Seen), traffic(d.Accepted), unhealthy(in.Seen)

	for u := range d.Accepted.All() {
		if len(u.Servers) == 0 {
			t.Fatalf("%s is left without a server: %s", u.Name, about)
		}
	}
	for id := range after {
		if !before[id] && !listed[id] && !sick[id] {
			t.Fatalf("%v comes from nowhere: %s", id, about)
		}
	}
	out := map[ServerID]bool{}
	for _, o := range leftOut(d.Out) {
		out[ServerID{o.Upstream, netip.MustParseAddrPort(o.Addr)}] = !o.Reason.IsZero()
	}
	for id := range listed {
		if before[id] && !after[id] {
			t.Fatalf("%v is usable and goes: %s", id, about)
		}
		if !after[id] && !out[id] {
			t.Fatalf("%v is usable and out without a reason: %s", id, about)
		}
	}
	held := map[ServerID]bool{}
	for _, h := range d.Holds {
		if h.ID == in.Approved || h.Since.After(in.Now) || h.Reason.IsZero() {
			t.Fatalf("hold %+v: %s", h, about)
		}
		if len(h.Removed) > h.Of {
			t.Fatalf("%d of %d servers: %s", len(h.Removed), h.Of, about)
		}
		for _, id := range h.Removed {
			if !before[id] || !after[id] || held[id] {
				t.Fatalf("%v is held, and goes, or was not there, or is held twice: %s", id, about)
			}
			held[id] = true
		}
		for _, id := range h.KeptOut {
			if before[id] || after[id] {
				t.Fatalf("%v is kept out, and in: %s", id, about)
			}
		}
	}
	if in.Seen.Usable() < c.MinServices && len(d.Released) == 0 && !d.Accepted.Equal(in.Accepted) {
		t.Fatalf("too few services, yet something changes: %s", about)
	}
	if in.Witness == nil && len(d.Ask) > 0 {
		t.Fatalf("nobody can be asked for %v", d.Ask)
	}
	if !slices.IsSortedFunc(d.Ask, netip.AddrPort.Compare) || len(slices.Compact(slices.Clone(d.Ask))) != len(d.Ask) {
		t.Fatalf("asked for %v", d.Ask)
	}
	if servers := len(after); c.MaxServers > 0 && servers > c.MaxServers && servers > len(before) && len(d.Released) == 0 {
		// More than there may be are only what was there, what comes back, and what is kept.
		for id := range after {
			if _, back := in.History.left.get(id); !before[id] && !back && !sick[id] {
				t.Fatalf("%d servers, max_servers is %d: %s", servers, c.MaxServers, about)
			}
		}
	}
	// The same input gets the same decision, also over a restart.
	if said := same(d, c.Decide(in)); said != "" {
		t.Fatalf("decided twice: %s: %s", said, about)
	}
	read, err := ReadHistory(in.History.Lines(), in.Now, c.Window)
	if err != nil {
		t.Fatal(err)
	}
	restarted := in
	restarted.History = read
	// The account has not who left once and was replaced: damping counts it less.
	if r := c.Decide(restarted); !c.Damping && (!r.Accepted.Equal(d.Accepted) || brief(r.Holds) != brief(d.Holds)) {
		t.Fatalf("decided after a restart: accepted %q, held %q: %s", line(r.Accepted), brief(r.Holds), about)
	}
	// Seen again and again, it comes to rest: what was added lets go what it replaces, and then nothing changes by itself.
	next := in
	next.Approved = ""
	for range 3 {
		next.Accepted, next.History = d.Accepted, d.History
		d = c.Decide(next)
	}
	if last := c.Decide(Input{
		Accepted: d.Accepted, Seen: in.Seen, Away: in.Away, Indexes: in.Indexes, Witness: in.Witness, History: d.History, Now: in.Now,
	}); !last.Accepted.Equal(d.Accepted) || brief(last.Holds) != brief(d.Holds) {
		t.Fatalf("it comes to no rest: accepted %q and then %q, held %q and then %q: %s",
			line(d.Accepted), line(last.Accepted), brief(d.Holds), brief(last.Holds), about)
	}
}

// TestDecideAlways holds every decision of random stories to what must be true of each.
func TestDecideAlways(t *testing.T) { rapid.Check(t, always) }

// FuzzDecide is TestDecideAlways with stories that cover more and more of the code.
func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(always)) }

// TestErosionAlways takes servers of a fleet away and gives them back at random, within one window: whatever the
// limits, never more of them are out than the window's share allows, of all and of each service that is registered.
func TestErosionAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawLimits(t)
		c.MinServices, c.MaxUpstreams, c.MaxServers, c.HoldFor, c.OnUnhealthy = 0, 0, 0, 0, Keep
		if c.OnRemoved = Delete; rapid.Bool().Draw(t, "remove") {
			c.OnUnhealthy = Remove
		}
		sizes := map[string]int{}
		for _, name := range []string{"a", "b", "c"} {
			sizes[name] = rapid.IntRange(1, 9).Draw(t, name)
		}
		fleet := func(has func(name string, n int) string) upstream.Set {
			var parts []string
			for i, name := range slices.Sorted(maps.Keys(sizes)) {
				words := []string{name + ":"}
				for n := range sizes[name] {
					if is := has(name, n); is != "-" {
						words = append(words, is+fmt.Sprint(20*i+n+1))
					}
				}
				if len(words) > 1 {
					parts = append(parts, strings.Join(words, " "))
				}
			}
			return set(strings.Join(parts, ", "))
		}
		in := Input{Now: noon, Accepted: fleet(func(string, int) string { return "" })}
		all := in.Accepted.Servers()
		registered := maps.Clone(sizes)
		for range rapid.IntRange(1, 20).Draw(t, "decisions") {
			in.Now = in.Now.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 25 * time.Second}).Draw(t, "after"))
			in.Seen = fleet(func(string, int) string { return rapid.SampledFrom([]string{"", "-", "!"}).Draw(t, "is") })
			d := c.Decide(in)
			if least := atLeast(all, c.MaxRemovalWindow); d.Accepted.Servers() < least {
				t.Fatalf("%d of %d servers are left, %g may go: %q", d.Accepted.Servers(), all, c.MaxRemovalWindow, line(d.Accepted))
			}
			for name, size := range registered {
				if u, is := in.Seen.Get(name); !is || c.OnUnhealthy == Remove && !u.Usable() {
					delete(registered, name) // it goes whole
					continue
				}
				u, _ := d.Accepted.Get(name)
				if least := atLeast(size, c.MaxServiceRemoval); serving(u) < least {
					t.Fatalf("%d of %d servers of %s are left, %g may go: %q", serving(u), size, name, c.MaxServiceRemoval, line(d.Accepted))
				}
			}
			in.Accepted, in.History = d.Accepted, d.History
		}
	})
}

// atLeast is how many must be left where such a share may go, if the share counts.
func atLeast(of int, share float64) int {
	if of < smallest {
		return 0
	}
	return of - int(math.Floor(share*float64(of)))
}

// leftOut is what is out, as a slice.
func leftOut(out upstream.Outs) []upstream.Out { return slices.Collect(out.All()) }
