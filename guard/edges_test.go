package guard

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// What changes of one operator of the code have shown to be held by no other test.

// span is the servers of those numbers, as set reads them.
func span(from, to int) string {
	var words []string
	for n := from; n <= to; n++ {
		words = append(words, fmt.Sprint(n))
	}
	return strings.Join(words, " ")
}

// A server stays out for 30 s from the fourth time on, each time twice as long, and never for more than the window.
func TestDampingDoubles(t *testing.T) {
	c := begin(t, "a: 1 2 3 4")
	for times := 1; times <= 9; times++ {
		c.sees(time.Second, "a: 2 3 4")
		want := time.Duration(0)
		if times >= 4 {
			want = min(30*time.Second<<(times-4), 10*time.Minute)
		}
		d := c.sees(0, "a: 1 2 3 4")
		if want == 0 {
			c.wants(d, "a: 1 2 3 4", "")
			continue
		}
		c.wants(d, "a: 2 3 4", "")
		if d.Again != want {
			t.Errorf("after the time %d it is out for %s, want %s", times, d.Again, want)
		}
		if reason := fmt.Sprintf("it left traffic %d times within 10m: it stays out until %s", times, c.now.Add(want).Format(time.RFC3339)); d.Out.Len() != 1 || leftOut(d.Out)[0].Reason.String() != reason {
			t.Errorf("out is %+v, want %q", d.Out, reason)
		}
		c.wants(c.sees(want-1, "a: 1 2 3 4"), "a: 2 3 4", "")
		c.wants(c.sees(1, "a: 1 2 3 4"), "a: 1 2 3 4", "")
	}
}

// What stays only because of a hold counts neither as growth nor as what was there before.
func TestGrowthBesideAHold(t *testing.T) {
	c := begin(t, "a: "+span(1, 24))
	d := c.sees(time.Second, "a: "+span(17, 64))
	if len(d.Holds) != 1 || d.Holds[0].Rule != RuleMaxRemoval || d.Accepted.Servers() != 64 {
		t.Errorf("%d servers, held %s", d.Accepted.Servers(), heldLine(d.Holds))
	}

	c = begin(t, "a: "+span(1, 12)+", b: "+span(13, 24))
	d = c.sees(time.Second, "a: "+span(9, 12)+" "+span(25, 84)+", b: "+span(21, 24))
	if len(d.Holds) != 1 || d.Holds[0].Rule != RuleMaxRemoval || d.Accepted.Servers() != 84 {
		t.Errorf("%d servers, held %s", d.Accepted.Servers(), heldLine(d.Holds))
	}

	c = begin(t, "a: "+span(1, 8))
	c.sees(time.Second, "a: "+span(1, 24))
	doubt := func(in *Input) { in.Away = map[string]time.Time{"r": in.Now} }
	d = c.sees(time.Second, "a: "+span(3, 72), doubt)
	if len(d.Holds) != 2 || d.Holds[0].Rule != RuleRecovery || d.Holds[1].Rule != RuleMaxGrowth || d.Holds[1].Of != 22 {
		t.Errorf("held %+v", d.Holds)
	}
}

// How many servers there were is known to a tenth of the window, and those of its very start count.
func TestGrowthSinceTheWindowBegan(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sizes map[time.Duration]int
		at    time.Duration
		to    int
		of    int // 0: it is not held
	}{
		{"of a minute and a half ago", map[time.Duration]int{0: 20, time.Minute: 40, 5 * time.Minute: 60}, 11*time.Minute + 30*time.Second, 150, 40},
		{"just as the window began", map[time.Duration]int{0: 20, time.Minute: 60, 5 * time.Minute: 70}, 11 * time.Minute, 150, 0},
		{"just before that", map[time.Duration]int{0: 20, time.Minute: 60, 5 * time.Minute: 70}, 11*time.Minute - 1, 150, 20},
		{"two within a tenth are one", map[time.Duration]int{0: 20, time.Minute: 40, 100 * time.Second: 60}, 11 * time.Minute, 150, 0},
		{"two a tenth apart are two", map[time.Duration]int{0: 20, time.Minute: 40, 2 * time.Minute: 60}, 11 * time.Minute, 150, 40},
		{"the first one stays", map[time.Duration]int{0: 20, 30 * time.Second: 60}, time.Minute, 150, 20},
		{"since the first ones", map[time.Duration]int{time.Second: 30, 2 * time.Second: 70}, 3 * time.Second, 150, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := begin(t, "")
			for _, when := range slices.Sorted(maps.Keys(tt.sizes)) {
				if when == 0 {
					c.accepted = set("a: " + span(1, tt.sizes[when]))
				}
				c.now = noon.Add(when)
				c.sees(0, "a: "+span(1, tt.sizes[when]))
			}
			c.now = noon.Add(tt.at)
			d := c.sees(0, "a: "+span(1, tt.to))
			switch {
			case tt.of == 0 && len(d.Holds) > 0:
				t.Errorf("held %s", Reasons(d.Holds))
			case tt.of > 0 && (len(d.Holds) != 1 || d.Holds[0].Of != tt.of):
				t.Errorf("held %s, want of %d", Reasons(d.Holds), tt.of)
			}
		})
	}
}

// New upstreams may come as long as there are no more than may be, and without an end where there is no limit.
func TestAsManyUpstreamsAsMayBe(t *testing.T) {
	for limit, held := range map[int]string{0: "", 3: "", 2: "max_upstreams: b +2, c +3"} {
		c := begin(t, "a: 1")
		c.limits.MaxUpstreams = limit
		if d := c.sees(time.Second, "a: 1, b: 2, c: 3"); heldLine(d.Holds) != held {
			t.Errorf("max_upstreams = %d: held %q", limit, heldLine(d.Holds))
		}
	}
	for limit, held := range map[int]string{0: "", 3: "", 2: "max_servers: a +2, a +3"} {
		c := begin(t, "a: 1")
		c.limits.MaxServers = limit
		if d := c.sees(time.Second, "a: 1 2 3"); heldLine(d.Holds) != held {
			t.Errorf("max_servers = %d: held %q", limit, heldLine(d.Holds))
		}
	}
}

// An upstream that a limit keeps out has no part in what another one loses.
func TestWhatIsKeptOutIsNoLoss(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5 6 7 8")
	c.limits.MaxServers = 8
	c.wants(c.sees(time.Second, "a: 5 6 7 8, z: 21 22 23 24 25"), "a: 5 6 7 8", "max_servers: z +21, z +22, z +23, z +24, z +25")
}

// What comes takes the place of what was lost, and what came before takes that of what goes but its own.
func TestWhoTakesWhosePlace(t *testing.T) {
	c := begin(t, "a: "+span(1, 12))
	c.sees(time.Second, "a: "+span(3, 12))
	now := "a: " + span(7, 14)
	c.wants(c.sees(time.Second, now), now, "")

	c = begin(t, "a: "+span(1, 8))
	c.limits.MaxRemoval, c.limits.MaxServiceRemoval = 1, 1
	c.sees(time.Second, "a: "+span(1, 12))
	d := c.sees(time.Second, "a: 8 11 12")
	if len(d.Holds) != 1 || d.Holds[0].Rule != RuleMaxRemovalWindow || !strings.HasPrefix(d.Holds[0].Reason.String(), "7 of 12 servers would be gone") {
		t.Errorf("held %s", Reasons(d.Holds))
	}
}

// Servers that were replaced all at once stay for as long as most of them answer: what took their place may be wrong.
func TestReplacedAndAnswering(t *testing.T) {
	for answering, held := range map[int]bool{0: false, 1: false, 2: false, 3: true, 4: true} {
		c := begin(t, "a: 1 2 3 4, b: 5 6 7 8 9")
		witness := func(in *Input) {
			in.Witness = func(a netip.AddrPort) Answer {
				if n := a.Addr().As4()[3]; n < 5 && int(n) > answering {
					return Refused
				}
				return Answered
			}
		}
		c.sees(time.Second, "a: 11 12 13 14, b: 5 6 7 8 9", witness)
		d := c.sees(4*time.Minute, "a: 11 12 13 14, b: 5 6 7 8 9", witness)
		if (len(d.Holds) > 0) != held {
			t.Errorf("%d of 4 answer: held %q", answering, Reasons(d.Holds))
		}
	}
	c := begin(t, "a: 1 2 3 4, b: 5 6 7 8 9")
	c.sees(time.Second, "a: 11 12 13 14, b: 5 6 7 8 9")
	c.wants(c.sees(4*time.Minute, "a: 11 12 13 14, b: 5 6 7 8 9"), "a: 11 12 13 14, b: 5 6 7 8 9", "") // nobody is asked
}

// An index that stays does not go backwards.
func TestIndexStays(t *testing.T) {
	index := func(in *Input) { in.Indexes = map[string]uint64{"r": 400} }
	c := begin(t, "a: 1 2 3, b: 4 5 6")
	c.sees(time.Second, "a: 1 2 3, b: 4 5 6", index)
	c.wants(c.sees(time.Second, "a: 1 2, b: 4 5 6", index), "a: 1 2, b: 4 5 6", "")
}

// The account has every option of a server as it was, at their limits too.
func TestAccountOfOptions(t *testing.T) {
	for _, srv := range []upstream.Server{
		{Weight: 1},
		{Weight: upstream.MaxWeight, MaxConns: upstream.MaxCount, MaxFails: upstream.MaxCount, FailTimeout: upstream.MaxFailTimeout, Backup: true, Host: "lb.example:80", Origin: "a,b c"},
	} {
		srv.Addr = addr("1")
		id := ServerID{"a", srv.Addr}
		h := History{}.clone()
		h.leaves(id, noon, departure{server: &srv, times: 2, unhealthy: true})
		h.settle()
		back, err := ReadHistory(h.Lines(), noon, time.Minute)
		got, _ := back.left.get(id)
		want, _ := h.left.get(id)
		if got.is.server != nil && *got.is.server == srv {
			got.is.server, want.is.server = nil, nil
		}
		if err != nil || got != want {
			t.Errorf("%+v became %+v: %v", want, got, err)
		}
	}
}

// The longest path that may be, and one more.
func TestLongestWitnessPath(t *testing.T) {
	for length, good := range map[int]bool{256: true, 257: false} {
		c := DefaultConfig()
		c.WitnessPath = "/" + strings.Repeat("a", length-1)
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%d characters: %v", length, err)
		}
	}
}

// A service keeps what turned unhealthy when more of it did than is left, from four servers on.
func TestSpiralBegins(t *testing.T) {
	rest := ", b: 11 12 13 14 15 16 17 18"
	for _, tt := range []struct{ was, seen, accepted string }{
		{"a: 1 2 3 4", "a: !1 !2 3 4", "a: 3 4"},
		{"a: 1 2 3 4", "a: !1 !2 !3 4", "a: 1 2 3 4"},
		{"a: 1 2 3", "a: !1 !2 3", "a: 3"},
		{"a: 1 2 3 4 5", "a: !1 !2 3 4 5", "a: 3 4 5"},
		{"a: 1 2 3 4 5", "a: !1 !2 !3 4 5", "a: 1 2 3 4 5"},
	} {
		c := begin(t, tt.was+rest)
		c.wants(c.sees(time.Second, tt.seen+rest), tt.accepted+rest, "")
	}
}

// The new addresses of a host name give nothing back that others lost.
func TestWhatMovesGivesNothingBack(t *testing.T) {
	const host = "lb.example:80"
	c := begin(t, "")
	c.accepted = upstream.Join(named(host, 1, 2), set("ext: "+span(11, 18)))
	sees := func(seen upstream.Set) Decision {
		c.now = c.now.Add(time.Second)
		d := c.limits.Decide(Input{Accepted: c.accepted, Seen: seen, History: c.history, Now: c.now})
		c.accepted, c.history = d.Accepted, d.History
		return d
	}
	c.wants(sees(upstream.Join(named(host, 1, 2), set("ext: "+span(15, 18)))), "ext: 1 2 15 16 17 18", "")
	c.wants(sees(upstream.Join(named(host, 3, 4), set("ext: "+span(15, 18)))), "ext: 3 4 15 16 17 18", "")
	c.wants(sees(upstream.Join(named(host, 3, 4), set("ext: 17 18"))), "ext: 3 4 15 16 17 18", "max_removal_window: ext 15, ext 16")
}

// What a step does not touch is lost already: it makes no step a larger one.
func TestWhatOthersLostIsNoStep(t *testing.T) {
	c := begin(t, "a: "+span(1, 10)+", b: "+span(21, 30))
	c.wants(c.sees(time.Second, "a: "+span(1, 10)+", b: "+span(27, 30)), "a: "+span(1, 10)+", b: "+span(27, 30), "")
	c.wants(c.sees(time.Second, "a: "+span(3, 10)+", b: "+span(27, 30)), "a: "+span(3, 10)+", b: "+span(27, 30), "")
}

// A server that comes back gives its own loss back, also where others have moved in the same step.
func TestWhatComesBackBesideAMove(t *testing.T) {
	const host = "lb.example:80"
	c := begin(t, "")
	c.accepted = upstream.Join(named(host, 1, 2), set("ext: "+span(11, 18)))
	for _, step := range []struct {
		at, first byte
		accepted  string
	}{{1, 12, "1 2 12 13 14 15 16 17 18"}, {3, 11, "3 4 11 12 13 14 15 16 17 18"}, {3, 16, "3 4 16 17 18"}} {
		c.now = c.now.Add(time.Second)
		d := c.limits.Decide(Input{
			Accepted: c.accepted, Seen: upstream.Join(named(host, step.at, step.at+1), set("ext: "+span(int(step.first), 18))),
			History: c.history, Now: c.now,
		})
		c.accepted, c.history = d.Accepted, d.History
		c.wants(d, "ext: "+step.accepted, "")
	}
}

// What was lost just a window ago counts, and goes on to count as long as the hold lasts that it led to.
func TestJustAWindowAgo(t *testing.T) {
	for late, held := range map[time.Duration]string{0: "max_removal_window: a 5", 1: ""} {
		c := begin(t, "a: "+span(1, 8))
		c.sees(time.Second, "a: "+span(5, 8))
		accepted := "a: " + span(5, 8)
		if held == "" {
			accepted = "a: " + span(6, 8)
		}
		for _, after := range []time.Duration{10*time.Minute + late, time.Minute, time.Hour} {
			c.wants(c.sees(after, "a: "+span(6, 8)), accepted, held)
		}
	}
}

// The account takes no name that an upstream may not have, and no option that a server may not have.
func TestAccountOfHostileLines(t *testing.T) {
	const left = "left a 10.0.0.1:80 2026-01-02T12:00:00Z 2 - unhealthy "
	for line, good := range map[string]bool{
		"returned a 10.0.0.1:80": true, "returned a;b 10.0.0.1:80": false, "returned 10.0.0.1 10.0.0.1:80": false, "returned -a 10.0.0.1:80": false,
		left + "1 0 3 2s false - r": true, left + "1 0 3 -2s false - r": false, left + "1 0 3 2 false - r": false,
		left + "1 0 3 2s no - r": false, left + "-1 0 3 2s false - r": false, left + "1 0 3 2s false": false,
	} {
		if _, err := ReadHistory([]string{lineSum + " " + sum([]string{line}), line}, noon, time.Minute); (err == nil) != good {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// The ways of the witness, and no others.
func TestWaysOfTheWitness(t *testing.T) {
	for way, good := range map[string]bool{"tcp": true, "http": true, "off": true, "": false, "icmp": false} {
		c := DefaultConfig()
		c.WitnessBy = way
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", way, err)
		}
	}
}

// A newcomer that goes again is a loss itself; what goes beside it takes the place of another one, which is no longer spare.
func TestANewcomerGoesBesideAnother(t *testing.T) {
	c := begin(t, "a: "+span(1, 8))
	c.sees(time.Second, "a: "+span(1, 10))
	c.sees(time.Second, "a: "+span(2, 8)+" 10")
	c.wants(c.sees(time.Second, "a: "+span(5, 8)+" 10"), "a: 5 6 7 8 10", "")
	c.wants(c.sees(time.Second, "a: "+span(6, 8)+" 10"), "a: 5 6 7 8 10", "max_removal_window: a 5")
}

// lapsed has the registry come back at noon.
func lapsed(in *Input) { in.Away = map[string]time.Time{"r": noon} }

// Where nothing more is to come by itself, nobody is woken for it.
func TestNothingIsDue(t *testing.T) {
	c := begin(t, "a: "+span(1, 8))
	if d := c.sees(time.Second, "a: "+span(2, 8), lapsed); heldLine(d.Holds) != "recovery: a 1" || d.Again != 3*time.Minute {
		t.Errorf("held %s, again after %s", heldLine(d.Holds), d.Again)
	}
	for range 2 {
		if d := c.sees(3*time.Minute, "a: "+span(2, 8)); len(d.Holds) != 0 || d.Again != 0 {
			t.Errorf("held %s, again after %s", heldLine(d.Holds), d.Again)
		}
	}
}

// The recovery counts from when a server went missing: not from when the doubt began, nor from the last look at it, and
// anew for one that was given up and came back.
func TestSinceWhenItIsMissing(t *testing.T) {
	const rest = ", b: 5 6 7 8 9"
	c := begin(t, "a: 1 2 3"+rest)
	c.sees(time.Second, "a: 1 2 3"+rest, lapsed)
	c.wants(c.sees(169*time.Second, "a: 2 3"+rest), "a: 1 2 3"+rest, "recovery: a 1")
	c.wants(c.sees(179*time.Second, "a: 2 3"+rest), "a: 1 2 3"+rest, "recovery: a 1")
	c.wants(c.sees(time.Second, "a: 2 3"+rest), "a: 2 3"+rest, "")

	c = begin(t, "a: 1 2 3"+rest)
	c.sees(time.Second, "a: !1 !2 !3"+rest, lapsed)
	c.sees(99*time.Second, "a: !1 !2 !3"+rest)
	c.wants(c.sees(82*time.Second, "a: 2 3"+rest), "a: 2 3"+rest, "")

	c = begin(t, "a: 1 2 3"+rest)
	c.sees(time.Second, "a: 2 3"+rest, lapsed)
	c.wants(c.sees(3*time.Minute, "a: 2 3"+rest), "a: 2 3"+rest, "")
	c.wants(c.sees(time.Second, "a: 1 2 3"+rest), "a: 1 2 3"+rest, "")
	c.wants(c.sees(time.Hour, "a: 2 3"+rest, func(in *Input) { in.Away = map[string]time.Time{"r": in.Now} }), "a: 1 2 3"+rest, "recovery: a 1")
}

// Of what went only what is registered and unhealthy counts as that.
func TestDeregisteredIsNotUnhealthy(t *testing.T) {
	c := begin(t, "a: "+span(1, 10)+", b: "+span(21, 30))
	c.wants(c.sees(time.Second, "a: !1 !2 !3 "+span(8, 10)+", b: "+span(21, 30)), "a: "+span(8, 10)+", b: "+span(21, 30), "")
	c = begin(t, "a: 1 2 3 down, b: "+span(21, 30))
	c.wants(c.sees(time.Second, "a: 1 !2 !3, b: "+span(21, 30)), "a: 1, b: "+span(21, 30), "")
}

// A server is damped whoever else left, and however often.
func TestDampedAmongOthers(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: "+span(21, 60))
	c.limits.MaxRemoval, c.limits.MaxRemovalWindow, c.limits.MaxServiceRemoval = 1, 1, 1
	c.sees(time.Second, "a: 1 2 3 4, b: 21")
	for range 4 {
		c.sees(time.Second, "a: 1 2 3 4, b: "+span(21, 60))
		c.sees(time.Second, "a: 2 3 4, b: "+span(21, 60))
	}
	c.wants(c.sees(time.Second, "a: 1 2 3 4, b: "+span(21, 60)), "a: 2 3 4, b: "+span(21, 60), "")
}

// Services that swap their servers keep their own, also beside one that is new.
func TestSwappedBesideANewOne(t *testing.T) {
	c := begin(t, "b: 1 2 3 4, c: 5 6 7 8")
	d := c.sees(time.Second, "a: 9, b: 5 6 7 8, c: 1 2 3 4")
	if got := line(d.Accepted); got != "a: 9, b: 1 2 3 4, c: 5 6 7 8" {
		t.Errorf("accepted %q", got)
	}
}

// What is out by somebody's wish hides nothing of what is unhealthy.
func TestUnhealthyBehindAWish(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5, b: "+span(11, 20))
	seen := set("a: !1 !2 !3 4 5, b: " + span(11, 20))
	wish := upstream.Out{Service: "0", Upstream: "0", Addr: "10.0.0.99:80", Reason: reason.Text("a tag")}
	d := c.limits.Decide(Input{Accepted: c.accepted, Seen: seen.AlsoOut(wish), Now: noon})
	c.wants(d, "a: 1 2 3 4 5, b: "+span(11, 20), "")
}

// Newcomers take places for a window each: those that came first do not end it for those that came last.
func TestNewcomersOfManyTimes(t *testing.T) {
	c := begin(t, "a: "+span(1, 8))
	c.sees(time.Second, "a: "+span(1, 28))
	c.sees(9*time.Minute, "a: "+span(1, 29))
	c.wants(c.sees(90*time.Second, "a: "+span(2, 29)), "a: "+span(2, 29), "")
	c.wants(c.sees(time.Second, "a: "+span(16, 29)), "a: "+span(16, 29), "")
}

// A control on this machine says nothing of others, and the next one does.
func TestControlsElsewhere(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5 6, b: 7 8")
	here := func(in *Input) { in.Here = func(a netip.Addr) bool { return a == addr("6").Addr() } }
	c.wants(c.sees(time.Second, "a: 6, b: 7 8", reached("6 7", "1 2 3 4 5"), here), "a: 6, b: 7 8", "")
	c = begin(t, "a: 1 2 3 4 5 6, b: 7 8")
	c.wants(c.sees(time.Second, "a: 6, b: 7 8", reached("6", "1 2 3 4 5 7 8"), here), "a: 1 2 3 4 5 6, b: 7 8", "max_removal: a 1, a 2, a 3, a 4, a 5")
}

// Each reason of a hold stays beside what the witness says.
func TestWitnessAddsToTheReason(t *testing.T) {
	c := begin(t, "a: 1 2, b: 3 4")
	c.limits.MinServices = 2
	d := c.sees(time.Second, "a: 1", reached("1", "2 3 4"))
	const want = "the registries list 1 services with a usable server, min_services is 2: everything is held; " +
		"none of the 3 accepts connections: an operator must decide"
	if got := Reasons(d.Holds).String(); got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

// What was lost before the window is forgotten: a newcomer does not take its place, and is there for the next that goes.
func TestLostLongAgo(t *testing.T) {
	c := begin(t, "a: "+span(1, 9))
	c.sees(time.Second, "a: "+span(2, 9))
	c.sees(30*time.Minute, "a: "+span(2, 9))
	c.sees(time.Second, "a: "+span(2, 10))
	c.sees(time.Second, "a: "+span(3, 10))
	c.wants(c.sees(time.Second, "a: "+span(7, 10)), "a: "+span(7, 10), "")
}
