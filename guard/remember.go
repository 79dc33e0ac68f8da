package guard

import (
	"maps"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// remember carries on what the next decision must know.
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
			missing[id] = since // also where on_unhealthy, or a freeze, keeps it just now
		}
	}
	s.missingBehind(missing)
	leaving := 0
	for _, c := range s.changes {
		leaving += len(c.gone)
	}
	s.h.expect(leaving)
	for _, c := range s.changes {
		s.count(c)
	}
	s.h.size(s.in, s.servers(), s.Now, s.Window)
	s.cameBack(missing)
	s.h.holds = map[string]time.Time{}
	for _, h := range s.d.Holds {
		s.h.holds[h.ID] = h.Since
	}
	s.expire()
}

// listed is what the registries list of an upstream, frozen or not.
func (s *step) listed(name string) upstream.Upstream {
	if s.Behind != nil {
		if u, frozen := s.Behind(name); frozen {
			return u
		}
	}
	u, _ := s.Seen.Get(name)
	return u
}

// missingBehind notes what went missing after a loss while something else than a hold keeps it, on_unhealthy or a freeze:
// when that ends it has to wait, too.
func (s *step) missingBehind(missing map[ServerID]time.Time) {
	if len(s.h.doubts) == 0 {
		return
	}
	for u := range s.d.Accepted.All() {
		in := serves(s.listed(u.Name))
		for _, srv := range u.Servers {
			id := ServerID{u.Name, srv.Addr}
			if _, known := missing[id]; !known && !srv.Down && !in(srv.Addr) && s.doubted(srv) {
				missing[id] = s.Now
				s.h.returned[id] = true // until then it is there: should it come back, nobody waits for it
			}
		}
	}
}

// expect makes room for servers that leave: a map that grows is copied again and again.
func (h *History) expect(n int) {
	if n <= len(h.left) {
		return
	}
	left := make(map[ServerID]departure, n+len(h.left))
	maps.Copy(left, h.left)
	h.left = left
}

// cameBack notes that something which was missing is back. It counts once for each server.
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

// expire forgets what counts no more.
func (s *step) expire() {
	for id, d := range s.h.left {
		counts := d.lost && (s.counts(d.at, s.h.pin) || s.counts(d.at, s.h.pins[upstream.KeyOf(id.Upstream)]))
		if !s.within(d.at) && !s.Now.Before(d.until) && !counts {
			delete(s.h.left, id)
		}
	}
	for id, at := range s.h.spare {
		if !s.within(at) {
			delete(s.h.spare, id)
		}
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

// before is how many servers there were at the window's start, or first within it; now where that is not known.
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

// size takes in how many servers there were, and are from now on.
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
