package guard

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// routeAccount is what the guard remembers of routes.
type routeAccount struct {
	// gone is when each route went that nothing has replaced.
	gone map[RouteID]time.Time
	// spare is when each route came to an upstream that had lost none. It replaces the next one that goes.
	spare map[RouteID]time.Time
	// missing is since when each route that the guard keeps has been missing, back is when one of them last came
	// back.
	missing map[RouteID]time.Time
	back    time.Time
	// held is since when any route has been kept: until then, older losses must not be forgotten. Zero if none is.
	held time.Time
}

func (a routeAccount) clone() routeAccount {
	a.gone, a.spare, a.missing = cloned(a.gone), cloned(a.spare), cloned(a.missing)
	return a
}

// empty reports whether the account is empty.
func (a routeAccount) empty() bool {
	return len(a.gone)+len(a.spare)+len(a.missing) == 0 && a.back.IsZero() && a.held.IsZero()
}

func (id RouteID) compare(o RouteID) int {
	return cmp.Or(upstream.CompareNames(id.Upstream, o.Upstream), cmp.Compare(id.Upstream, o.Upstream), cmp.Compare(id.Route, o.Route))
}

// routesInWindow applies MaxRemovalWindow. It counts the servers of all upstreams that lost a route within the window,
// and the servers that are lost themselves.
func (s *step) routesInWindow(losers []loser, next upstream.Set) (Hold, []loser) {
	of := losers
	all := s.lossOfAll(everything)
	before, _ := s.routes(s.Accepted, nil)
	after, _ := s.routes(next, of)
	was, is := s.behind(before), s.behind(after)
	l := loss{peak: all.peak, was: was, is: is + all.is}
	if is <= was || !l.beyond(s.MaxRemovalWindow) {
		return Hold{}, nil
	}
	ids := idsOf(of)
	return Hold{
		ID: identify(RuleMaxRemovalWindow, ids), Rule: RuleMaxRemovalWindow,
		Reason: overRoutesWindow.With(setting.FormatDuration(s.Window), l.peak, l.is, percent(s.MaxRemovalWindow), inWords(ids)),
	}, of
}

// routesMissing holds routes that are missing after a loss, or that go from a registry in doubt.
func (s *step) routesMissing(losers []loser, _ upstream.Set) (Hold, []loser) {
	var of []loser
	for _, l := range losers {
		lost := slices.DeleteFunc(slices.Clone(l.lost), func(r route.Route) bool {
			id := RouteID{l.u.Name, r.Text()}
			if _, missing := s.h.routes.missing[id]; !missing && !s.doubtedRoute(r) {
				return true
			}
			end := s.sinceMissing(id)
			if end.Before(s.h.routes.back) {
				end = s.h.routes.back
			}
			end = end.Add(s.Recovery)
			s.wake(end)
			return !s.Now.Before(end)
		})
		if len(lost) > 0 {
			l.lost = lost
			of = append(of, l)
		}
	}
	if len(of) == 0 {
		return Hold{}, nil
	}
	ids := idsOf(of)
	return Hold{
		ID: identify(RuleRecovery, ids), Rule: RuleRecovery,
		Reason: routesStillMissing.With(inWords(ids), setting.FormatDuration(s.Recovery)),
	}, of
}

func (s *step) sinceMissing(id RouteID) time.Time {
	if since, known := s.h.routes.missing[id]; known {
		return since
	}
	return s.Now
}

func (s *step) doubtedRoute(r route.Route) bool {
	for registry, until := range s.h.doubts {
		if s.Now.Before(until) && r.From(registry) {
			return true
		}
	}
	return false
}

// routes returns when each route went that nothing has replaced, and the spare routes, after a step to next in which
// the routes of losers go. A route that is back cancels its own loss; a new route of the upstream cancels the oldest.
func (s *step) routes(next upstream.Set, losers []loser) (gone, spare map[RouteID]time.Time) {
	gone, spare = map[RouteID]time.Time{}, map[RouteID]time.Time{}
	for id, at := range s.h.routes.gone {
		if s.within(at) || !s.h.routes.held.IsZero() && s.h.routes.held.Sub(at) <= s.Window {
			gone[id] = at
		}
	}
	for id, at := range s.h.routes.spare {
		if s.within(at) {
			spare[id] = at
		}
	}
	lost, came := byUpstream(gone), byUpstream(spare)
	for _, c := range s.changes {
		u, there := next.Get(c.name())
		left, extra := lost[upstream.KeyOf(c.name())], came[upstream.KeyOf(c.name())]
		if !there || !SameService(c.old, u) { // its servers count instead
			drop(gone, left)
			drop(spare, extra)
			continue
		}
		extra = slices.DeleteFunc(extra, func(id RouteID) bool {
			is := slices.ContainsFunc(u.Routes, id.contends)
			if !is {
				delete(spare, id)
			}
			return !is
		})
		for _, r := range u.Routes {
			if slices.ContainsFunc(c.old.Routes, r.Contends) {
				continue
			}
			switch own := slices.IndexFunc(left, func(id RouteID) bool { return id.contends(r) }); {
			case own >= 0:
				delete(gone, left[own])
				left = slices.Delete(left, own, own+1)
			case len(left) > 0:
				delete(gone, left[0])
				left = left[1:]
			default:
				id := RouteID{u.Name, r.Text()}
				spare[id] = s.Now
				extra = append(extra, id)
			}
		}
		for _, l := range losers {
			if l.c != c {
				continue
			}
			n := min(len(extra), len(l.lost))
			drop(spare, extra[:n])
			for _, r := range l.lost[n:] {
				gone[RouteID{u.Name, r.Text()}] = s.Now
			}
		}
	}
	return gone, spare
}

// byUpstream groups routes by upstream, the oldest first.
func byUpstream(routes map[RouteID]time.Time) map[upstream.Key][]RouteID {
	all := map[upstream.Key][]RouteID{}
	for id := range routes {
		all[upstream.KeyOf(id.Upstream)] = append(all[upstream.KeyOf(id.Upstream)], id)
	}
	for _, ids := range all {
		slices.SortFunc(ids, func(a, b RouteID) int { return cmp.Or(routes[a].Compare(routes[b]), a.compare(b)) })
	}
	return all
}

func drop(routes map[RouteID]time.Time, ids []RouteID) {
	for _, id := range ids {
		delete(routes, id)
	}
}

// contends reports whether r matches the same requests as the route that id names.
func (id RouteID) contends(r route.Route) bool {
	named, err := route.ParseText(id.Route, id.Upstream)
	return err == nil && named.Contends(r)
}

// behind returns the number of servers in traffic in the upstreams of the routes.
func (s *step) behind(routes map[RouteID]time.Time) int {
	n := 0
	counted := map[upstream.Key]bool{}
	for id := range routes {
		if key := upstream.KeyOf(id.Upstream); !counted[key] {
			counted[key] = true
			u, _ := s.Accepted.Get(id.Upstream)
			n += serving(u)
		}
	}
	return n
}

// keptWithServers records the missing routes of an upstream that a hold on servers keeps.
func (s *step) keptWithServers(c *change) {
	seen, _ := s.Seen.Get(c.name())
	for _, r := range c.old.Routes {
		if id := (RouteID{c.old.Name, r.Text()}); r.Origin != "" && !slices.ContainsFunc(seen.Routes, r.Contends) {
			s.unrouted[id] = s.sinceMissing(id)
		}
	}
}

// rememberRoutes updates the routes in the history for the next decision.
func (s *step) rememberRoutes() {
	if s.h.routes.empty() && s.Accepted.RouteCount() == 0 {
		return
	}
	for _, c := range s.changes {
		if s.all || len(c.kept) > 0 {
			s.keptWithServers(c)
		}
	}
	losers := s.losers(s.d.Accepted)
	for i := range losers {
		losers[i].lost = slices.DeleteFunc(losers[i].lost, func(r route.Route) bool { return s.released[RouteID{losers[i].u.Name, r.Text()}] })
	}
	a := routeAccount{missing: s.unrouted, back: s.h.routes.back, held: s.h.routes.held}
	a.gone, a.spare = s.routes(s.d.Accepted, losers)
	for id := range s.h.routes.missing {
		if _, still := a.missing[id]; !still {
			if u, _ := s.Seen.Get(id.Upstream); slices.ContainsFunc(u.Routes, id.contends) {
				a.back = s.Now
			}
		}
	}
	switch {
	case len(a.missing) == 0:
		a.held, a.back = time.Time{}, time.Time{}
	case a.held.IsZero():
		a.held = s.Now
	}
	s.h.routes = a
}

// lines adds the lines of the account: see [History.Lines].
func (a routeAccount) lines(add func(words ...string)) {
	if !a.held.IsZero() {
		add(lineRoutes, inUTC(a.held))
	}
	if !a.back.IsZero() {
		add(lineRouteBack, inUTC(a.back))
	}
	for _, list := range []struct {
		kind string
		of   map[RouteID]time.Time
	}{{lineRouteGone, a.gone}, {lineRouteSpare, a.spare}, {lineRouteMissing, a.missing}} {
		for _, id := range slices.SortedFunc(maps.Keys(list.of), RouteID.compare) {
			add(list.kind, id.Upstream, inUTC(list.of[id]), id.Route)
		}
	}
}
