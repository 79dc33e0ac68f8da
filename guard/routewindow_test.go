package guard

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// restarts has the account written and read again.
func (c *chain) restarts() {
	c.t.Helper()
	lines := c.history.Lines()
	back, err := ReadHistory(lines, c.now, c.limits.Window)
	if err != nil || !reflect.DeepEqual(back.Lines(), lines) {
		c.t.Fatalf("%s\nbecame\n%s\n%v", strings.Join(lines, "\n"), strings.Join(back.Lines(), "\n"), err)
	}
	c.history = back
}

// TestRoutesGoOneByOne: whatever goes and comes back in whatever steps, with restarts in between, within one window never more is
// gone than may, and what is held goes with a person's word, which counts for nothing later.
func TestRoutesGoOneByOne(t *testing.T) {
	kinds := map[string]bool{}
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 5)) //nolint:gosec // it shall be the same each time
		const upstreams = 8
		has := [upstreams]bool{}
		line := func() string {
			var parts []string
			for i := range upstreams {
				part := fmt.Sprintf("s%d: %d %d", i, 2*i+1, 2*i+2)
				if has[i] {
					part += fmt.Sprintf(" /r%d", i)
				}
				parts = append(parts, part)
			}
			return strings.Join(parts, ", ")
		}
		for i := range has {
			has[i] = i > 0 // one gets its route later
		}
		c := begin(t, line())
		went := map[int]time.Time{}
		for range 40 {
			switch i := random.IntN(upstreams); random.IntN(8) {
			case 0:
				has[i] = true
			case 1:
				has = [upstreams]bool{}
			default:
				has[i] = false
			}
			before := routesOf(c, upstreams)
			c.sees(time.Duration(random.IntN(60))*time.Second, line())
			c.restarts()
			for _, l := range c.history.Lines() {
				kind, _, _ := strings.Cut(l, " ")
				kinds[kind] = true
			}
			n := 0
			for i, is := range routesOf(c, upstreams) {
				switch {
				case is:
					delete(went, i)
				case before[i]:
					went[i] = c.now
				}
				if at, gone := went[i]; gone && c.now.Sub(at) < c.limits.Window {
					n++
				}
			}
			if n > upstreams/2 {
				t.Fatalf("seed %d: within one window %d of %d lost their routes", seed, n, upstreams)
			}
		}
	}
	for _, kind := range []string{lineRoutes, lineRouteGone, lineRouteMissing, lineRouteBack, lineRouteSpare} {
		if !kinds[kind] {
			t.Errorf("no line %q was written", kind)
		}
	}
}

// routesOf tells which upstreams have their routes.
func routesOf(c *chain, n int) []bool {
	has := make([]bool, n)
	for i := range has {
		u, _ := c.accepted.Get(fmt.Sprintf("s%d", i))
		has[i] = len(u.Routes) > 0
	}
	return has
}

// TestARouteThatAPersonLetsGo: it goes, and counts for nothing afterwards.
func TestARouteThatAPersonLetsGo(t *testing.T) {
	c := begin(t, "a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d")
	c.sees(time.Second, "a: 1 2, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d")
	c.sees(time.Second, "a: 1 2, b: 3 4, c: 5 6 /c, d: 7 8 /d")
	d := c.sees(time.Second, "a: 1 2, b: 3 4, c: 5 6, d: 7 8 /d")
	if got := brief(d.Holds); got != "max_removal_window: c /c" {
		t.Fatalf("held %q", got)
	}
	if want := "within 10m 8 servers would have lost 6, or the routes to them, max_removal_window is 50%: c /c"; d.Holds[0].Reason.String() != want {
		t.Errorf("it says %q", d.Holds[0].Reason)
	}
	c.restarts()
	id := d.Holds[0].ID
	d = c.sees(time.Second, "a: 1 2, b: 3 4, c: 5 6, d: 7 8 /d", func(in *Input) { in.Approved = id })
	if len(d.Holds) > 0 || !d.Approved() || line(d.Accepted) != "a: 1 2, b: 3 4, c: 5 6, d: 7 8 /d" {
		t.Errorf("held %q, accepted %s", brief(d.Holds), line(d.Accepted))
	}
	if slices.ContainsFunc(d.History.Lines(), func(l string) bool { return strings.HasSuffix(l, " /c") }) {
		t.Errorf("what a person let go counts:\n%s", strings.Join(d.History.Lines(), "\n"))
	}
}
