package guard

import (
	"fmt"

	"swallowkeeper/upstream"
)

// limited answers MaxUpstreams, MaxServers and MaxGrowth: what is new beyond them stays out.
func (s *step) limited(next upstream.Set) upstream.Set {
	if n := next.Len(); s.MaxUpstreams > 0 && n > s.MaxUpstreams {
		next = s.without(next, s.fresh(true), Hold{Rule: RuleMaxUpstreams, Of: s.Accepted.Len(), Reason: fmt.Sprintf(
			"there would be %d upstreams, max_upstreams is %d: what is new is held", n, s.MaxUpstreams)})
	}
	n := s.servers()
	if s.MaxServers > 0 && n > s.MaxServers {
		return s.without(next, s.fresh(false), Hold{Rule: RuleMaxServers, Of: s.in, Reason: fmt.Sprintf(
			"there would be %d servers, max_servers is %d: what is new is held", n, s.MaxServers)})
	}
	fresh := s.fresh(false)
	if len(fresh) == 0 || s.Accepted.Len() == 0 {
		return next
	}
	// What comes back is not new, and what stays only because of a hold has perhaps been replaced.
	grown := n - s.keptCount()
	for _, id := range fresh {
		if _, back := s.h.left[id]; back {
			grown--
		}
	}
	base := s.h.before(s.Now, s.Window, s.in)
	step := s.in - s.keptCount()
	for _, of := range []int{min(base, step), max(base, step)} { // the one may be too small to count
		if of >= smallestGrowth && over(grown, s.MaxGrowth, of) {
			return s.without(next, fresh, Hold{Rule: RuleMaxGrowth, Of: of, Reason: fmt.Sprintf(
				"there would be %d servers where there were %d, max_growth allows %g times as many: what is new is held",
				grown, of, s.MaxGrowth)})
		}
	}
	return next
}

// fresh lists the servers that are not in traffic yet; with upstreams only those whose upstream is new.
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

// without takes what a hold keeps out from the next set, unless the hold is released.
func (s *step) without(next upstream.Set, ids []ServerID, h Hold) upstream.Set {
	if len(ids) == 0 {
		return next
	}
	h.ID, h.KeptOut = identify(h.Rule, ids), ids
	s.hold(h, nil, everything)
	if n := len(s.d.Holds); n == 0 || s.d.Holds[n-1].ID != h.ID {
		s.h.sizes = nil // it is released: this is the size from now on
		return next
	}
	if len(gone(s.changes, everything)) > 0 {
		for _, id := range ids {
			s.barred[id] = true
		}
	}
	return s.keepOut(next, ids, "it is usable, and "+h.Rule+" keeps it out")
}

func (s *step) keptCount() int {
	n := 0
	for _, c := range s.changes {
		n += len(c.kept)
	}
	return n
}
