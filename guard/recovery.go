package guard

import (
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// A registry that lost its state often regains it piece by piece. Once half of it is back, the other half is within
// every limit. So what is missing after a loss stays until nothing has come back for the recovery time.
//
// Missing after a loss means: held by a rule, or gone from a registry while that registry is in doubt. The return of
// a server makes the others wait once, however often it flaps.

// doubt records which registries have lost their state, or may have.
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
		Reason: stillMissing.With(len(ids), of, setting.FormatDuration(s.Recovery)),
	}, s.changes, missing)
}

// settles returns when a server that would go counts as removed under the recovery rule; the zero time means now.
func (s *step) settles(id ServerID, srv upstream.Server) time.Time {
	var end time.Time
	if _, missing := s.h.missing[id]; missing || s.doubted(srv) {
		end = s.waited(id)
		s.wake(end)
	}
	return end
}

// waited returns when the recovery time ends for a server: counted from when it went missing, or from when a server
// last came back.
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

// doubted reports whether losses from the server's registry are in doubt.
func (s *step) doubted(srv upstream.Server) bool {
	for registry, until := range s.h.doubts {
		if s.Now.Before(until) && srv.From(registry) {
			return true
		}
	}
	return false
}

// unsettled reports whether any of the servers is still within its recovery time.
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
