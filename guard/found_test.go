package guard

import (
	"fmt"
	"testing"
	"time"

	"swallowkeeper/upstream"
)

// What the simulation found: each was a way around a rule that no other test took.

// A server that a person let go takes nobody's place any more.
func TestWhatWasReleasedIsNotSpare(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: 21 22 23 24 25 26 27 28 29 30 31 32")
	c.limits.Damping = false
	c.sees(time.Second, "a: 1 2 3 4 5 6 7 8, b: 21 22 23 24 25 26 27 28 29 30 31 32")
	d := c.sees(time.Second, "a: 1, b: 21 22 23 24 25 26 27 28 29 30 31 32")
	id := d.Holds[0].ID
	c.wants(c.sees(time.Second, "a: 1, b: 21 22 23 24 25 26 27 28 29 30 31 32", func(in *Input) { in.Approved = id }),
		"a: 1, b: 21 22 23 24 25 26 27 28 29 30 31 32", "")
	c.sees(time.Second, "a: 1 11 12 13, b: 21 22 23 24 25 26 27 28 29 30 31 32")
	for e := range c.history.spare.all() {
		if n := number(e.id.Addr); len(n) == 1 {
			t.Errorf("server %s is spare, and gone", n)
		}
	}
}

// Nor does one that came before the window: a guard that had nothing to decide for long still knows of it.
func TestWhatCameLongAgoIsNotSpare(t *testing.T) {
	c := begin(t, "a: 1 2 3 4")
	c.sees(time.Second, "a: 1 2 3 4 5 6 7 8")
	c.wants(c.sees(time.Hour, "a: 5 6 7 8"), "a: 5 6 7 8", "")
	c.wants(c.sees(time.Second, "a: 6 7 8"), "a: 5 6 7 8", "max_removal_window: a 5")
}

// What is missing after a loss is so, too, while on_unhealthy keeps it.
func TestWhatIsKeptIsMissingStill(t *testing.T) {
	c := begin(t, "a: 1 2 3, b: 4 5 6 7 8 9")
	lapsed := func(in *Input) { in.Away = map[string]time.Time{"r": noon} }
	c.wants(c.sees(time.Second, "a: 2 3, b: 4 5 6 7 8 9", lapsed), "a: 1 2 3, b: 4 5 6 7 8 9", "recovery: a 1")
	c.wants(c.sees(170*time.Second, "a: !2 !3, b: 4 5 6 7 8 9"), "a: 1 2 3, b: 4 5 6 7 8 9", "")
	c.wants(c.sees(time.Second, "a: 2 3, b: 4 5 6 7 8 9"), "a: 1 2 3, b: 4 5 6 7 8 9", "recovery: a 1")
	c.wants(c.sees(20*time.Second, "a: 2 3, b: 4 5 6 7 8 9"), "a: 2 3, b: 4 5 6 7 8 9", "")
}

// A frozen service says nothing of its registry.
func TestFrozenIsNotListed(t *testing.T) {
	c := begin(t, "a: 1, b: 2")
	c.wants(c.sees(time.Second, "a: 1", func(in *Input) { in.Frozen = 1 }), "a: 1, b: 2", "min_services: b 2")
}

// One whose server is marked down stays so.
func TestFrozenDownStays(t *testing.T) {
	c := begin(t, "a: 1 down, b: 2")
	c.limits.OnUnhealthy, c.limits.OnRemoved = Remove, Down
	c.wants(c.sees(time.Second, "a: 1 down, b: 2"), "a: 1 down, b: 2", "")
}

// numbers is a service with so many servers.
func numbers(many int) string {
	text := "a:"
	for n := 1; n <= many; n++ {
		text += fmt.Sprintf(" %d", n)
	}
	return text
}

// A step counts by itself where the window began with few servers, and what came back is no growth.
func TestGrowthOfAStep(t *testing.T) {
	c := begin(t, numbers(8))
	c.sees(time.Second, numbers(24))
	if d := c.sees(time.Second, numbers(90)); len(d.Holds) != 1 || d.Holds[0].Rule != RuleMaxGrowth || d.Holds[0].Of != 24 {
		t.Errorf("held %v", d.Holds)
	}
	c = begin(t, numbers(90))
	c.sees(time.Second, numbers(25))
	c.wants(c.sees(time.Second, numbers(91)), line(set(numbers(91))), "")
}

// Newcomers that a limit keeps out take nobody's place: what goes for them would leave too few.
func TestWhatIsKeptOutReplacesNothing(t *testing.T) {
	was, many := "a: 1 2 3 4 5, b: 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26", "a: 1"
	for n := 101; n < 200; n++ {
		many += fmt.Sprintf(" %d", n)
	}
	rest := ", b: 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26"
	for _, limits := range []struct {
		rule string
		set  func(*Config)
	}{
		{RuleMaxGrowth, func(*Config) {}},
		{RuleMaxServers, func(c *Config) { c.MaxServers = 50 }},
	} {
		c := begin(t, was)
		limits.set(&c.limits)
		c.wants(c.sees(time.Second, "a: 1"+rest), was, "max_service_removal: a 2, a 3, a 4, a 5")
		d := c.sees(4*time.Minute, many+rest)
		if got := line(d.Accepted); got != was {
			t.Errorf("%s: accepted %s", limits.rule, got)
		}
		if len(d.Holds) != 2 || d.Holds[0].Rule != RuleMaxServiceRemoval || d.Holds[1].Rule != limits.rule || len(d.Holds[1].KeptOut) != 99 {
			t.Errorf("%s: held %+v", limits.rule, d.Holds)
		}
		c.wants(c.sees(time.Second, "a: 1 6 7 8 9"+rest), "a: 1 6 7 8 9"+rest, "")
	}
}

// Nor do they give back what another service has lost.
func TestWhatIsKeptOutGivesNothingBack(t *testing.T) {
	rest := ", c: 41 42 43 44 45 46 47 48 49 50"
	c := begin(t, "a: 1 2 3 4 5, b: 11 12 13 14 15 16"+rest)
	c.sees(time.Second, "a: 1 2, b: 11 12 13 14 15 16"+rest)
	now := "a: 1 2, b: 11 12 13" + rest
	c.wants(c.sees(time.Second, now), now, "")
	many := "a: 1 2"
	for n := 101; n < 200; n++ {
		many += fmt.Sprintf(" %d", n)
	}
	d := c.sees(time.Second, many+", b: 11 12 13, c: 41 42 43 44")
	if got := line(d.Accepted); got != now {
		t.Errorf("accepted %s, held %v", got, Reasons(d.Holds))
	}
}

// A freeze does not let pass what waits for the recovery: it waits on behind it, and so does what goes missing there.
func TestWhatIsFrozenIsMissingStill(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: 5 6 7 8 9")
	lapsed := func(in *Input) { in.Away = map[string]time.Time{"r": noon} }
	behind := func(text string) func(*Input) {
		return func(in *Input) {
			lapsed(in)
			in.Behind = func(name string) (upstream.Upstream, bool) {
				u, _ := set(text).Get(name)
				return u, name == "a"
			}
		}
	}
	rest := ", b: 5 6 7 8 9"
	c.wants(c.sees(time.Second, "a: 2 3 4"+rest, lapsed), "a: 1 2 3 4"+rest, "recovery: a 1")
	c.sees(170*time.Second, "a: 1 2 3 4"+rest, behind("a: 2 3 4"))
	c.sees(time.Second, "a: 1 2 3 4"+rest, behind("a: 3 4"))
	c.wants(c.sees(8100*time.Millisecond, "a: 3 4"+rest, lapsed), "a: 1 2 3 4"+rest, "recovery: a 1, a 2")
	c.wants(c.sees(time.Second, "a: 3 4"+rest, lapsed), "a: 2 3 4"+rest, "recovery: a 2")
	c.wants(c.sees(172*time.Second, "a: 3 4"+rest, lapsed), "a: 3 4"+rest, "")
}

// A freeze holds against on_unhealthy, too, which a reload may have changed.
func TestWhatIsFrozenTakesNobodyBack(t *testing.T) {
	rest := ", b: 5 6 7 8 9"
	c := begin(t, "a: 1 2 3 4"+rest)
	c.limits.OnUnhealthy = Remove
	c.wants(c.sees(time.Second, "a: !1 !2 !3 4"+rest), "a: 4"+rest, "")
	c.limits.OnUnhealthy = Keep
	c.wants(c.sees(time.Second, "a: !1 !2 !3 4"+rest, func(in *Input) {
		in.Behind = func(name string) (upstream.Upstream, bool) { return upstream.Upstream{}, name == "a" }
	}), "a: 4"+rest, "")
	c.wants(c.sees(time.Second, "a: !1 !2 !3 4"+rest), "a: 1 2 3 4"+rest, "")
}

// What on_unhealthy keeps after a loss has gone missing all the same, and waits when that ends.
func TestWhatIsUnhealthyAfterALossIsMissing(t *testing.T) {
	rest := ", b: 5 6 7 8 9"
	c := begin(t, "a: 1 2 3"+rest)
	lapsed := func(in *Input) { in.Away = map[string]time.Time{"r": noon} }
	c.wants(c.sees(170*time.Second, "a: !1 !2 !3"+rest, lapsed), "a: 1 2 3"+rest, "")
	c.wants(c.sees(11*time.Second, "a: 2 3"+rest), "a: 1 2 3"+rest, "recovery: a 1")
	c.wants(c.sees(181*time.Second, "a: 2 3"+rest), "a: 2 3"+rest, "")
}

// A newcomer of before the window is spare no more; those of the window are, whichever is looked at first.
func TestOldNewcomersHideNoNewOnes(t *testing.T) {
	var u upstream.Upstream
	u.Name = "a"
	var h History
	c := DefaultConfig()
	for n := range 40 {
		srv := server(at(1, n))
		u.Servers = append(u.Servers, srv)
		h.spare.put(ServerID{"a", srv.Addr}, noon.Add(-time.Second), struct{}{})
		if n%2 == 0 {
			h.spare.put(ServerID{"a", srv.Addr}, noon.Add(-2*c.Window), struct{}{})
		}
	}
	h.settle()
	s := &step{
		Config: c, Input: Input{Accepted: upstream.NewSet([]upstream.Upstream{u}), Now: noon}, h: h,
		services: map[upstream.Key]*recent{},
	}
	got := len(s.window("a").spare)
	if s.h.settle(); got != 20 || s.h.spare.entries.Len() != 20 || s.h.spare.ages.Len() != 20 {
		t.Errorf("%d are spare, and %d are kept, of 20", got, s.h.spare.entries.Len())
	}
}

// What comes to one service makes what others lost no smaller a share: there were ten at once, never twelve.
func TestWhatComesElsewhereWasNotThere(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5, b: 6, c: 11 12 13 14")
	c.limits.Damping = false
	c.sees(time.Second, "a: 3 4 5, b: 6, c: 11 12 13 14")
	c.sees(time.Second, "a: 3 4 5, b: 6 7 8, c: 11 12 13 14")
	c.wants(c.sees(time.Second, "a: 4 5, b: 6 7 8, c: 13 14"), "a: 4 5, b: 6 7 8, c: 13 14", "")
	c.wants(c.sees(time.Second, "a: 4 5, b: 6 7 8, c: 14"), "a: 4 5, b: 6 7 8, c: 13 14", "max_removal_window: c 13")
}

// A hold of routes says nothing of how many servers there are: it may last, and by then there may be fewer.
func TestAHoldOfRoutesIsNoBaseline(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5 6 7 8 /a, b: 11 12 13 14")
	c.limits.MaxRemoval = 0.3
	for _, b := range []string{"11 12 13 14", "11 12 13", "11 12", "11"} {
		if d := c.sees(time.Hour, "a: 1 2 3 4 5 6 7 8, b: "+b); len(d.Holds) != 1 || len(d.Holds[0].Routes) != 1 {
			t.Errorf("with b: %s the holds are %+v", b, d.Holds)
		}
	}
	d := c.sees(time.Hour, "a: 1 2 3 4 5, b: 11")
	if n := d.Accepted.Servers(); n != 9 {
		t.Errorf("3 of 9 servers went at once, %d are left: %+v", n, d.Holds)
	}
}
