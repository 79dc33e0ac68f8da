package page

import (
	"iter"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/status"
)

// What one load shows without being asked for more. The script shows as many at first.
const (
	shownUpstreams = 100
	shownEvents    = 12
	readEvents     = 500 // of which alike ones become one row
	shownHeld      = 20  // upstreams of a hold
	shownAlike     = 6   // addresses of a row
	shownNames     = 3
)

// states are those of a server, in the order of the filter.
var states = []string{status.In, status.Down, status.Held, status.Frozen, status.Out}

// view is what the template shows.
type view struct {
	Lang, Tag    string
	Texts        map[string]string
	Phrases      phrases // nil in the language that the daemon speaks
	Status       status.Status
	Verdict      verdict
	Unserved     []status.Unserved
	UnservedMore int // upstreams without a healthy server beyond those shown
	Holds        []hold
	Upstreams    []card
	Matched      int
	Listed       int // matched or not
	Query, State string
	States       []string
	All          bool
	Events       []happening
	History      []status.Generation
	HistoryError string
	From, To     int
	Diff         *status.Changes
	DiffError    string
}

// verdict is the one sentence on top.
type verdict struct {
	Level string // ok, warn or bad
	Text  string
}

// hold is a hold with its servers by upstream.
type hold struct {
	status.Hold
	Gone, Unusable int
	Groups         []group
	More           []group // those beyond what is shown at first, of so many servers
	MoreServers    int
}

// card is an upstream with the reasons of those servers that do not simply serve.
type card struct {
	status.Upstream
	Serving int
	Simple  []status.Server
	Reasons []group
}

// happening is an event with those of other servers that are alike.
type happening struct {
	status.Event
	Alike []status.Event
}

// happenings are the newest first, of one upstream's servers to which the same happened at once one row.
// The script has the same rules.
func happenings(events []status.Event, most int) []happening {
	var rows []happening
	for _, e := range slices.Backward(events) {
		if n := len(rows); n > 0 && alike(rows[n-1].Event, e) {
			rows[n-1].Alike = append(rows[n-1].Alike, e)
			continue
		}
		if len(rows) == most {
			break
		}
		rows = append(rows, happening{Event: e})
	}
	return rows
}

func alike(a, b status.Event) bool {
	return a.Addr != "" && b.Addr != "" && a.Kind == b.Kind && a.Upstream == b.Upstream && a.Generation == b.Generation &&
		strings.TrimPrefix(a.Text, a.Addr) == strings.TrimPrefix(b.Text, b.Addr)
}

// group is servers that have something in common: an upstream, or a state and its reason.
type group struct {
	Name, State, Reason string
	Addrs               []string
}

// First are a few of the addresses, and Rest the others.
func (g group) First() []string { return g.Addrs[:min(len(g.Addrs), shownAlike)] }

// Rest are those beyond the first.
func (g group) Rest() []string { return g.Addrs[len(g.First()):] }

func (h *handler) view(language string, query url.Values) view {
	now := h.daemon.Status()
	v := view{
		Lang: language, Tag: htmlLanguage(language), Texts: h.texts.in(language), Status: now,
		Verdict: h.verdict(language, now), States: states,
		Query: query.Get("q"), State: query.Get("state"), All: query.Get("all") == "1",
	}
	if language != english {
		v.Phrases = h.said()
	}
	v.Unserved = now.Unserved[:min(len(now.Unserved), shownHeld)]
	v.UnservedMore = len(now.Unserved) - len(v.Unserved)
	for _, held := range now.Holds {
		v.Holds = append(v.Holds, groupHold(held))
	}
	most := shownUpstreams
	if v.All {
		most = math.MaxInt
	}
	v.Upstreams, v.Matched, v.Listed = cards(h.daemon.Upstreams(), filter{v.Query, v.State, h.saying(language)}, most)
	v.Events = happenings(h.daemon.Timeline(readEvents), shownEvents)
	h.history(&v, query)
	return v
}

// history fills in the generations that are kept, and the difference that was asked for.
func (h *handler) history(v *view, query url.Values) {
	var err error
	if v.History, err = h.daemon.History(); err != nil {
		v.HistoryError = err.Error()
		return
	}
	if len(v.History) > 1 {
		v.From, v.To = v.History[1].Number, v.History[0].Number
	}
	from, errFrom := strconv.Atoi(query.Get("from"))
	to, errTo := strconv.Atoi(query.Get("to"))
	if errFrom != nil || errTo != nil {
		return
	}
	v.From, v.To = from, to
	changes, err := h.daemon.Diff(from, to)
	if err != nil {
		v.DiffError = err.Error()
		return
	}
	v.Diff = &changes
}

// verdict words what the daemon says: see status.Judge.
func (h *handler) verdict(language string, now status.Status) verdict {
	show, held := 0, 0
	for _, gateway := range now.Gateways {
		if gateway.InSync {
			show++
		}
	}
	for _, hold := range now.Holds {
		held += len(hold.Servers)
	}
	judged := status.Judge(now)
	key := "verdict." + judged.Code
	args := []any{"n", len(now.Gateways), "m", show, "g", now.Generation.Number}
	switch judged.Code {
	case status.NoHealthyServer:
		args = []any{"n", len(now.Unserved), "names", h.names(language, len(now.Unserved), func(i int) string { return now.Unserved[i].Upstream })}
	case status.ChangesHeld:
		args = []any{"n", held, "all", now.Servers}
		if held == 0 {
			key = "verdict.held_other"
		}
	case status.SomeFrozen:
		args = []any{"names", h.names(language, len(now.Freezes), func(i int) string { return now.Freezes[i].Name })}
	}
	return verdict{Level: judged.Level, Text: h.texts.must(language, key, args...)}
}

// names names a few, and says how many there are besides.
func (h *handler) names(language string, n int, name func(int) string) string {
	var names []string
	for i := range min(n, shownNames) {
		names = append(names, name(i))
	}
	if n > shownNames {
		names = append(names, h.texts.must(language, "names.more", "n", n-shownNames))
	}
	return strings.Join(names, ", ")
}

func groupHold(held status.Hold) hold {
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
	if len(h.Groups) > shownHeld {
		h.More = h.Groups[shownHeld:]
		h.Groups = h.Groups[:shownHeld]
		for _, g := range h.More {
			h.MoreServers += len(g.Addrs)
		}
	}
	return h
}

// filter is which upstreams are looked for: by a text, which may be one of the page's language, and
// by the state of a server.
type filter struct {
	query, state string
	said         func(string) string
}

// cards are the first of the upstreams that match, those with the worst trouble first, and how many match
// and there are.
func cards(upstreams iter.Seq[status.Upstream], f filter, most int) (shown []card, matched, listed int) {
	f.query = strings.ToLower(strings.TrimSpace(f.query))
	for upstream := range upstreams {
		listed++
		if !f.matches(upstream) {
			continue
		}
		matched++
		shown = append(shown, newCard(upstream))
		if most < math.MaxInt/2 && len(shown) >= 2*most { // what can't be shown is not kept
			shown = worst(shown, most)
		}
	}
	return worst(shown, most), matched, listed
}

// worst are the first so many of all.
func worst(all []card, most int) []card {
	slices.SortStableFunc(all, func(a, b card) int { return status.CompareTrouble(a.Upstream, b.Upstream) })
	return all[:min(len(all), most)]
}

func newCard(upstream status.Upstream) card {
	c := card{Upstream: upstream}
	for _, server := range upstream.Servers {
		if server.State == status.In || server.State == status.Frozen || server.State == status.Held {
			c.Serving++
		}
		if server.State == status.In || server.State == status.Frozen {
			c.Simple = append(c.Simple, server)
			continue
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
	return c
}

// finds is whether a search finds a server: why it serves as usual is the same everywhere.
func (f filter) finds(s status.Server) bool {
	text := s.Addr
	if s.State != status.In {
		text += " " + s.Reason + " " + f.said(s.Reason)
	}
	return strings.Contains(strings.ToLower(text), f.query)
}

func (f filter) matches(upstream status.Upstream) bool {
	if slices.Contains(states, f.state) && !slices.ContainsFunc(upstream.Servers,
		func(s status.Server) bool { return s.State == f.state }) {
		return false
	}
	return strings.Contains(strings.ToLower(upstream.Name), f.query) || slices.ContainsFunc(upstream.Servers, f.finds)
}
