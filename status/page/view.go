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
	shownHeld      = 200
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
	Holds        []hold
	Upstreams    []card
	Matched      int
	Listed       int // matched or not
	Query, State string
	States       []string
	All          bool
	Events       []status.Event
	History      []status.Generation
	HistoryError string
	From, To     int
	Diff         *status.Changes
	DiffError    string
}

// verdict is the one sentence on top. The script has the same rules.
type verdict struct {
	Level string // ok, warn or bad
	Text  string
}

// hold is a hold with its servers by upstream.
type hold struct {
	status.Hold
	Groups []group
	More   int // servers beyond those shown
}

// card is an upstream with the reasons of those servers that do not simply serve.
type card struct {
	status.Upstream
	Serving int
	Reasons []group
}

// group is servers that have something in common: an upstream, or a state and its reason.
type group struct {
	Name, State, Reason string
	Addrs               []string
}

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
	for _, held := range now.Holds {
		v.Holds = append(v.Holds, groupHold(held))
	}
	most := shownUpstreams
	if v.All {
		most = math.MaxInt
	}
	v.Upstreams, v.Matched, v.Listed = cards(h.daemon.Upstreams(), filter{v.Query, v.State, h.saying(language)}, most)
	v.Events = h.daemon.Timeline(shownEvents)
	slices.Reverse(v.Events)
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

func (h *handler) verdict(language string, now status.Status) verdict {
	show := 0
	for _, gateway := range now.Gateways {
		if gateway.InSync {
			show++
		}
	}
	held := 0
	for _, hold := range now.Holds {
		held += len(hold.Servers)
	}
	level, key := "ok", "verdict.in_step"
	args := []any{"n", len(now.Gateways), "m", show, "g", now.Generation.Number}
	switch {
	case now.FileError != "":
		level, key = "bad", "verdict.not_written"
	case !now.InSync:
		level, key = "bad", "verdict.not_in_step"
	case held > 0:
		level, key, args = "warn", "verdict.held", []any{"n", held, "all", now.Holds[0].Of}
	case len(now.Holds) > 0:
		level, key = "warn", "verdict.held_other"
	case !now.Ready:
		level, key = "warn", "verdict.not_ready"
	case len(now.Freezes) > 0:
		level, key = "warn", "verdict.frozen"
	}
	text, err := h.texts.text(language, key, args...)
	if err != nil {
		text = err.Error()
	}
	return verdict{Level: level, Text: text}
}

func groupHold(held status.Hold) hold {
	shown := held.Servers[:min(len(held.Servers), shownHeld)]
	h := hold{Hold: held, More: len(held.Servers) - len(shown)}
	for _, server := range shown {
		i := slices.IndexFunc(h.Groups, func(g group) bool { return g.Name == server.Upstream })
		if i < 0 {
			i = len(h.Groups)
			h.Groups = append(h.Groups, group{Name: server.Upstream})
		}
		h.Groups[i].Addrs = append(h.Groups[i].Addrs, server.Addr)
	}
	return h
}

// filter is which upstreams are looked for: by a text, which may be one of the page's language, and
// by the state of a server.
type filter struct {
	query, state string
	said         func(string) string
}

// cards are the first of the upstreams that match, those with trouble before the others, and how
// many match and there are.
func cards(upstreams iter.Seq[status.Upstream], f filter, most int) (shown []card, matched, listed int) {
	f.query = strings.ToLower(strings.TrimSpace(f.query))
	var troubled, others []card
	for upstream := range upstreams {
		listed++
		if !f.matches(upstream) {
			continue
		}
		matched++
		switch c := newCard(upstream); {
		case len(c.Reasons) > 0 && len(troubled) < most:
			troubled = append(troubled, c)
		case len(c.Reasons) == 0 && len(others) < most:
			others = append(others, c)
		}
	}
	shown = append(troubled, others...)
	return shown[:min(len(shown), most)], matched, listed
}

func newCard(upstream status.Upstream) card {
	c := card{Upstream: upstream}
	for _, server := range upstream.Servers {
		if server.State == status.In || server.State == status.Frozen || server.State == status.Held {
			c.Serving++
		}
		if server.State == status.In || server.State == status.Frozen {
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
