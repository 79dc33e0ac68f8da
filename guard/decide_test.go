package guard

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// set reads a set from a line such as "a: 1 2, b: 3 down, c: none, d: 4 !5": each number is a server,
// 10.0.0.N:80, and one with a ! is registered and not usable.
func set(line string) upstream.Set {
	var list []upstream.Upstream
	var out []upstream.Out
	for part := range strings.SplitSeq(line, ",") {
		name, servers, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found {
			continue
		}
		u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
		for _, word := range strings.Fields(servers) {
			switch critical, unusable := strings.CutPrefix(word, "!"); {
			case unusable:
				out = append(out, upstream.Out{Service: name, Upstream: name, Addr: addr(critical).String(), Reason: reason.Text("critical"), Unhealthy: true})
			case strings.HasPrefix(word, "/"):
				u.Routes = append(u.Routes, route.Route{Path: word, Origin: "r"})
			case strings.HasPrefix(word, "="): // of the configuration
				u.Routes = append(u.Routes, route.Route{Path: word[1:]})
			case word == "none":
			case word == "down":
				u.Servers[len(u.Servers)-1].Down = true
			default:
				u.Servers = append(u.Servers, server(addr(word)))
			}
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, out...)
}

// brief says what is held by which rule as the cases do.
func brief(holds []Hold) string {
	var all []string
	for _, h := range holds {
		var parts []string
		last := ""
		for _, list := range []struct {
			ids  []ServerID
			mark string
		}{{h.Removed, ""}, {h.KeptOut, "+"}} {
			for _, id := range list.ids {
				if id.Upstream != last {
					parts, last = append(parts, id.Upstream), id.Upstream
				}
				parts[len(parts)-1] += " " + list.mark + number(id.Addr)
			}
		}
		for _, id := range h.Routes {
			where, _, _ := strings.Cut(id.Route, " ")
			parts = append(parts, id.Upstream+" "+where)
		}
		all = append(all, h.Rule+": "+strings.Join(parts, ", "))
	}
	return strings.Join(all, "; ")
}

func addr(number string) netip.AddrPort { return netip.MustParseAddrPort("10.0.0." + number + ":80") }

func server(a netip.AddrPort) upstream.Server {
	return upstream.Server{Addr: a, Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "r"}
}

// line is the inverse of set.
func line(s upstream.Set) string {
	var parts []string
	for u := range s.All() {
		words := []string{u.Name + ":"}
		for _, srv := range u.Servers {
			words = append(words, number(srv.Addr))
			if srv.Down {
				words = append(words, "down")
			}
		}
		for _, r := range u.Routes {
			if r.Origin == "" {
				words = append(words, "="+r.Path)
			} else {
				words = append(words, r.Path)
			}
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return strings.Join(parts, ", ")
}

func number(a netip.AddrPort) string { return fmt.Sprint(a.Addr().As4()[3]) }

// heldLine says what is held, by which rule.
func heldLine(holds []Hold) string {
	var all []string
	for _, h := range holds {
		var parts []string
		for _, id := range h.Removed {
			parts = append(parts, id.Upstream+" "+number(id.Addr))
		}
		for _, id := range h.KeptOut {
			parts = append(parts, id.Upstream+" +"+number(id.Addr))
		}
		all = append(all, h.Rule+": "+strings.Join(parts, ", "))
	}
	return strings.Join(all, "; ")
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	unhealthy := func(c *Config) { c.OnUnhealthy = Remove }
	down := func(c *Config) { c.OnRemoved = Down }
	minimum := func(n int) func(*Config) { return func(c *Config) { c.MinServices = n } }
	share := func(f float64) func(*Config) { return func(c *Config) { c.MaxRemoval, c.MaxRemovalWindow = f, f } }

	for _, tt := range []struct {
		name     string
		change   func(*Config)
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
		{"unusable, remove: not down, which is for the deregistered", func(c *Config) { unhealthy(c); down(c) }, "a: 1, b: 3", "a: none, b: 3", "b: 3", ""},
		{"some are unusable", nil, "a: 1 2 3", "a: 2", "a: 2", ""},

		{"deregistered", nil, "a: 1, b: 2", "b: 2", "b: 2", ""},
		{"deregistered, down", down, "a: 1 9, b: 2 3", "b: 2 3", "a: 1 down, b: 2 3", ""},
		{"deregistered, down: the last ones", down, "a: 2 3, b: 1, c: 4", "a: 2 3", "a: 2 3, b: 1 down, c: 4 down", ""},
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
		{"down counts as removed", func(c *Config) { down(c); share(0.2)(c) }, "a: 1, b: 2 3 4", "b: 2 3 4", "a: 1, b: 2 3 4", "max_removal: a 1"},
		{"none may go", share(0), "a: 1 2 3 4", "a: 1 2 3", "a: 1 2 3 4", "max_removal: a 4"},
		{"all may go", share(1), "a: 1 2 3 4", "b: 5", "b: 5", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			if tt.change != nil {
				tt.change(&c)
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			d := c.Decide(Input{Accepted: set(tt.last), Seen: set(tt.seen), Now: noon})
			if got := line(d.Accepted); got != tt.accepted {
				t.Errorf("accepted %q, want %q", got, tt.accepted)
			}
			if got := heldLine(d.Holds); got != tt.held {
				t.Errorf("held %q, want %q", got, tt.held)
			}
		})
	}
}

// chain has the guard decide one thing after the other, each on what the one before led to.
type chain struct {
	t        *testing.T
	limits   Config
	accepted upstream.Set
	history  History
	now      time.Time
}

func begin(t *testing.T, last string) *chain {
	return &chain{t: t, limits: DefaultConfig(), accepted: set(last), now: noon}
}

// sees lets time go by and a registry list something.
func (c *chain) sees(after time.Duration, seen string, change ...func(*Input)) Decision {
	c.now = c.now.Add(after)
	listed, _ := new(upstream.Router).Apply(set(seen), c.accepted, nil)
	in := Input{Accepted: c.accepted, Seen: listed, History: c.history, Now: c.now}
	for _, f := range change {
		f(&in)
	}
	d := c.limits.Decide(in)
	d.Accepted, _ = new(upstream.Router).Apply(d.Accepted, c.accepted, nil)
	c.accepted, c.history = d.Accepted, d.History
	return d
}

func (c *chain) wants(d Decision, accepted, held string) {
	c.t.Helper()
	if got := line(d.Accepted); got != accepted {
		c.t.Errorf("accepted %q, want %q", got, accepted)
	}
	if got := heldLine(d.Holds); got != held {
		c.t.Errorf("held %q, want %q", got, held)
	}
}

// Each time that all servers are replaced while the last ones are held, more of them would go, of all that there are.
func TestHoldCountsWhatThereIs(t *testing.T) {
	c := begin(t, "a: 1 2 3 4 5 6")
	for i, want := range []string{
		"6 of 6 servers would go, max_removal allows 50%: removals are held",
		"12 of 12 servers would go, max_removal allows 50%: removals are held",
		"18 of 18 servers would go, max_removal allows 50%: removals are held",
	} {
		first := 6*(i+1) + 1
		d := c.sees(time.Second, fmt.Sprintf("a: %d %d %d %d %d %d", first, first+1, first+2, first+3, first+4, first+5))
		if len(d.Holds) != 1 || d.Holds[0].Reason.String() != want || len(d.Holds[0].Removed) > d.Holds[0].Of {
			t.Fatalf("held %+v, want %q", d.Holds, want)
		}
	}
}
