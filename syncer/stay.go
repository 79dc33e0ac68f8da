package syncer

import (
	"slices"

	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// Unserved is an upstream that gets traffic although none of its servers is usable: its service is registered, and
// on_unhealthy, a hold or a freeze keeps its last servers.
type Unserved struct {
	Upstream string
	Servers  int // the number of kept servers
}

// stays returns the servers that get traffic although no registry lists them as usable, and the upstreams of
// registered services that have only such servers. seen is what the registries published, before anything is kept or
// held; a registry that can't be read counts with its last answer.
//
//	accepted     seen                stays    unserved
//	a: 1 2       a: 2                a 1
//	a: 1 2       a: none usable      a 1 2    a
//	a: 1 2       a: 3 (and frozen)   a 1 2    a
//	a: 1 2       -                   a 1 2             it is not registered: a hold or a freeze says so
func stays(accepted, seen upstream.Set) (servers []guard.ServerID, unserved []Unserved) {
	servers = guard.Gone(accepted, seen)
	for left := servers; len(left) > 0; {
		name := left[0].Upstream
		n := slices.IndexFunc(left, func(id guard.ServerID) bool { return id.Upstream != name })
		if n < 0 {
			n = len(left)
		}
		left = left[n:]
		written, _ := accepted.Get(name)
		registered, ok := seen.Get(name)
		if ok && guard.SameService(written, registered) && n == len(serving(written)) {
			unserved = append(unserved, Unserved{Upstream: name, Servers: n})
		}
	}
	return servers, unserved
}

// noteStays updates the kept servers and unserved upstreams. It is not needed for delivery.
func (s *Syncer) noteStays() {
	seen, _ := s.intake.seen(s.gen.Set)
	servers, unserved := stays(s.gen.Set, seen)
	s.unservedEvents(s.unserved, unserved)
	s.mu.Lock()
	s.stays, s.unserved = servers, unserved
	s.mu.Unlock()
	s.changed()
}

// unservedEvents reports upstreams that lost their last usable server, and those that have one again.
func (s *Syncer) unservedEvents(before, now []Unserved) {
	names := func(all []Unserved) map[string]bool {
		set := make(map[string]bool, len(all))
		for _, u := range all {
			set[u.Upstream] = true
		}
		return set
	}
	had, has, left := names(before), names(now), mostLines
	for _, u := range now {
		if had[u.Upstream] {
			continue
		}
		if left--; left >= 0 {
			s.parts.Log.WithFields(logrus.Fields{"upstream": safetext.Cut(u.Upstream, mostText), "servers": u.Servers}).
				Warn("no healthy server: the last ones are kept")
			s.event(Event{
				Kind: EventUnserved, Upstream: u.Upstream, Generation: s.gen.Number,
				Text: noneHealthy.With(u.Upstream),
			})
		}
	}
	if left < 0 {
		s.parts.Log.Warnf("and %d upstreams more without a healthy server", -left)
	}
	for _, u := range before {
		_, there := s.gen.Set.Get(u.Upstream)
		if has[u.Upstream] || !there {
			continue
		}
		s.parts.Log.WithField("upstream", safetext.Cut(u.Upstream, mostText)).Info("there is a healthy server again")
		s.event(Event{
			Kind: EventServed, Upstream: u.Upstream, Generation: s.gen.Number,
			Text: healthyAgain.With(u.Upstream),
		})
	}
}
