package guard

import (
	"slices"
	"strings"

	"swallowkeeper/internal/setting"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// A route that goes, or moves to another upstream, takes all traffic that the upstream's servers got through it. So
// it counts for max_removal and max_removal_window like all those servers. A route in the configuration does not
// count, because an operator removed it; nor does a route whose options change.
//
// If other routes of the upstream replace those that go, as after a deploy, the old ones go once that has lasted for
// the recovery time, and they do not count for the window. Otherwise an operator must decide. A held route that is
// still missing while others have come back goes once none has come back for the recovery time.

// RouteID identifies a route of an upstream.
type RouteID struct{ Upstream, Route string }

// loser is an upstream that would lose routes in a step.
type loser struct {
	c        *change
	u        upstream.Upstream // the upstream after the step
	lost     []route.Route
	replaced bool // as many other routes replace them
}

// routed applies the limits on removals to routes. Held routes stay next to new ones.
func (s *step) routed(next upstream.Set) upstream.Set {
	losers := s.losers(next)
	if len(losers) == 0 || s.in < smallest {
		return next
	}
	for _, rule := range []func([]loser, upstream.Set) (Hold, []loser){s.routesAtOnce, s.routesInWindow, s.routesMissing} {
		losers = slices.DeleteFunc(slices.Clone(losers), func(l loser) bool { // without those that an earlier rule has judged
			return slices.ContainsFunc(idsOf([]loser{l}), func(id RouteID) bool { return s.released[id] || !s.unrouted[id].IsZero() })
		})
		h, of := rule(losers, next)
		if len(of) == 0 {
			continue
		}
		h.Of, h.Routes = s.in, idsOf(of)
		s.hold(h, nil, everything)
		if n := len(s.d.Holds); n == 0 || s.d.Holds[n-1].ID != h.ID { // the hold is released: they are no loss
			s.letThrough(h.Routes)
		} else {
			put := make([]upstream.Upstream, 0, len(of))
			for _, l := range of {
				u, _ := next.Get(l.u.Name)
				u.Routes = withRoutes(l.lost, u.Routes)
				put = append(put, u)
			}
			next = next.With(put, nil)
			for _, id := range h.Routes {
				s.unrouted[id] = s.sinceMissing(id)
			}
		}
	}
	return next
}

// letThrough records routes that go although a rule would hold them. They do not count as lost.
func (s *step) letThrough(ids []RouteID) {
	for _, id := range ids {
		s.released[id] = true
	}
}

func idsOf(losers []loser) []RouteID {
	var ids []RouteID
	for _, l := range losers {
		for _, r := range l.lost {
			ids = append(ids, RouteID{l.u.Name, r.Text()})
		}
	}
	return ids
}

// routesAtOnce applies MaxRemoval. The servers that the step removes count as well.
func (s *step) routesAtOnce(losers []loser, _ upstream.Set) (Hold, []loser) {
	if len(losers) == 0 {
		return Hold{}, nil
	}
	n, replaced := 0, true
	for _, l := range losers {
		n += l.c.in
		replaced = replaced && l.replaced
	}
	for _, c := range s.changes {
		if !slices.ContainsFunc(losers, func(l loser) bool { return l.c == c }) {
			n += len(c.gone)
		}
	}
	if !over(n, s.MaxRemoval, s.in) {
		return Hold{}, nil
	}
	ids := idsOf(losers)
	id := identify(RuleMaxRemoval, ids, "replaced")
	if _, known := s.h.holds[id]; known { // the replacements are already written
		replaced = true
	}
	h := Hold{ID: id, Rule: RuleMaxRemoval, Reason: overRoutes.With(n, s.in, percent(s.MaxRemoval), inWords(ids))}
	if !replaced {
		h.ID = identify(RuleMaxRemoval, ids)
		return h, losers
	}
	since, known := s.h.holds[h.ID]
	if !known {
		since = s.Now
	}
	end := since.Add(s.Recovery)
	if !s.Now.Before(end) {
		s.letThrough(ids)
		return Hold{}, nil
	}
	s.wake(end)
	h.Reason = overRoutesReplaced.With(h.Reason, setting.FormatDuration(s.Recovery))
	return h, losers
}

// losers returns the upstreams that stay but lose some of their routes.
func (s *step) losers(next upstream.Set) []loser {
	var ordered []route.Route // routes that the configuration now has
	for _, c := range s.changes {
		for _, r := range c.next.Routes {
			if r.Origin == "" {
				ordered = append(ordered, r)
			}
		}
	}
	var all []loser
	for _, c := range s.changes {
		u, there := next.Get(c.name())
		if len(c.old.Routes) == 0 || !there || !SameService(c.old, u) {
			continue
		}
		l := loser{c: c, u: u}
		for _, r := range c.old.Routes {
			if r.Origin != "" && !slices.ContainsFunc(u.Routes, r.Contends) && !slices.ContainsFunc(ordered, r.Excludes) {
				l.lost = append(l.lost, r)
			}
		}
		came := 0
		for _, r := range u.Routes {
			if !slices.ContainsFunc(c.old.Routes, r.Contends) {
				came++
			}
		}
		if l.replaced = came >= len(l.lost); len(l.lost) > 0 {
			all = append(all, l)
		}
	}
	return all
}

// withRoutes returns stay plus those of others that do not conflict with it.
func withRoutes(stay, others []route.Route) []route.Route {
	all := slices.Clone(stay)
	for _, r := range others {
		if !slices.ContainsFunc(stay, r.Excludes) {
			all = append(all, r)
		}
	}
	return all
}

// withKnownRoutes returns an upstream without usable instances, with its previous routes if the registry reports
// none: the routes are unknown then, not gone.
func withKnownRoutes(u, old upstream.Upstream) upstream.Upstream {
	var registered []route.Route
	for _, r := range old.Routes {
		if r.Origin != "" {
			registered = append(registered, r)
		}
	}
	if !slices.ContainsFunc(u.Routes, func(r route.Route) bool { return r.Origin != "" }) {
		u.Routes = withRoutes(u.Routes, registered)
	}
	return u
}

// inWords formats the first few routes.
func inWords(ids []RouteID) string {
	const most = 3
	var all []string
	for i, id := range ids {
		if i == most {
			all = append(all, "…")
			break
		}
		where, _, _ := strings.Cut(id.Route, " ")
		all = append(all, id.Upstream+" "+where)
	}
	return strings.Join(all, ", ")
}
