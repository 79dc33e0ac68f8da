package guard

import (
	"iter"
	"math"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// remember updates the history for the next decision.
func (s *step) remember() {
	s.pin()
	missing := map[ServerID]time.Time{}
	for _, c := range s.changes {
		for _, srv := range c.kept {
			id := ServerID{c.name(), srv.Addr}
			since, known := s.h.missing[id]
			if !known {
				since = s.Now
			}
			missing[id] = since
		}
	}
	for id, since := range s.h.missing {
		in, _ := s.d.Accepted.Get(id.Upstream)
		if !serves(s.listed(id.Upstream))(id.Addr) && serves(in)(id.Addr) {
			missing[id] = since // also if on_unhealthy or a freeze keeps it for now
		}
	}
	s.missingBehind(missing)
	for _, c := range s.changes {
		s.count(c)
	}
	s.h.size(s.in, s.servers(), s.Now, s.Window)
	s.cameBack(missing)
	s.rememberRoutes()
	s.h.holds = map[string]time.Time{}
	for _, h := range s.d.Holds {
		s.h.holds[h.ID] = h.Since
	}
	s.expire()
}

// frozen reports whether an operator froze the upstream, so that it stays as written whatever the registries list.
func (s *step) frozen(name string) bool {
	if s.Behind == nil {
		return false
	}
	_, frozen := s.Behind(name)
	return frozen
}

// listed returns what the registries list for the upstream, frozen or not.
func (s *step) listed(name string) upstream.Upstream {
	if s.Behind != nil {
		if u, frozen := s.Behind(name); frozen {
			return u
		}
	}
	u, _ := s.Seen.Get(name)
	return u
}

// missingBehind records servers that went missing after a loss but that on_unhealthy or a freeze keeps, not a hold.
// When that ends, they have to wait for the recovery, too.
func (s *step) missingBehind(missing map[ServerID]time.Time) {
	if len(s.h.doubts) == 0 {
		return
	}
	for u := range s.doubtful() {
		in := serves(s.listed(u.Name))
		for _, srv := range u.Servers {
			id := ServerID{u.Name, srv.Addr}
			if _, known := missing[id]; !known && !srv.Down && !in(srv.Addr) && s.doubted(srv) {
				missing[id] = s.Now
				s.h.returned[id] = true // it is still there until then: if it comes back, nobody waits for it
			}
		}
	}
}

// doubtful yields the upstreams that may have servers that the registries do not list. If anything is frozen, these
// are all, because Seen has frozen upstreams as written.
func (s *step) doubtful() iter.Seq[upstream.Upstream] {
	if s.Behind != nil {
		return s.d.Accepted.All()
	}
	return func(yield func(upstream.Upstream) bool) {
		for u := range upstream.Changed(s.d.Accepted, s.Seen) {
			if u.Name != "" && !yield(u) {
				return
			}
		}
	}
}

// cameBack records that a missing server is back. Each server counts once.
func (s *step) cameBack(missing map[ServerID]time.Time) {
	for id := range s.h.missing {
		if !s.h.returned[id] && serves(s.listed(id.Upstream))(id.Addr) {
			s.h.returned[id] = true
			s.h.back = s.Now
		}
	}
	s.h.missing = missing
	if len(missing) == 0 {
		s.h.returned, s.h.back = map[ServerID]bool{}, time.Time{}
	}
}

// expire removes what no longer counts.
func (s *step) expire() {
	start := s.Now.Add(-s.Window)
	for e := range s.h.left.before(start) {
		counts := e.is.lost && (s.counts(e.at, s.h.pin) || s.counts(e.at, s.h.pins[upstream.KeyOf(e.id.Upstream)]))
		if !s.Now.Before(e.is.until) && !counts {
			s.h.left.drop(e.id)
		}
	}
	for e := range s.h.spare.before(start) {
		s.h.spare.drop(e.id)
	}
	for registry, until := range s.h.doubts {
		if !s.Now.Before(until) {
			delete(s.h.doubts, registry)
		}
	}
	if !s.Now.Before(s.h.spent) {
		s.h.spent = time.Time{}
	}
}

// before returns the number of servers at the start of the window, or the first known within it; now if none is
// known.
func (h History) before(at time.Time, window time.Duration, now int) int {
	if len(h.sizes) == 0 {
		return now
	}
	first := h.sizes[0]
	for _, s := range h.sizes {
		if at.Sub(s.at) >= window {
			first = s
		}
	}
	return first.count
}

// most returns the largest known number of servers within the window, at least now; MaxInt if none is known.
func (h History) most(now int) int {
	if len(h.sizes) == 0 {
		return math.MaxInt
	}
	for _, s := range h.sizes {
		now = max(now, s.count)
	}
	return now
}

// size records the number of servers before and after the step.
func (h *History) size(before, after int, now time.Time, window time.Duration) {
	sizes := slices.Clone(h.sizes)
	if len(sizes) == 0 && before > 0 {
		sizes = append(sizes, size{before, now})
	}
	n := len(sizes)
	switch {
	case n > 0 && sizes[n-1].count == after:
	case n > 1 && now.Sub(sizes[n-1].at) < window/10:
		sizes[n-1].count = after
	default:
		sizes = append(sizes, size{after, now})
	}
	for len(sizes) > 1 && now.Sub(sizes[1].at) >= window {
		sizes = sizes[1:]
	}
	h.sizes = sizes
}
