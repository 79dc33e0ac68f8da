package guard

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"swallowkeeper/upstream"
)

// What is held is let through by exactly its own approval, and nothing else is held of it then.
func TestApproved(t *testing.T) {
	for _, tt := range []struct{ name, last, seen, accepted, other string }{
		{"too many", "a: 1 2 3 4, b: 5", "b: 5", "b: 5", "a: 1, b: 5"},
		{"too few", "a: 1 2 3 4, b: 5", "", "", "a: none"},
		{"of one service", "a: 1 2 3 4 5, b: 6 7 8 9 10 11", "a: 1, b: 6 7 8 9 10 11", "a: 1, b: 6 7 8 9 10 11", "a: 2, b: 6 7 8 9 10 11"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := begin(t, tt.last)
			held := c.sees(time.Second, tt.seen).Holds
			if len(held) != 1 {
				t.Fatalf("held is %+v", held)
			}
			approve := func(in *Input) { in.Approved = held[0].ID }
			if d := c.sees(time.Second, tt.other, approve); len(d.Holds) == 0 || d.Released != nil {
				t.Errorf("the approval of one change let another through: %q", line(d.Accepted))
			}
			d := c.sees(time.Second, tt.seen, approve)
			c.wants(d, tt.accepted, "")
			if len(d.Released) != 1 || d.Released[0].By != ByApproval || d.Released[0].Hold.ID != held[0].ID {
				t.Errorf("released is %+v", d.Released)
			}
		})
	}
}

// What a person let go is no loss that others are counted to.
func TestApprovedIsNoLoss(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5 6 7 8")
	held := c.sees(time.Second, "a: 4 5 6").Holds
	c.wants(c.sees(time.Second, "a: 4 5 6", func(in *Input) { in.Approved = held[0].ID }), "a: 4 5 6", "")
	c.wants(c.sees(time.Second, "a: 4 5 6 7 8"), "a: 4 5 6 7 8", "")
	c.wants(c.sees(time.Second, "a: 6 7 8"), "a: 6 7 8", "")
}

func TestHoldFor(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: 5")
	c.limits.HoldFor = 10 * time.Minute
	d := c.sees(time.Second, "b: 5")
	c.wants(d, "a: 1 2 3 4, b: 5", "max_removal: a 1, a 2, a 3, a 4")
	since := c.now
	d = c.sees(9*time.Minute, "b: 5 6") // the held change is the same
	if len(d.Holds) != 1 || !d.Holds[0].Since.Equal(since) || d.Again != time.Minute {
		t.Errorf("held %+v, again after %s", d.Holds, d.Again)
	}
	d = c.sees(d.Again, "b: 5 6")
	c.wants(d, "b: 5 6", "")
	if len(d.Released) != 1 || d.Released[0].By != ByTime {
		t.Errorf("released is %+v", d.Released)
	}
}

// What is kept out leaves no upstream without a server.
func TestKeptOutLeavesNoUpstreamEmpty(t *testing.T) {
	c := begin(t, "a: 1, b: 2 3, c: 4, d: 5")
	c.limits.MaxServers = 5
	d := c.sees(time.Second, "a: 6, b: 2 3 7 8, c: 4, d: 5")
	c.wants(d, "a: 1, b: 2 3, c: 4, d: 5", "max_servers: a +6, b +7, b +8")
	c.wants(c.sees(time.Second, "a: 6, b: 2 3, c: 4, d: 5"), "a: 6, b: 2 3, c: 4, d: 5", "")

	c = begin(t, "b: 1 2 3 4, c: 5")
	c.wants(c.sees(time.Second, "b: 1, c: 4"), "b: 1 2 3 4, c: 5", "max_removal: b 2, b 3, b 4, c 5")
	c = begin(t, "b: 1 2 3 4 6 7, c: 5 down")
	for range 2 {
		c.wants(c.sees(time.Second, "b: 1, c: 4"), "b: 1 2 3 4 6 7, c: 5 down", "max_removal: b 2, b 3, b 4, b 6, b 7")
	}
}

// One of several registries that lists nothing usable is held by itself.
func TestEmptyRegistry(t *testing.T) {
	mine := upstream.Server{Addr: addr("7"), Weight: 1, Origin: "s"}
	accepted := upstream.Join(set("a: 1 2 3"), upstream.NewSet([]upstream.Upstream{{Name: "b", Servers: []upstream.Server{mine}}}))
	in := Input{Accepted: accepted, Seen: set("a: 1 2 3 9"), Empty: []string{"s"}, Now: noon}
	d := DefaultConfig().Decide(in)
	if got := line(d.Accepted); got != "a: 1 2 3 9, b: 7" || heldLine(d.Holds) != "min_services: b 7" {
		t.Errorf("accepted %q, held %q", got, heldLine(d.Holds))
	}
	if want := "s no longer lists any service with a usable server: the 1 servers from there are held"; d.Holds[0].Reason.String() != want {
		t.Errorf("reason %q", d.Holds[0].Reason)
	}
	in.Approved = d.Holds[0].ID
	if d := DefaultConfig().Decide(in); line(d.Accepted) != "a: 1 2 3 9" || len(d.Holds) > 0 {
		t.Errorf("approved: accepted %q, held %q", line(d.Accepted), heldLine(d.Holds))
	}
	in.Approved = ""
	off := DefaultConfig()
	off.MinServices = 0
	if d := off.Decide(in); line(d.Accepted) != "a: 1 2 3 9" {
		t.Errorf("without min_services: accepted %q", line(d.Accepted))
	}
}

// What a hold on everything keeps out is out with that reason, as what a freeze keeps out is.
func TestKeptOut(t *testing.T) {
	c := DefaultConfig()
	c.MinServices = 3
	out := func(last, seen string) string {
		t.Helper()
		var all []string
		for _, o := range leftOut(c.Decide(Input{Accepted: set(last), Seen: set(seen), Now: noon}).Out) {
			all = append(all, o.Upstream+" "+o.Addr+" "+o.Reason.String())
		}
		return strings.Join(all, ", ")
	}
	const why = " it is usable, and a hold on everything keeps it out"
	if got, want := out("a: 1, b: 2", "a: 1 9, c: 3"), "a 10.0.0.9:80"+why+", c 10.0.0.3:80"+why; got != want {
		t.Errorf("out is %q, want %q", got, want)
	}
	// One address, and two instances there: the reason of the one that is no good counts.
	if got, want := out("a: 1, b: 2", "a: 1 9 !9"), "a 10.0.0.9:80 critical"; got != want {
		t.Errorf("out is %q, want %q", got, want)
	}
	if got := out("a: 1, b: 2", "a: 1 9, b: 2, c: 3"); got != "" {
		t.Errorf("nothing is held, and out is %q", got)
	}
	if got := out("a: 1 2 3 4, b: 5, c: 6", "a: 9, b: 5, c: 6"); got != "" {
		t.Errorf("only removals are held, and out is %q", got)
	}
	if got, want := out("a: 1 2, b: 3, c: 4", "a: !1 !2, b: 3, c: 4"), "a 10.0.0.1:80 critical: it is kept in traffic, "+
		"a 10.0.0.2:80 critical: it is kept in traffic"; got != want {
		t.Errorf("out is %q", got)
	}
	if got, want := out("a: 1 2 3, b: 4, c: 5", "a: 1 2 !3, b: 4, c: 5"), "a 10.0.0.3:80 critical"; got != want {
		t.Errorf("it goes, and out is %q, want %q", got, want)
	}
}

func TestGrowth(t *testing.T) {
	grown := func(services, each int) upstream.Set {
		f := newFleet(services, each)
		return f.seen()
	}
	for _, tt := range []struct {
		name     string
		last     upstream.Set
		seen     upstream.Set
		limits   func(*Config)
		rule     string
		accepted int
	}{
		{"three times as many", grown(10, 2), grown(10, 6), nil, "", 60},
		{"one more", grown(10, 2), upstream.Join(grown(10, 6), set("z: 1")), nil, RuleMaxGrowth, 20},
		{"of fewer than 20", grown(19, 1), grown(19, 50), nil, "", 950},
		{"the first generation", upstream.Set{}, grown(100, 50), nil, "", 5000},
		{"too many upstreams: servers come to those that are there", grown(10, 2), grown(12, 3), func(c *Config) { c.MaxUpstreams = 11 }, RuleMaxUpstreams, 30},
		{"too many servers", grown(10, 2), grown(10, 3), func(c *Config) { c.MaxServers = 29 }, RuleMaxServers, 20},
		{"too many servers in the first generation", upstream.Set{}, grown(10, 3), func(c *Config) { c.MaxServers = 29 }, RuleMaxServers, 0},
		{"as many as may be", grown(10, 2), grown(10, 3), func(c *Config) { c.MaxServers, c.MaxUpstreams = 30, 10 }, "", 30},
		{"no end", grown(10, 2), grown(10, 3), func(c *Config) { c.MaxServers, c.MaxUpstreams = 0, 0 }, "", 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			if tt.limits != nil {
				tt.limits(&c)
			}
			in := Input{Accepted: tt.last, Seen: tt.seen, Now: noon}
			d := c.Decide(in)
			rule := ""
			if len(d.Holds) > 0 {
				rule = d.Holds[0].Rule
			}
			if rule != tt.rule || len(d.Holds) > 1 || d.Accepted.Servers() != tt.accepted {
				t.Errorf("accepted %d servers, held %+v", d.Accepted.Servers(), d.Holds)
			}
			if rule == "" {
				return
			}
			if want := "it is usable, and " + rule + " keeps it out"; d.Out.Len() != len(d.Holds[0].KeptOut) || leftOut(d.Out)[0].Reason.String() != want {
				t.Errorf("out is %v", d.Out)
			}
			in.Approved = d.Holds[0].ID
			if d := c.Decide(in); d.Accepted.Servers() != tt.seen.Servers() || len(d.Holds) > 0 {
				t.Errorf("approved: accepted %d servers, held %+v", d.Accepted.Servers(), d.Holds)
			}
		})
	}
}

// Twice as many in each of several steps are more than three times as many in a window; what comes back is not new.
func TestGrowthOfAWindow(t *testing.T) {
	s := &story{fleet: newFleet(10, 32)}
	fill := func(from, to int, is condition) func(fleet) {
		return func(f fleet) {
			for service := range f {
				for n := from; n < to; n++ {
					f[service][n] = is
				}
			}
		}
	}
	fill(2, 32, deregistered)(s.fleet)
	for i, n := range []int{4, 8, 16, 32} {
		s.when(time.Duration(i)*time.Second, fill(0, n, up))
	}
	s.replay(t, DefaultConfig(), func(now time.Duration, d Decision) {
		if n := d.Accepted.Servers(); n > 60 {
			t.Errorf("after %s there are %d servers", now, n)
		}
	})
	back := &story{fleet: newFleet(10, 10)}
	for i := range 5 {
		back.when(time.Duration(i)*time.Second, fill(i, i+1, deregistered))
	}
	back.when(20*time.Second, fill(0, 5, up))
	limits := DefaultConfig()
	limits.MaxGrowth = 1
	if _, last := back.replay(t, limits, nil); last.Accepted.Servers() != 100 || len(last.Holds) > 0 {
		t.Errorf("in the end there are %d servers, held: %s", last.Accepted.Servers(), Reasons(last.Holds))
	}
}

// What goes missing from a registry that is in doubt is held for the recovery, and of no other one.
func TestDoubt(t *testing.T) {
	away := func(in *Input) {
		in.Away = map[string]time.Time{"r": noon.Add(-2 * time.Minute), "s": noon.Add(time.Hour)}
	}
	c := begin(t, "a: 1 2 3, b: 4 5 6")
	c.wants(c.sees(time.Second, "a: 1 2 3, b: 4 5 6", away), "a: 1 2 3, b: 4 5 6", "")
	c.wants(c.sees(58*time.Second, "a: 1 2, b: 4 5 6"), "a: 1 2 3, b: 4 5 6", "recovery: a 3")
	c.wants(c.sees(2*time.Second, "a: 1 2, b: 4 5"), "a: 1 2 3, b: 4 5", "recovery: a 3") // the doubt is over
	c.wants(c.sees(3*time.Minute-3*time.Second, "a: 1 2, b: 4 5"), "a: 1 2 3, b: 4 5", "recovery: a 3")
	c.wants(c.sees(time.Second, "a: 1 2, b: 4 5"), "a: 1 2, b: 4 5", "")
}

// An index that goes backwards says that the registry lost its state, also where that was before a restart.
func TestIndexGoesBackwards(t *testing.T) {
	index := func(n uint64) func(*Input) {
		return func(in *Input) { in.Indexes = map[string]uint64{"r": n} }
	}
	c := begin(t, "a: 1 2 3, b: 4 5 6")
	c.wants(c.sees(time.Second, "a: 1 2, b: 4 5 6", index(400)), "a: 1 2, b: 4 5 6", "")
	c.wants(c.sees(time.Second, "a: 1 2, b: 4 5", index(401)), "a: 1 2, b: 4 5", "")
	h, err := ReadHistory(c.history.Lines(), c.now, c.limits.Window)
	if err != nil {
		t.Fatal(err)
	}
	c.history = h
	c.wants(c.sees(time.Hour, "a: 1, b: 4", index(57)), "a: 1 2, b: 4 5", "recovery: a 2, b 5")
	c.wants(c.sees(time.Minute, "a: 1 2, b: 4", index(58)), "a: 1 2, b: 4 5", "recovery: b 5")
	c.wants(c.sees(3*time.Minute, "a: 1 2, b: 4", index(59)), "a: 1 2, b: 4", "")
}

// An account that can't be read lets no removal through for a window.
func TestDamagedAccount(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: 5 6 7 8")
	c.sees(time.Second, "a: 2 3 4, b: 5 6 7 8")
	whole := c.history.Lines()
	if len(whole) < 2 {
		t.Fatalf("the account is %q", whole)
	}
	damage := map[string][]string{
		"a line is lost":      whole[:len(whole)-1],
		"the digest is lost":  whole[1:],
		"a word is changed":   append(append([]string{}, whole[:len(whole)-1]...), whole[len(whole)-1]+"x"),
		"nobody's line":       {lineSum + " " + sum([]string{"hello"}), "hello"},
		"a line too short":    {lineSum + " " + sum([]string{"hold"}), "hold"},
		"no time":             {lineSum + " " + sum([]string{"back noon"}), "back noon"},
		"no number":           {lineSum + " " + sum([]string{"size -1 2026-01-02T12:00:00Z"}), "size -1 2026-01-02T12:00:00Z"},
		"no address":          {lineSum + " " + sum([]string{"returned a b"}), "returned a b"},
		"a line too long":     {lineSum + " " + sum([]string{"back 2026-01-02T12:00:00Z x"}), "back 2026-01-02T12:00:00Z x"},
		"a name of two lines": {"sum\nx"},
	}
	for name, lines := range damage {
		t.Run(name, func(t *testing.T) {
			h, err := ReadHistory(lines, c.now, c.limits.Window)
			if err == nil {
				t.Fatal("it was read")
			}
			d := *c
			d.t, d.history = t, h
			d.wants(d.sees(time.Second, "a: 3 4, b: 5 6 7 8"), "a: 2 3 4, b: 5 6 7 8", "max_removal_window: a 2")
			again, err := ReadHistory(d.history.Lines(), d.now, d.limits.Window)
			if err != nil {
				t.Fatal(err)
			}
			d.history = again // a restart does not end it
			d.wants(d.sees(9*time.Minute, "a: 3 4, b: 5 6 7 8 9"), "a: 2 3 4, b: 5 6 7 8 9", "max_removal_window: a 2")
			d.wants(d.sees(time.Minute, "a: 3 4, b: 5 6 7 8 9"), "a: 3 4, b: 5 6 7 8 9", "")
		})
	}
	if h, err := ReadHistory(nil, c.now, c.limits.Window); err != nil || !reflect.DeepEqual(h, History{}) {
		t.Errorf("no account: %+v, %v", h, err)
	}
}

// A hold of before this package keeps its share.
func TestHeldBefore(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: 5 6 7 8 9")
	c.history = Held(5)
	c.wants(c.sees(time.Second, "a: 4, b: 5 6 7 8 9"), "a: 1 2 3 4, b: 5 6 7 8 9", "max_removal: a 1, a 2, a 3")
}

// One server that comes and goes does not make the others wait, and what is no loss is not held because there was one.
func TestNothingIsHeldForLong(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5 6 7 8 9 10")
	c.limits.Damping = false
	c.sees(time.Second, "a: 9 10")
	c.wants(c.sees(time.Second, "a: 1 4 5 6 7 8 9 10"), "a: 1 2 3 4 5 6 7 8 9 10", "recovery: a 2, a 3")
	for i := range 10 {
		if seen := "a: 4 5 6 7 8 9 10"; i%2 == 0 {
			c.sees(30*time.Second, seen)
		} else {
			c.sees(30*time.Second, "a: 1 4 5 6 7 8 9 10")
		}
	}
	c.wants(c.sees(time.Second, "a: 1 4 5 6 7 8 9 10"), "a: 1 4 5 6 7 8 9 10", "")

	c = begin(t, "a: 1 2 3 4 5 6 7 8 9 10")
	c.wants(c.sees(time.Second, "a: 6 7 8 9 10"), "a: 6 7 8 9 10", "")
	c.limits.MaxRemovalWindow = 0.2 // as after a reload
	c.wants(c.sees(time.Second, "a: 7 8 9 10 11"), "a: 7 8 9 10 11", "")
	c.wants(c.sees(time.Second, "a: 8 9 10 11"), "a: 7 8 9 10 11", "max_removal_window: a 7")
}
