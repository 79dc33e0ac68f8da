package syncer

import (
	"context"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Witness connects to servers, to find out whether they are alive.
type Witness interface {
	// Ask names the servers of which the guard wants to know from now on. It does not block.
	Ask(servers []netip.AddrPort)
	// Answer is what one of them did when it was tried last.
	Answer(server netip.AddrPort) guard.Answer
}

// judge asks the guard what of the registries' answers may be written.
func (s *Syncer) judge(written upstream.Generation, now time.Time, approved string) guard.Decision {
	all := written
	written = s.reachable(written)
	seen, empty := s.intake.seen(written.Set)
	in := guard.Input{
		Accepted: written.Set, Seen: frozen(written, withoutStrangers(all, s.withoutTaken(all, s.reach().seen(seen)))), Empty: empty,
		Approved: approved, History: s.history, Now: now, Away: map[string]time.Time{}, Indexes: map[string]uint64{},
	}
	for _, src := range s.Sources {
		c := src.Registry.Condition()
		if !c.Lapsed.IsZero() {
			in.Away[src.Name] = c.Lapsed
		}
		if c.Index > 0 {
			in.Indexes[src.Name] = c.Index
		}
	}
	if s.Witness != nil {
		in.Witness = s.Witness.Answer
	}
	return s.admit(all, s.Guard.Decide(in))
}

// remember carries on what a decision led to.
func (s *Syncer) remember(d guard.Decision) {
	s.history = d.History
	if s.Witness != nil {
		s.Witness.Ask(d.Ask)
	}
	for _, r := range d.Released {
		log := s.Log.WithFields(logrus.Fields{"hold": r.Hold.ID, "rule": r.Hold.Rule, "servers": len(r.Hold.Removed) + len(r.Hold.KeptOut)})
		switch r.By {
		case guard.ByTime:
			log.WithField("hold_for", s.Guard.HoldFor.String()).Warn("the hold's time is up: the change goes through")
		case guard.ByProof:
			log.Warn("none of the servers that were held accepts connections: they go")
		}
	}
}

// hold keeps what is held.
func (s *Syncer) hold(holds []guard.Hold) {
	logHolds(s.Log, s.holds, holds)
	s.holdEvents(s.holds, holds)
	s.mu.Lock()
	s.holds = holds
	s.mu.Unlock()
}

// leave writes what the guard remembers before the run ends, where that is more than what was written with the
// last generation.
func (s *Syncer) leave(ctx context.Context) {
	if s.gen.Number == 0 || s.storeErr != nil || guard.SameHolds(s.gen.Guard, s.history.Lines()) {
		return
	}
	if _, err := s.keep(context.WithoutCancel(ctx), s.gen); err != nil {
		s.Log.WithError(err).Warn("what the guard remembers is not written: a restart begins without it")
	}
}
