package page

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// What is shown until more is requested. The script shows as much at first.
const (
	shownUpstreams = 100
	shownEvents    = 12
	readEvents     = 500 // before equal ones are merged into rows
	shownUnserved  = 20
	shownHeld      = 12 // upstreams per hold
	shownAlike     = 6  // addresses per row
	shownMoves     = 3  // upstreams per change
	shownCauses    = 2  // reasons per change
	manyUpstreams  = 50 // from which the table is the default view
	shownNames     = 3
)

// views and sorts are how the upstreams can be shown. A sort with a leading "-" is reversed.
var (
	views = []string{"cards", "table"}
	sorts = []string{"trouble", "name", "health", "since"}
)

// states of a server, in the order of the filter.
var states = []string{status.In, status.Down, status.Held, status.Frozen, status.Out}

// view is the data for the template.
type view struct {
	Lang, Tag    string
	Texts        map[string]string
	Status       status.Status
	Verdict      verdict
	Wrong        []wrong // troubles in the status
	Unserved     []status.Unserved
	UnservedMore int // upstreams without a healthy server beyond those shown
	Holds        []hold
	Upstreams    []card
	Matched      int
	Listed       int // whether matched or not
	Query, State string
	States       []string
	View, Sort   string // of the upstreams
	Views, Sorts []string
	All          bool
	Events       []change
	History      []status.Generation
	HistoryError string
	From, To     int
	Diff         *status.Changes
	DiffError    string
}

// verdict is the sentence at the top.
type verdict struct {
	Level string // ok, warn or bad
	Text  string
}

// group is a set of servers with something in common: an upstream, or a state and its reason.
type group struct {
	Name, State string
	Reason      reason.Reason
	Addrs       []string
}

// First returns the first few addresses.
func (g group) First() []string { return g.Addrs[:min(len(g.Addrs), shownAlike)] }

// Rest returns the addresses after the first few.
func (g group) Rest() []string { return g.Addrs[len(g.First()):] }

func (h *handler) view(language string, query url.Values) view {
	now := h.daemon.Status()
	v := view{
		Lang: language, Tag: htmlLanguage(language), Texts: h.texts.in(language), Status: now,
		Verdict: h.verdict(language, now), States: states, Views: views, Sorts: sorts,
		Query: query.Get("q"), State: query.Get("state"), View: query.Get("view"), Sort: query.Get("sort"), All: query.Get("all") == "1",
	}
	if !slices.Contains(sorts, strings.TrimPrefix(v.Sort, "-")) {
		v.Sort = sorts[0]
	}
	for _, why := range now.Reasons {
		v.Wrong = append(v.Wrong, plainly(why.In(language), language, now))
	}
	v.Unserved = now.Unserved[:min(len(now.Unserved), shownUnserved)]
	v.UnservedMore = len(now.Unserved) - len(v.Unserved)
	for _, held := range now.Holds {
		v.Holds = append(v.Holds, showHold(held))
	}
	most := shownUpstreams
	if v.All {
		most = math.MaxInt
	}
	v.Upstreams, v.Matched, v.Listed = cards(h.daemon.Upstreams(), filter{v.Query, v.State, language}, v.Sort, most)
	if !slices.Contains(views, v.View) {
		v.View = views[0]
		if v.Listed > manyUpstreams {
			v.View = views[1]
		}
	}
	v.Events = h.changes(language, h.daemon.Timeline(readEvents), shownEvents)
	h.history(&v, query)
	return v
}

// history fills in the kept generations, and the requested diff.
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

// verdict words the daemon's state: see status.Judge.
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

// names returns the first few names and the number of others.
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
