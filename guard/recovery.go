package guard

import (
	"fmt"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// A registry that lost its state gets it back piece by piece: half of it back puts the other half within
// every limit. So what is missing after a loss stays until nothing has come back for the recovery.
//
// What is missing after a loss is what a rule held, and what goes missing from a registry while that is in
// doubt. One server's return makes the others wait once, however often it comes and goes.

// doubt notes which registries lost their state, or may have.
func (s *step) doubt() {
	until := func(registry string, t time.Time) {
		if t.After(s.h.doubts[registry]) {
			s.h.doubts[registry] = t
		}
	}
	for registry, at := range s.Away {
		until(registry, at.Add(s.Recovery))
	}
	for registry, index := range s.Indexes {
		if index < s.h.indexes[registry] {
			until(registry, s.Now.Add(s.Recovery))
		}
		s.h.indexes[registry] = index
	}
}

// recovering holds what is missing after a loss.
func (s *step) recovering() {
	missing := func(id ServerID, srv upstream.Server) bool { return s.Now.Before(s.settles(id, srv)) }
	ids := gone(s.changes, missing)
	if len(ids) == 0 {
		return
	}
	of := s.in
	s.hold(Hold{
		ID: identify(RuleRecovery, ids), Rule: RuleRecovery, Removed: ids, Of: of,
		Reason: fmt.Sprintf("%d of %d servers are still missing: removals are held until nothing has come back for %s",
			len(ids), of, setting.FormatDuration(s.Recovery)),
	}, s.changes, missing)
}

// settles is when a server that would go counts as removed, as far as recovering goes.
func (s *step) settles(id ServerID, srv upstream.Server) time.Time {
	var end time.Time
	if _, missing := s.h.missing[id]; missing || s.doubted(srv) {
		end = s.waited(id)
		s.wake(end)
	}
	return end
}

// waited is when nothing has come back for the recovery since a server went missing.
func (s *step) waited(id ServerID) time.Time {
	since, missing := s.h.missing[id]
	switch {
	case !missing:
		since = s.Now
	case since.Before(s.h.back):
		since = s.h.back
	}
	return since.Add(s.Recovery)
}

// doubted reports whether what goes missing now from where the server comes from is doubted.
func (s *step) doubted(srv upstream.Server) bool {
	for registry, until := range s.h.doubts {
		if s.Now.Before(until) && srv.From(registry) {
			return true
		}
	}
	return false
}

// unsettled reports whether some of what would go went just now, or may still come back.
func (s *step) unsettled(ids []ServerID) bool {
	var end time.Time
	for _, id := range ids {
		if at := s.waited(id); at.After(end) {
			end = at
		}
	}
	if !s.Now.Before(end) {
		return false
	}
	s.wake(end)
	return true
}
