package guard

import "swallowkeeper/upstream"

// limited applies MaxUpstreams, MaxServers and MaxGrowth: new servers beyond them stay out.
func (s *step) limited(next upstream.Set) upstream.Set {
	if n := next.Len(); s.MaxUpstreams > 0 && n > s.MaxUpstreams {
		next = s.without(next, s.fresh(true), Hold{Rule: RuleMaxUpstreams, Of: s.Accepted.Len(), Reason: overUpstreams.With(n, s.MaxUpstreams)})
	}
	n := s.servers()
	if s.MaxServers > 0 && n > s.MaxServers {
		return s.without(next, s.fresh(false), Hold{Rule: RuleMaxServers, Of: s.in, Reason: overServers.With(n, s.MaxServers)})
	}
	fresh := s.fresh(false)
	if s.Accepted.Len() == 0 {
		return next
	}
	// A server that comes back is not new, and one that stays only because of a hold may have been replaced.
	grown := n - s.keptCount()
	for _, id := range fresh {
		if _, back := s.h.left.get(id); back {
			grown--
		}
	}
	base := s.h.before(s.Now, s.Window, s.in)
	step := s.in - s.keptCount()
	for _, of := range []int{min(base, step), max(base, step)} { // one of the two may be too small to count
		if of >= smallestGrowth && over(grown, s.MaxGrowth, of) {
			return s.without(next, fresh, Hold{Rule: RuleMaxGrowth, Of: of, Reason: overGrowth.With(grown, of, s.MaxGrowth)})
		}
	}
	return next
}

// fresh lists the servers that are not in traffic yet; with upstreams set, only those of new upstreams.
func (s *step) fresh(upstreams bool) []ServerID {
	var ids []ServerID
	for _, c := range s.changes {
		if c.next.Name == "" || upstreams && c.old.Name != "" {
			continue
		}
		for _, srv := range c.arrivals {
			ids = append(ids, ServerID{c.next.Name, srv.Addr})
		}
	}
	return ids
}

// without removes what the hold keeps out from next, unless the hold is released.
func (s *step) without(next upstream.Set, ids []ServerID, h Hold) upstream.Set {
	if len(ids) == 0 {
		return next
	}
	h.ID, h.KeptOut = identify(h.Rule, ids), ids
	s.hold(h, nil, everything)
	if n := len(s.d.Holds); n == 0 || s.d.Holds[n-1].ID != h.ID {
		s.h.sizes = nil // released: this is the size from now on
		return next
	}
	if len(gone(s.changes, everything)) > 0 {
		for _, id := range ids {
			s.barred[id] = true
		}
	}
	return s.keepOut(next, ids, outByRule.With(h.Rule))
}

func (s *step) keptCount() int {
	n := 0
	for _, c := range s.changes {
		n += len(c.kept)
	}
	return n
}
