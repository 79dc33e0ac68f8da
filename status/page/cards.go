package page

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// card is an upstream with the reasons of its servers that do not simply serve. A row of the table shows the same.
type card struct {
	status.Upstream
	Serving int
	Simple  []status.Server
	Reasons []group
	Bar     []segment
	Since   time.Time // of the first server that does not simply serve; zero if none or unknown
}

// segment is a part of an upstream's health bar: servers in one state.
type segment struct {
	State    string
	X, Width float64
}

// barWidth is the width of a whole bar. The script has the same value.
const barWidth = 80

// Top returns the most common reason of servers that do not simply serve.
func (c card) Top() *group {
	if len(c.Reasons) == 0 {
		return nil
	}
	top := &c.Reasons[0]
	for i := range c.Reasons {
		if g := &c.Reasons[i]; len(g.Addrs) > len(top.Addrs) {
			top = g
		}
	}
	return top
}

// Others is how many reasons there are beside the top one.
func (c card) Others() int { return max(0, len(c.Reasons)-1) }

// filter selects upstreams by a text, in English or the page's language, and by the state of a server.
type filter struct {
	query, state, language string
}

// cards returns the first matching upstreams in the requested order, the number of matches, and the total.
func cards(upstreams iter.Seq[status.Upstream], f filter, by string, most int) (shown []card, matched, listed int) {
	f.query = strings.ToLower(strings.TrimSpace(f.query))
	for upstream := range upstreams {
		listed++
		if !f.matches(upstream) {
			continue
		}
		matched++
		shown = append(shown, newCard(upstream))
		if most < math.MaxInt/2 && len(shown) >= 2*most { // drop what won't be shown
			shown = first(shown, by, most)
		}
	}
	return first(shown, by, most), matched, listed
}

// first returns the first most cards in the order of by.
func first(all []card, by string, most int) []card {
	compare := orders[strings.TrimPrefix(by, "-")]
	slices.SortStableFunc(all, func(a, b card) int {
		if strings.HasPrefix(by, "-") {
			a, b = b, a
		}
		return compare(a, b)
	})
	return all[:min(len(all), most)]
}

// orders has a comparison for each of sorts: by trouble, worst first; by health, smallest share in traffic first; by
// since, latest change first.
var orders = map[string]func(a, b card) int{
	"trouble": byTrouble,
	"name":    func(a, b card) int { return strings.Compare(a.Name, b.Name) },
	"health": func(a, b card) int {
		return cmp.Or(cmp.Compare(a.Serving*len(b.Servers), b.Serving*len(a.Servers)), byTrouble(a, b))
	},
	"since": func(a, b card) int { return cmp.Or(b.Since.Compare(a.Since), byTrouble(a, b)) },
}

func byTrouble(a, b card) int { return status.CompareTrouble(a.Upstream, b.Upstream) }

func newCard(upstream status.Upstream) card {
	c := card{Upstream: upstream}
	counts := map[string]int{}
	for _, server := range upstream.Servers {
		counts[server.State]++
		if server.State == status.In || server.State == status.Frozen {
			c.Simple = append(c.Simple, server)
			continue
		}
		if !server.Since.IsZero() && (c.Since.IsZero() || server.Since.Before(c.Since)) {
			c.Since = server.Since
		}
		i := slices.IndexFunc(c.Reasons, func(g group) bool {
			return g.State == server.State && g.Reason == server.Reason
		})
		if i < 0 {
			i = len(c.Reasons)
			c.Reasons = append(c.Reasons, group{State: server.State, Reason: server.Reason})
		}
		c.Reasons[i].Addrs = append(c.Reasons[i].Addrs, server.Addr)
	}
	c.Serving = counts[status.In] + counts[status.Frozen] + counts[status.Held]
	x := 0.0
	for _, state := range []string{status.In, status.Frozen, status.Held, status.Down, status.Out} {
		if width := barWidth * float64(counts[state]) / float64(max(1, len(upstream.Servers))); width > 0 {
			c.Bar = append(c.Bar, segment{state, x, width})
			x += width
		}
	}
	return c
}

// finds reports whether the search matches a server. It ignores the reasons of servers that simply serve, as those are
// the same everywhere.
func (f filter) finds(s status.Server) bool {
	text := s.Addr
	if s.State != status.In {
		text += " " + s.Reason.String() + " " + s.Reason.In(f.language)
	}
	return strings.Contains(strings.ToLower(text), f.query)
}

func (f filter) matches(upstream status.Upstream) bool {
	if slices.Contains(states, f.state) && !slices.ContainsFunc(upstream.Servers,
		func(s status.Server) bool { return s.State == f.state }) {
		return false
	}
	return strings.Contains(strings.ToLower(upstream.Name), f.query) || slices.ContainsFunc(upstream.Servers, f.finds) ||
		slices.ContainsFunc(upstream.Routes, f.findsRoute)
}

// findsRoute reports whether the search matches a route.
func (f filter) findsRoute(r status.Route) bool {
	text := cmp.Or(r.Text, r.Route)
	if r.State != status.In {
		text += " " + r.Reason.String() + " " + r.Reason.In(f.language)
	}
	return strings.Contains(strings.ToLower(text), f.query)
}

// hold is a hold with its servers by upstream.
type hold struct {
	status.Hold
	Gone, Unusable int
	Groups         []group
	First, More    []status.Effect // the first of Effects, and the rest
	Emptied        int             // upstreams that would be left without a server
}

func showHold(held status.Hold) hold {
	h := hold{Hold: held}
	h.Gone, h.Unusable = status.CountHeld(held)
	at := map[string]int{}
	for _, server := range held.Servers {
		i, there := at[server.Upstream]
		if !there {
			i = len(h.Groups)
			at[server.Upstream] = i
			h.Groups = append(h.Groups, group{Name: server.Upstream, State: status.Held})
		}
		h.Groups[i].Addrs = append(h.Groups[i].Addrs, server.Addr)
	}
	n := min(len(held.Effects), shownHeld)
	h.First, h.More = held.Effects[:n], held.Effects[n:]
	for _, e := range held.Effects {
		if e.To == 0 {
			h.Emptied++
		}
	}
	return h
}

// All reports whether all servers have this cause.
func (h hold) All(c status.Cause) bool { return c.Servers == len(h.Servers) }

// NamesNode reports whether the node is known and not already part of the reason.
func (h hold) NamesNode(c status.Cause) bool {
	return c.Node != "" && !strings.Contains(c.Reason.String(), c.Node)
}

// wrong is an error: Plain in plain words, and Whole as it is, if that differs.
type wrong struct{ Plain, Whole string }

// plainly replaces error texts of gateways, registries and the conf file by plain words where possible.
func plainly(text, language string, s status.Status) wrong {
	w := wrong{Plain: text, Whole: text}
	replace := func(said string, means reason.Reason) {
		if said != "" && !means.IsZero() {
			w.Plain = strings.ReplaceAll(w.Plain, said, means.In(language))
		}
	}
	replace(s.FileError, s.FilePlain)
	for _, r := range s.Registries {
		replace(r.Trouble, r.Plain)
	}
	for _, g := range s.Gateways {
		replace(g.Error, g.Plain)
	}
	return w
}
