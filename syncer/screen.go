package syncer

import (
	"maps"
	"slices"

	"swallowkeeper/generation"
	"swallowkeeper/upstream"
)

// screen removes what nobody may register. Its own inputs rarely change, so it checks only what the registries
// changed.
type screen struct {
	screening
	listed  upstream.Filter
	written upstream.Filter
	within  Reach // the reach that written was computed with
}

// screening is the input of the screen.
type screening struct {
	reach     Reach
	taken     map[upstream.Key]Taken
	strangers []string
	first     bool // nothing is written yet
}

func (s screening) equal(o screening) bool {
	return s.reach.equal(o.reach) && maps.Equal(s.taken, o.taken) && slices.Equal(s.strangers, o.strangers) && s.first == o.first
}

// screened returns what the registries list, without servers at addresses that may not be used and without services
// whose names are taken.
//
// A service is out if a gateway has an upstream of that name that somebody else wrote: a registration must not take
// it over, and nginx would not load with both.
func (s *Syncer) screened(written generation.Generation, seen upstream.Set) upstream.Set {
	by := screening{reach: s.reach(), taken: s.taken(), strangers: written.Strangers, first: written.Number == 0}
	foreign := make(names, len(by.strangers))
	for _, name := range by.strangers {
		foreign[upstream.KeyOf(name)] = true
	}
	anew := by.first || !by.equal(s.screen.screening) // until something is written, what gateways show also counts
	s.screen.screening = by
	kept, out := s.screen.listed.Apply(seen, written.Set, anew, func(u, ours upstream.Upstream) (upstream.Upstream, []upstream.Out) {
		u, out := by.reach.leaves(u)
		why := s.isTaken(by, u.Name, ours.Name != "")
		if why.IsZero() && ours.Name == "" && foreign.has(u.Name) {
			why = stranger.With()
		}
		if !why.IsZero() {
			return upstream.Upstream{}, append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Reason: why})
		}
		return u, out
	})
	return kept.AlsoOut(slices.Collect(out.All())...)
}

// reachable returns what was written, without servers whose addresses may no longer be used because the configuration
// or the machine's addresses changed. No hold, freeze or on_unhealthy = "keep" keeps them, so they count for none of
// the guard's limits. An upstream that loses all its servers is removed.
func (s *Syncer) reachable(g generation.Generation) generation.Generation {
	reach := s.reach()
	anew := !reach.equal(s.screen.within)
	s.screen.within = reach
	g.Set, _ = s.screen.written.Apply(g.Set, upstream.Set{}, anew, func(u, _ upstream.Upstream) (upstream.Upstream, []upstream.Out) {
		left, _ := reach.leaves(u)
		if len(left.Servers) == 0 {
			return upstream.Upstream{}, nil
		}
		return left, nil
	})
	return g
}

func (s *Syncer) reach() Reach {
	if s.parts.Reach == nil {
		return Reach{}
	}
	return s.parts.Reach()
}
