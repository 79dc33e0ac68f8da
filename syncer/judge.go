package syncer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/upstream"
)

// Witness connects to servers, to find out whether they are alive.
type Witness interface {
	// Run tries what was asked for until the context ends. It calls heard, which does not block, after answers came.
	Run(ctx context.Context, heard func())
	// Ask names the servers of which the guard wants to know from now on, and reports whether answers are still
	// to come. It does not block.
	Ask(servers []netip.AddrPort) (pending bool)
	// Answer is what one of them did when it was tried last.
	Answer(server netip.AddrPort) guard.Answer
}

// Recorder keeps what the guard was told and what became of it, so that it can be replayed. It does not block.
type Recorder interface{ Note(m replay.Moment) }

// hearing is how long a new hold waits for the witness before anybody is told of it: often it ends with that.
const hearing = 5 * time.Second

// judge asks the guard what of the registries' answers may be written.
func (s *Syncer) judge(written upstream.Generation, now time.Time, approved string) guard.Decision {
	all := written
	written = s.reachable(written)
	for _, src := range s.Sources {
		if src.Registry.Condition().Trouble == nil {
			s.intake.counts(src.Name)
		}
	}
	seen, empty := s.intake.seen(written.Set)
	listed := withoutStrangers(all, s.withoutTaken(all, s.reach().seen(seen)))
	in := guard.Input{
		Accepted: written.Set, Seen: frozen(written, listed), Frozen: onlyFrozen(written, listed), Empty: empty,
		Approved: approved, History: s.history, Now: now, Away: map[string]time.Time{}, Indexes: map[string]uint64{},
	}
	if len(written.Frozen) > 0 {
		in.Behind = func(name string) (upstream.Upstream, bool) {
			u, _ := listed.Get(name)
			return u, isFrozen(written.Frozen, name)
		}
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
	s.told = replay.Moment{Input: in, Limits: s.Guard, Fresh: s.fresh, Began: s.starting, Waiting: s.waiting != ""}
	if s.Witness != nil {
		s.told.Asking(s.Witness.Answer, s.reach().Here)
	}
	return s.admit(all, s.Guard.Decide(s.told.Input))
}

// record notes what the last decision led to.
func (s *Syncer) record(saved bool) {
	m := s.told
	s.fresh, s.starting, s.told = false, false, replay.Moment{}
	if s.Recorder == nil {
		return
	}
	m.Result, m.Unsaved = s.gen.Set, !saved
	s.Recorder.Note(m)
}

// witnessed is judge with the witness's word: it is asked for what the decision wants to know, and pending says that
// some of its answers are still to come.
func (s *Syncer) witnessed(written upstream.Generation, now time.Time, approved string) (d guard.Decision, pending bool) {
	d = s.judge(written, now, approved)
	if s.Witness == nil {
		return d, false
	}
	for {
		if pending = s.Witness.Ask(d.Ask); pending || len(d.Ask) == 0 {
			return d, pending
		}
		// All is answered, perhaps since it was decided; and with that other servers may be of interest.
		next := s.judge(written, now, approved)
		if slices.Equal(next.Ask, d.Ask) {
			return next, false
		}
		d = next
	}
}

// witnessedOnce is witnessed for a pass that decides once: it waits for the answers, for a while at most, and so
// comes to the verdict that a running syncer would come to.
func (s *Syncer) witnessedOnce(ctx context.Context, written upstream.Generation, approved string) guard.Decision {
	d, pending := s.witnessed(written, time.Now(), approved)
	if !pending {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, hearing)
	heard := make(chan struct{}, 1)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.Witness.Run(ctx, func() { signal(heard) }) })
	for pending {
		select {
		case <-heard:
		case <-ctx.Done():
			return d
		}
		d, pending = s.witnessed(written, time.Now(), approved)
	}
	return d
}

// trial sorts the holds of a decision: those that may be told of, and those that wait until the witness is heard, as
// they often end with that. It says after which time the latter are told of all the same.
//
// One that was there before this start, or goes on with one that was told of, does not wait.
func (s *Syncer) trial(d guard.Decision, pending bool, now time.Time) (told, waiting []guard.Hold, again time.Duration) {
	for _, h := range d.Holds {
		if pending && !h.Since.Before(s.began) && len(h.Removed) > 0 && !slices.ContainsFunc(s.holds, h.Continued) {
			waiting = append(waiting, h)
		} else {
			told = append(told, h)
		}
	}
	switch {
	case len(waiting) == 0:
		s.quiet = time.Time{}
		return told, nil, 0
	case s.quiet.IsZero():
		s.quiet = now
	}
	if again = hearing - now.Sub(s.quiet); again > 0 {
		return told, waiting, again
	}
	return d.Holds, nil, 0
}

// remember carries on what a decision led to.
func (s *Syncer) remember(d guard.Decision) {
	s.history = d.History
	if len(d.Released) > 0 {
		signal(s.intake.changed) // the next decision asks the witness for less
	}
	for _, r := range d.Released {
		log := s.Log.WithFields(logrus.Fields{"hold": r.Hold.ID, "rule": r.Hold.Rule, "servers": len(r.Hold.Removed) + len(r.Hold.KeptOut)})
		switch r.By {
		case guard.ByTime:
			log.WithField("hold_for", s.Guard.HoldFor.String()).Warn("the hold's time is up: the change goes through")
		case guard.ByProof:
			text := fmt.Sprintf("none of %d servers answers from here: they go, though %s would hold them", len(r.Hold.Removed), r.Hold.Rule)
			log.Warn(text)
			s.event(Event{Kind: EventProven, Upstream: r.Hold.Upstream, Text: text, Out: len(r.Hold.Removed)})
		}
	}
}

// hold keeps what is held; of what waits for the witness nobody is told yet.
func (s *Syncer) hold(holds, waiting []guard.Hold) {
	logHolds(s.Log, s.holds, holds)
	s.holdEvents(s.holds, holds)
	s.mu.Lock()
	s.holds, s.onTrial = holds, waiting
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
