package syncer

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"swallowkeeper/upstream"
)

// set reads a set from a line such as "a: 1 2, b: 3 down, c: none": each number is
// a server, 10.0.0.N:80.
func set(line string) upstream.Set {
	var list []upstream.Upstream
	for part := range strings.SplitSeq(line, ",") {
		name, servers, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found {
			continue
		}
		u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
		for _, word := range strings.Fields(servers) {
			switch word {
			case "none":
			case "down":
				u.Servers[len(u.Servers)-1].Down = true
			default:
				u.Servers = append(u.Servers, upstream.Server{
					Addr: netip.MustParseAddrPort("10.0.0." + word + ":80"), Weight: 1, MaxFails: 3,
					FailTimeout: 2 * time.Second, Origin: "r",
				})
			}
		}
		list = append(list, u)
	}
	return upstream.NewSet(list)
}

// line is the inverse of set.
func line(s upstream.Set) string {
	var parts []string
	for u := range s.All() {
		words := []string{u.Name + ":"}
		for _, srv := range u.Servers {
			ip := srv.Addr.Addr().As4()
			words = append(words, fmt.Sprint(ip[3]))
			if srv.Down {
				words = append(words, "down")
			}
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return strings.Join(parts, ", ")
}

func heldLine(h *Hold) string {
	if h == nil {
		return ""
	}
	var parts []string
	for _, r := range h.Removed {
		ip := r.Addr.Addr().As4()
		parts = append(parts, fmt.Sprintf("%s %d", r.Upstream, ip[3]))
	}
	return h.Rule + ": " + strings.Join(parts, ", ")
}

func written(last string) upstream.Generation { return upstream.Generation{Number: 1, Set: set(last)} }

func TestJudge(t *testing.T) {
	unhealthy := func(c *GuardConfig) { c.OnUnhealthy = Remove }
	down := func(c *GuardConfig) { c.OnRemoved = Down }
	minimum := func(n int) func(*GuardConfig) { return func(c *GuardConfig) { c.MinServices = n } }
	share := func(f float64) func(*GuardConfig) { return func(c *GuardConfig) { c.MaxRemoval = f } }

	for _, tt := range []struct {
		name     string
		change   func(*GuardConfig)
		last     string
		seen     string
		accepted string
		held     string
	}{
		{"the first set", nil, "", "a: 1 2", "a: 1 2", ""},
		{"a server more", nil, "a: 1", "a: 1 2", "a: 1 2", ""},
		{"one of two may go", nil, "a: 1 2", "a: 2", "a: 2", ""},
		{"one of three services may go", nil, "a: 1, b: 2, c: 3", "a: 1", "a: 1", ""},
		{"nothing has changed", nil, "a: 1 2 3 4", "a: 1 2 3 4", "a: 1 2 3 4", ""},

		{"unusable: its last servers stay", nil, "a: 1 2, b: 3", "a: none, b: 3", "a: 1 2, b: 3", ""},
		{"unusable, remove", unhealthy, "a: 1 2, b: 3", "a: none, b: 3", "b: 3", ""},
		{"unusable and new: there is nothing to keep", nil, "b: 3", "a: none, b: 3", "b: 3", ""},
		{"unusable counts not as removed", nil, "a: 1 2 3 4, b: 5", "a: none, b: 5", "a: 1 2 3 4, b: 5", ""},
		{"unusable, remove: it counts as removed", unhealthy, "a: 1 2 3 4, b: 5", "a: none, b: 5", "a: 1 2 3 4, b: 5", "max_removal: a 1, a 2, a 3, a 4"},
		{"unusable, remove: not down, which is for the deregistered", func(c *GuardConfig) { unhealthy(c); down(c) }, "a: 1, b: 3", "a: none, b: 3", "b: 3", ""},
		{"some are unusable", nil, "a: 1 2 3", "a: 2", "a: 2", ""},

		{"deregistered", nil, "a: 1, b: 2", "b: 2", "b: 2", ""},
		{"deregistered, down", down, "a: 1 9, b: 2 3", "b: 2 3", "a: 1 down, b: 2 3", ""},
		{"deregistered, down: it stays so", down, "a: 1 down, b: 2", "b: 2", "a: 1 down, b: 2", ""},
		{"deregistered, down: it comes back", down, "a: 1 down, b: 2", "a: 5, b: 2", "a: 5, b: 2", ""},
		{"down no more in the configuration", nil, "a: 1 down, b: 2", "b: 2", "b: 2", ""},
		{"deregistered, down: unusable after", down, "a: 1 down, b: 2", "a: none, b: 2", "a: 1 down, b: 2", ""},

		{"the empty registry", nil, "a: 1 2", "", "a: 1 2", "min_services: a 1, a 2"},
		{"the empty registry at the first start", nil, "", "", "", "min_services: "},
		{"nothing usable is as good as empty", nil, "a: 1 2", "a: none", "a: 1 2", "min_services: "},
		{"nothing usable, remove", unhealthy, "a: 1 2", "a: none", "a: 1 2", "min_services: a 1, a 2"},
		{"fewer than there must be: nothing goes through", minimum(3), "a: 1, b: 2, c: 3", "a: 1 9, b: 2", "a: 1, b: 2, c: 3", "min_services: c 3"},
		{"as many as there must be", minimum(2), "a: 1, b: 2, c: 3", "a: 1, b: 2", "a: 1, b: 2", ""},
		{"an unusable one is not counted", minimum(2), "a: 1, b: 2", "a: 1 5, b: none", "a: 1, b: 2", "min_services: "},
		{"no minimum", minimum(0), "a: 1 2", "", "", ""},
		{"no minimum, but too many", minimum(0), "a: 1 2 3 4", "", "a: 1 2 3 4", "max_removal: a 1, a 2, a 3, a 4"},

		{"half of four", nil, "a: 1 2 3 4", "a: 1 2", "a: 1 2", ""},
		{"more than half of four", nil, "a: 1 2 3 4", "a: 1", "a: 1 2 3 4", "max_removal: a 2, a 3, a 4"},
		{"two of three: four are too few to count", nil, "a: 1 2 3", "a: 1", "a: 1", ""},
		{"what is new goes through", nil, "a: 1 2 3 4", "a: 5", "a: 1 2 3 4 5", "max_removal: a 1, a 2, a 3, a 4"},
		{"over several upstreams", nil, "a: 1 2 3, b: 4", "b: 4 5", "a: 1 2 3, b: 4 5", "max_removal: a 1, a 2, a 3"},
		{"a service that is new as well", nil, "a: 1 2 3, b: 4", "b: 4, c: 6", "a: 1 2 3, b: 4, c: 6", "max_removal: a 1, a 2, a 3"},
		{"a name in another case is another service", nil, "Web: 1 2 3 4", "web: 5", "Web: 1 2 3 4", "max_removal: Web 1, Web 2, Web 3, Web 4"},
		{"a name in another case, sharing an address", nil, "Web: 1 2 3 4", "web: 1 5", "Web: 1 2 3 4", "max_removal: Web 2, Web 3, Web 4"},
		{"another service keeps nobody's servers", nil, "Web: 1, b: 2", "web: none, b: 2", "b: 2", ""},
		{"down servers are not counted", nil, "a: 1 down, b: 2 3 4", "b: 2", "b: 2", ""},
		{"down, and too many", down, "a: 1 2 3, b: 4", "b: 4", "a: 1 2 3, b: 4", "max_removal: a 1, a 2, a 3"},
		{"down counts as removed", func(c *GuardConfig) { down(c); share(0.2)(c) }, "a: 1, b: 2 3 4", "b: 2 3 4", "a: 1, b: 2 3 4", "max_removal: a 1"},
		{"none may go", share(0), "a: 1 2 3 4", "a: 1 2 3", "a: 1 2 3 4", "max_removal: a 4"},
		{"all may go", share(1), "a: 1 2 3 4", "b: 5", "b: 5", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultGuardConfig()
			if tt.change != nil {
				tt.change(&c)
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			v := c.Judge(written(tt.last), set(tt.seen), "")
			if got := line(v.Accepted); got != tt.accepted {
				t.Errorf("accepted %q, want %q", got, tt.accepted)
			}
			if got := heldLine(v.Hold); got != tt.held {
				t.Errorf("held %q, want %q", got, tt.held)
			}
		})
	}
}

// What a hold on everything keeps out is out with that reason, as what a freeze keeps out is.
func TestJudgeKeptOut(t *testing.T) {
	c := DefaultGuardConfig()
	c.MinServices = 3
	out := func(last, seen string) string {
		t.Helper()
		var all []string
		for _, o := range c.Judge(written(last), set(seen), "").Out {
			all = append(all, o.Upstream+" "+o.Addr+" "+o.Reason)
		}
		return strings.Join(all, ", ")
	}
	const why = " it is usable, and a hold on everything keeps it out"
	if got, want := out("a: 1, b: 2", "a: 1 9, c: 3"), "a 10.0.0.9:80"+why+", c 10.0.0.3:80"+why; got != want {
		t.Errorf("out is %q, want %q", got, want)
	}
	// One address, and two instances there: the reason of the one that is no good counts.
	critical := upstream.Out{Service: "a", Upstream: "a", Addr: "10.0.0.9:80", Reason: "critical"}
	both := upstream.NewSet(slices.Collect(set("a: 1 9").All()), critical)
	if v := c.Judge(written("a: 1, b: 2"), both, ""); len(v.Out) != 1 || v.Out[0] != critical {
		t.Errorf("out is %+v", v.Out)
	}
	if got := out("a: 1, b: 2", "a: 1 9, b: 2, c: 3"); got != "" {
		t.Errorf("nothing is held, and out is %q", got)
	}
	if got := out("a: 1 2 3 4, b: 5, c: 6", "a: 9, b: 5, c: 6"); got != "" {
		t.Errorf("only removals are held, and out is %q", got)
	}
}

func TestJudgeReleased(t *testing.T) {
	c := DefaultGuardConfig()
	for _, tt := range []struct{ name, last, seen, accepted, other string }{
		{"too many", "a: 1 2 3 4, b: 5", "b: 5", "b: 5", "a: 1, b: 5"},
		{"too few", "a: 1 2 3 4, b: 5", "", "", "a: none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			last, seen := written(tt.last), set(tt.seen)
			held := c.Judge(last, seen, "").Hold
			if held == nil {
				t.Fatal("nothing is held")
			}
			v := c.Judge(last, seen, held.ID)
			if v.Hold != nil || line(v.Accepted) != tt.accepted {
				t.Errorf("released: accepted %q, hold %v; want %q", line(v.Accepted), v.Hold, tt.accepted)
			}
			if v := c.Judge(last, set(tt.other), held.ID); v.Hold == nil {
				t.Errorf("the release of one change let another through: %q", line(v.Accepted))
			}
		})
	}
}

// What is added while removals are held must not make their share smaller.
func TestHoldDoesNotEndByItsOwnAdditions(t *testing.T) {
	c := DefaultGuardConfig()
	now := written("a: 1 2 3 4, b: 5")
	judge := func(seen, accepted string, base int, held bool) {
		t.Helper()
		v := c.Judge(now, set(seen), "")
		if line(v.Accepted) != accepted || v.Base != base || (v.Hold != nil) != held {
			t.Errorf("seen %q: accepted %q, base %d, hold %v; want %q, %d, %v", seen, line(v.Accepted), v.Base, v.Hold, accepted, base, held)
		}
		now = upstream.Generation{Number: now.Number + 1, Set: v.Accepted, Base: v.Base}
	}
	judge("a: 4, b: 5", "a: 1 2 3 4, b: 5", 0, true)
	judge("a: 4, b: 5 6", "a: 1 2 3 4, b: 5 6", 5, true)
	judge("a: 4, b: 5 6", "a: 1 2 3 4, b: 5 6", 5, true)
	judge("", "a: 1 2 3 4, b: 5 6", 5, true) // now the other rule
	judge("a: 4, b: 5 6 7 8 9", "a: 1 2 3 4, b: 5 6 7 8 9", 5, true)
	judge("a: 3 4, b: 5 6", "a: 1 2 3 4, b: 5 6 7 8 9", 5, true)
	judge("a: 2 3 4, b: 5 6 7 8 9", "a: 2 3 4, b: 5 6 7 8 9", 0, false) // it looks right again
	judge("a: 2 3 4, b: 5", "a: 2 3 4, b: 5", 0, false)                 // 4 of 8 may go
}

// Each time that all servers are replaced while the last ones are held, more of them would go, of all that there are.
func TestHoldCountsWhatThereIs(t *testing.T) {
	c := DefaultGuardConfig()
	now := written("a: 1 2 3 4 5 6")
	for i, want := range []string{
		"6 of 6 servers would go, max_removal allows 50%: removals are held",
		"12 of 12 servers would go, max_removal allows 50%: removals are held",
		"18 of 18 servers would go, max_removal allows 50%: removals are held",
	} {
		first := 6*(i+1) + 1
		seen := fmt.Sprintf("a: %d %d %d %d %d %d", first, first+1, first+2, first+3, first+4, first+5)
		v := c.Judge(now, set(seen), "")
		if v.Hold == nil || v.Hold.Reason != want || len(v.Hold.Removed) > v.Hold.Of {
			t.Fatalf("hold %+v, want %q", v.Hold, want)
		}
		now = upstream.Generation{Number: now.Number + 1, Set: v.Accepted, Base: v.Base}
	}
}

func TestJudgeAlways(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) upstream.Set {
		var parts []string
		for _, name := range []string{"a", "b", "c"} {
			if rapid.Bool().Draw(t, "has "+name) {
				parts = append(parts, name+": none "+strings.Trim(fmt.Sprint(rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 5, rapid.ID).Draw(t, name)), "[]"))
			}
		}
		return set(strings.Join(parts, ", "))
	})
	rapid.Check(t, func(t *rapid.T) {
		c := GuardConfig{
			MinServices: rapid.IntRange(0, 2).Draw(t, "min"),
			MaxRemoval:  rapid.SampledFrom([]float64{0, 0.25, 0.5, 1}).Draw(t, "max"),
			OnUnhealthy: rapid.SampledFrom([]string{Keep, Remove}).Draw(t, "unhealthy"),
			OnRemoved:   rapid.SampledFrom([]string{Delete, Down}).Draw(t, "removed"),
		}
		// Whatever was accepted before had a server in each upstream.
		last := c.Judge(upstream.Generation{}, draw.Draw(t, "last"), "").Accepted
		seen := draw.Draw(t, "seen")
		v := c.Judge(upstream.Generation{Set: last}, seen, "")

		for u := range v.Accepted.All() {
			if len(u.Servers) == 0 {
				t.Fatalf("upstream %s is left without a server", u.Name)
			}
		}
		if v.Hold != nil && len(v.Hold.Removed) > v.Hold.Of {
			t.Fatalf("%d of %d servers would go", len(v.Hold.Removed), v.Hold.Of)
		}
		gone, total := len(removals(last, v.Accepted)), last.Servers()
		if total >= smallest && float64(gone) > c.MaxRemoval*float64(total) {
			t.Fatalf("%d of %d servers went", gone, total)
		}
		if seen.Usable() < c.MinServices && !v.Accepted.Equal(last) {
			t.Fatalf("too few services, yet %q became %q", line(last), line(v.Accepted))
		}
		// What is held stays held however often the same is seen, and what is not is not.
		again := c.Judge(upstream.Generation{Set: v.Accepted, Base: v.Base}, seen, "")
		if !again.Accepted.Equal(v.Accepted) || (again.Hold == nil) != (v.Hold == nil) {
			t.Fatalf("judged again: %q, before %q", line(again.Accepted), line(v.Accepted))
		}
		if v.Hold == nil && seen.Usable() >= c.MinServices {
			for u := range seen.All() {
				if got, ok := v.Accepted.Get(u.Name); u.Usable() && (!ok || !slices.Equal(got.Servers, u.Servers)) {
					t.Fatalf("nothing is held, yet %s is not as it was seen", u.Name)
				}
			}
		}
	})
}

func TestGuardConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*GuardConfig)
		want   string
	}{
		{"the defaults", func(*GuardConfig) {}, ""},
		{"a negative minimum", func(c *GuardConfig) { c.MinServices = -1 }, "min_services = -1: allowed is a number from 0"},
		{"a share over 1", func(c *GuardConfig) { c.MaxRemoval = 50 }, "max_removal = 50: allowed is a share from 0 to 1"},
		{"no number", func(c *GuardConfig) { c.MaxRemoval = math.NaN() }, "max_removal = NaN: allowed is a share from 0 to 1"},
		{"unhealthy", func(c *GuardConfig) { c.OnUnhealthy = "drop" }, `on_unhealthy = "drop": allowed is "keep" or "remove"`},
		{"removed", func(c *GuardConfig) { c.OnRemoved = "remove" }, `on_removed = "remove": allowed is "delete" or "down"`},
		{"negative time", func(c *GuardConfig) { c.HoldFor = -1 }, `hold_for = "-1ns": allowed is a duration from "0s" (never) up`},
	} {
		c := DefaultGuardConfig()
		tt.change(&c)
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
