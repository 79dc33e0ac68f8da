package syncer

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/upstream"
)

// Witness connects to servers to find out whether they are alive.
type Witness interface {
	// Run tries the requested servers until the context ends. It calls heard, which must not block, after new
	// answers.
	Run(ctx context.Context, heard func())
	// Ask sets the servers that the guard wants to know about, and reports whether answers are still pending. It does
	// not block.
	Ask(servers []netip.AddrPort) (pending bool)
	// Answer returns the result of the last try.
	Answer(server netip.AddrPort) guard.Answer
}

// Recorder records the inputs and outcomes of the guard for later replay. It must not block.
type Recorder interface{ Note(m replay.Moment) }

// witnessWait is how long a new hold waits for the witness before it is reported: the answer often ends the hold.
const witnessWait = 5 * time.Second

// judge asks the guard which of the registries' changes may be written.
func (s *Syncer) judge(written generation.Generation, now time.Time, approved string) guard.Decision {
	all := written
	written = s.reachable(written)
	s.heardAgain()
	seen, empty := s.intake.seen(written.Set)
	listed, unrouted := s.wanted.Apply(s.screened(all, seen), written.Set, s.parts.Routes)
	listed = listed.AlsoOut(slices.Collect(unrouted.All())...)
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
	for _, src := range s.parts.Sources {
		c := src.Registry.Condition()
		if !c.Lapsed.IsZero() {
			in.Away[src.Name] = c.Lapsed
		}
		if c.Index > 0 {
			in.Indexes[src.Name] = c.Index
		}
	}
	s.input = replay.Moment{Input: in, Limits: s.parts.Guard, Fresh: s.fresh, Began: s.starting, Waiting: !s.waiting.IsZero()}
	if s.parts.Witness != nil {
		s.input.Asking(s.parts.Witness.Answer, s.reach().Here)
	}
	return s.admit(all, s.parts.Guard.Decide(s.input.Input))
}

// record records the outcome of the last decision.
func (s *Syncer) record(saved bool) {
	m := s.input
	s.fresh, s.starting, s.input = false, false, replay.Moment{}
	if s.parts.Recorder == nil {
		return
	}
	m.Result, m.Unsaved = s.gen.Set, !saved
	s.parts.Recorder.Note(m)
}

// witnessed is judge with a witness. It asks the witness for what the decision wants to know; pending means that
// answers are outstanding.
func (s *Syncer) witnessed(written generation.Generation, now time.Time, approved string) (d guard.Decision, pending bool) {
	d = s.judge(written, now, approved)
	if s.parts.Witness == nil {
		return d, false
	}
	for {
		if pending = s.parts.Witness.Ask(d.Ask); pending || len(d.Ask) == 0 {
			return d, pending
		}
		// All answers are in, perhaps only since the decision. With them the guard may want to know about other
		// servers.
		next := s.judge(written, now, approved)
		if slices.Equal(next.Ask, d.Ask) {
			return next, false
		}
		d = next
	}
}

// witnessedOnce is witnessed for a single pass: it waits for the answers for a limited time, to reach the decision
// that a running syncer would reach.
func (s *Syncer) witnessedOnce(ctx context.Context, written generation.Generation, approved string) guard.Decision {
	d, pending := s.witnessed(written, time.Now(), approved)
	if !pending {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, witnessWait)
	heard := make(chan struct{}, 1)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.parts.Witness.Run(ctx, func() { signal(heard) }) })
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

// trial splits the holds of a decision into those to report now and those that wait for the witness, because its
// answer often ends them. again is when to report the waiting ones in any case.
//
// A hold from before this start, or one that continues a reported hold, does not wait.
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
	if again = witnessWait - now.Sub(s.quiet); again > 0 {
		return told, waiting, again
	}
	return d.Holds, nil, 0
}

// remember keeps the history of a decision and reports the holds that it released.
func (s *Syncer) remember(d guard.Decision) {
	s.history = d.History
	if len(d.Released) > 0 {
		signal(s.intake.changed) // the next decision asks the witness for less
	}
	for _, r := range d.Released {
		log := s.parts.Log.WithFields(logrus.Fields{"hold": r.Hold.ID, "rule": r.Hold.Rule, "servers": len(r.Hold.Removed) + len(r.Hold.KeptOut)})
		switch r.By {
		case guard.ByTime:
			log.WithField("hold_for", s.parts.Guard.HoldFor.String()).Warn("the hold's time is up: the change goes through")
		case guard.ByProof:
			text := allDead.With(len(r.Hold.Removed), r.Hold.Rule)
			log.Warn(text.String())
			s.event(Event{Kind: EventProven, Upstream: r.Hold.Upstream, Text: text, Out: len(r.Hold.Removed)})
		}
	}
}

// saveMemory saves the guard's memory and the leaving upstreams before the run ends, if they changed since the last
// generation.
func (s *Syncer) saveMemory(ctx context.Context) {
	s.takeOver(s.newer())
	for range tries {
		if s.gen.Number == 0 || s.storeErr != nil || guard.SameHolds(s.gen.Guard, s.history.Lines()) && !s.unwritten {
			return
		}
		_, err := s.keep(context.WithoutCancel(ctx), s.gen)
		if err == nil {
			return
		}
		if !s.takeOver(err) {
			s.parts.Log.WithError(err).Warn("what the guard remembers is not written: a restart begins without it")
			return
		}
	}
}
