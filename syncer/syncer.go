package syncer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/internal/retry"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// firstAnswer is how long servers that may no longer be used stay while no registry has answered.
const firstAnswer = 3 * time.Second

// verifyEvery is how often to verify that the store still holds what was saved.
const verifyEvery = 10 * time.Second

// Syncer keeps the targets in sync with the sources.
type Syncer struct {
	parts      Parts
	intake     *intake
	deliveries []*delivery
	// moved signals that the state of a delivery changed.
	moved chan struct{}
	// overtaken signals that another process wrote a newer generation.
	overtaken chan struct{}
	// orders are operators' orders, carried out by the loop.
	orders chan request
	// waits are the waits between attempts to write. Only the loop uses them.
	waits *backoff.ExponentialBackOff
	// beat is the time of the loop's last iteration, in Unix nanoseconds.
	beat atomic.Int64

	mu       sync.Mutex // guards what Status reads
	gen      generation.Generation
	outcome  // of the last decision
	stays    []guard.ServerID
	unserved []Unserved
	storeErr error
	// verifyErr is why the conf file differs from what was written and can't be repaired.
	verifyErr error
	// since has the times of the last changes since the start.
	since since

	// foreign are the names of upstreams that are known to be somebody else's. Only the loop uses it.
	foreign []string
	// waiting names the gateways that had not been asked when foreign was computed. Only the loop uses it.
	waiting reason.Reason
	began   time.Time
	// signer is who gave the order that is being carried out. unfroze is who last ended a freeze whose held-back
	// changes no decision has written yet. Only the loop uses them.
	signer, unfroze generation.Signature
	// The remaining fields are used by the loop only.

	history   guard.History // the guard's history
	quiet     time.Time     // when unreported holds began to wait for the witness
	fresh     bool          // the history is not from the last decision
	unwritten bool          // the conf file lacks some leaving names
	starting  bool          // nothing was decided yet
	input     replay.Moment // the last input of the guard
	screen    screen
	loader    gateway.Loader // for the accepted set
	// wanted resolves the routes of what the registries list, accepted those of what the guard accepts.
	wanted, accepted upstream.Router
}

// New returns a syncer. Run or RunOnce starts it.
func New(p Parts) *Syncer {
	if p.Retry == (retry.Policy{}) {
		p.Retry = retry.Default()
	}
	s := &Syncer{
		parts: p, intake: newIntake(p.Sources), moved: make(chan struct{}, 1), orders: make(chan request),
		overtaken: make(chan struct{}, 1),
		waits:     p.Retry.Backoff(), since: newSince(),
	}
	for _, t := range p.Targets {
		s.deliveries = append(s.deliveries, newDelivery(t, p.Retry, p.Log, s.event, s.mayPush, s.moved, s.intake.changed))
	}
	return s
}

// Run keeps the targets in sync until the context ends. It returns an error only if the store can't be read at the
// start.
func (s *Syncer) Run(ctx context.Context) error {
	if err := s.load(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, src := range s.parts.Sources {
		running.Go(func() { s.intake.watch(ctx, src, s.parts.Retry, s.parts.Log) })
	}
	for _, d := range s.deliveries {
		d.to(s.gen, Timing{})
		running.Go(func() { d.run(ctx) })
	}
	if s.parts.Witness != nil {
		running.Go(func() { s.parts.Witness.Run(ctx, func() { signal(s.intake.changed) }) })
	}
	s.decideUntil(ctx)
	return nil
}

// load reads the conf file as the baseline.
func (s *Syncer) load() error {
	s.began, s.starting = time.Now(), true
	gen, err := s.baseline()
	if err != nil {
		return err
	}
	s.foreign = gen.Strangers
	for _, t := range s.parts.Targets {
		t.written(gen)
	}
	s.parts.Log.WithFields(logrus.Fields{"generation": gen.Number, "upstreams": gen.Set.Len(), "servers": gen.Set.Servers()}).
		Info("the conf file is the baseline")
	return nil
}

// baseline reads the conf file and the guard's history in it.
func (s *Syncer) baseline() (generation.Generation, error) {
	gen, err := s.parts.Store.Load()
	if err != nil {
		return gen, err
	}
	s.mu.Lock()
	s.gen = gen
	s.mu.Unlock()
	s.fresh = true
	s.history, err = guard.ReadHistory(gen.Guard, time.Now(), s.parts.Guard.Window)
	if err != nil {
		s.parts.Log.WithError(err).Warn("what the guard remembers can't be read: no removal goes through for the window's time")
	} else if gen.Base > 0 {
		s.history = guard.Held(gen.Base)
	}
	return gen, nil
}

// decideUntil runs the decision loop until the context ends.
func (s *Syncer) decideUntil(ctx context.Context) {
	var (
		first, last, decided time.Time // see Schedule.due
		due                  = stopped()
		verify               = time.NewTicker(verifyEvery)
		pulse                = time.NewTicker(time.Second)
	)
	defer due.Stop()
	defer verify.Stop()
	defer pulse.Stop()
	defer s.saveMemory(ctx)
	for {
		s.beat.Store(time.Now().UnixNano())
		if drain(s.overtaken) { // before all else, which goes by what is written
			s.makeSure(ctx)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-pulse.C:
			// Refresh what is known of this machine and of nginx's configuration here, so that no change waits for
			// it.
			s.reach()
			s.taken()
			if s.heardAgain() {
				signal(s.intake.changed)
			}
		case <-s.intake.changed:
			last = time.Now()
			if first.IsZero() {
				first = last
			}
			due.Reset(time.Until(s.parts.Schedule.due(first, last, decided)))
		case <-due.C:
			first = time.Time{}
			again := s.decide(ctx, "")
			decided = time.Now()
			if again > 0 {
				due.Reset(again)
			}
		case r := <-s.orders:
			remark, err := s.carryOut(ctx, r.order)
			r.reply <- reply{remark, err}
			// A decision handles freezes that expire and writes that failed.
			signal(s.intake.changed)
		case <-s.moved:
			s.settle(ctx)
		case <-s.overtaken:
			s.makeSure(ctx)
		case <-verify.C:
			s.verify(ctx)
		}
	}
}

// decide makes one decision: it judges what is seen, saves what is accepted and hands it to the gateways. approved is
// the ID of a hold that an operator releases. It returns when to decide again without being woken, or 0 for never.
func (s *Syncer) decide(ctx context.Context, approved string) time.Duration {
	now, before, written := time.Now(), s.gen, s.gen
	if wait := s.firstLook(now); wait > 0 {
		return wait
	}
	var thaw time.Duration
	written.Frozen, thaw = thawed(written.Frozen, now)
	written.Strangers = s.known()
	gone := guard.Gone(written.Set, s.reachable(written).Set)
	if len(s.intake.missing()) == len(s.parts.Sources) {
		if len(gone) == 0 {
			return thaw
		}
		if wait := firstAnswer - now.Sub(s.began); wait > 0 {
			return sooner(wait, thaw) // its answer may bring replacements
		}
	}
	if len(gone) > 0 {
		s.parts.Log.WithFields(logrus.Fields{"servers": len(gone), "upstream": gone[0].Upstream, "reason": s.reach().Refuses(gone[0].Addr).String()}).
			Warn("the conf file has servers that are no longer allowed: they are removed")
	}
	timing := Timing{Seen: s.intake.taken(now)}
	decision, pending := s.witnessed(written, now, approved)
	timing.Decided = time.Now()
	holds, onTrial, told := s.trial(decision, pending, now)
	signed := s.unfroze
	if decision.Approved() {
		signed = s.signer
	}
	gen, err := s.save(ctx, written, decision, signed)
	if s.takeOver(err) {
		return time.Millisecond
	}
	if err == nil {
		s.remember(decision)
	}
	result := s.outcome
	result.out = decision.Out
	if err == nil || len(decision.Holds) > 0 { // otherwise what was released has not gone through yet
		result.holds, result.onTrial = holds, onTrial
	}
	s.note(gen, result, err)
	if err != nil {
		s.record(false)
		wait := s.waits.NextBackOff()
		s.parts.Log.WithError(err).WithField("again_in", wait.Round(time.Millisecond).String()).
			Error("the conf file can't be written: nothing is pushed")
		return wait
	}
	s.waits.Reset()
	s.unfroze = generation.Signature{}
	s.thawed(before.Frozen, gen.Frozen)
	timing.Saved = time.Now()
	s.adopt(before, timing, reasonsOf(gen.Set, decision.Out))
	s.record(true)
	s.noteStays()
	return sooner(sooner(decision.Again, thaw), told)
}

// adopt hands a new generation to the gateways and reports it. why returns the reasons for servers that lose traffic.
func (s *Syncer) adopt(before generation.Generation, timing Timing, why reasons) {
	gen := s.gen
	if gen.Number == before.Number {
		return
	}
	left := orphans(before, gen)
	for _, d := range s.deliveries {
		if len(left) > 0 {
			d.doubt(left)
		}
		d.to(gen, timing)
	}
	if a, ok := s.parts.Store.(Archiver); ok {
		a.Archive()
	}
	changes := upstream.Diff(before.Set, gen.Set)
	s.mu.Lock()
	s.since.moved(before.Number, changes, gen.Time)
	s.mu.Unlock()
	logChanges(s.parts.Log.WithField("generation", gen.Number), changes)
	e := Event{
		Kind: EventGeneration, Generation: gen.Number, Signed: gen.Signed, Text: gen.Reason, Written: gen, Timing: timing,
		Added: len(changes.Added), Updated: len(changes.Updated), Removed: len(changes.Removed),
	}
	for m := range moves(changes) {
		e.In, e.Out = e.In+len(m.in), e.Out+len(m.out)
	}
	s.event(e)
	s.serverEvents(gen.Number, changes, why)
}

// thawed reports the freezes that have expired.
func (s *Syncer) thawed(before, now []generation.Freeze) {
	for _, f := range before {
		if !slices.ContainsFunc(now, func(o generation.Freeze) bool { return o.Name == f.Name }) {
			s.released(f, generation.Signature{})
		}
	}
}

// save writes what was accepted, unless it is already written. signed is who ordered it.
func (s *Syncer) save(ctx context.Context, written generation.Generation, d guard.Decision, signed generation.Signature,
) (generation.Generation, error) {
	// The names of strangers alone do not make a first generation: that would end the take-over from another program.
	noted := s.gen.Number == 0 || slices.Equal(written.Strangers, s.gen.Strangers)
	if d.Accepted.Equal(s.gen.Set) && sameFreezes(written.Frozen, s.gen.Frozen) && noted && s.storeErr == nil && !s.unwritten {
		return s.gen, nil
	}
	g := next(written, d.Accepted)
	g.Guard, g.Signed = d.History.Lines(), signed
	return s.parts.Store.Save(ctx, g)
}

// keep writes a generation with the guard's current history.
func (s *Syncer) keep(ctx context.Context, g generation.Generation) (generation.Generation, error) {
	g.Guard = s.history.Lines()
	return s.parts.Store.Save(ctx, g)
}

// next returns the following generation. Upstreams that it lacks are leaving, and those with changed options are
// being pushed, until every gateway has confirmed it.
func next(g generation.Generation, accepted upstream.Set) generation.Generation {
	n := generation.Generation{Set: accepted, Frozen: g.Frozen, Strangers: g.Strangers}
	for _, name := range g.Leaving {
		if _, back := accepted.Get(name); !back {
			n.Leaving = append(n.Leaving, name)
		}
	}
	for _, name := range g.Pushing {
		if _, there := accepted.Get(name); there {
			n.Pushing = append(n.Pushing, name)
		}
	}
	changes := upstream.Diff(g.Set, accepted)
	n.Reason = changes.Reason()
	for _, u := range changes.Removed {
		n.Leaving = append(n.Leaving, u.Name)
	}
	for _, u := range changes.Updated {
		if !u.Old.SameOptions(u.New) && !slices.Contains(n.Pushing, u.New.Name) {
			n.Pushing = append(n.Pushing, u.New.Name)
		}
	}
	return n
}

// settle clears the lists of leaving and pushed upstreams once every gateway is in sync.
func (s *Syncer) settle(ctx context.Context) {
	defer s.changed()
	if len(s.gen.Leaving)+len(s.gen.Pushing) == 0 || !s.Status().InSync() {
		return
	}
	gen := s.gen
	gen.Leaving, gen.Pushing = nil, nil
	gen, err := s.keep(ctx, gen)
	if s.takeOver(err) {
		signal(s.intake.changed)
		return
	}
	if err != nil {
		// They are only notes. This is tried again after the next comparison with a gateway.
		s.parts.Log.WithError(err).Warn("the conf file keeps notes of what is done")
		return
	}
	s.note(gen, s.outcome, nil)
	for _, d := range s.deliveries {
		d.to(gen, Timing{})
	}
}

// verify makes sure that the file still exists and is as written.
func (s *Syncer) verify(ctx context.Context) {
	if s.gen.Number == 0 || s.storeErr != nil {
		return
	}
	saved, err := s.parts.Store.Save(ctx, s.gen)
	if ctx.Err() != nil {
		return
	}
	if s.takeOver(err) {
		signal(s.intake.changed)
		return
	}
	if err != nil {
		s.parts.Log.WithError(err).Error("the conf file is not as it was written")
	} else if len(orphans(s.gen, saved)) > 0 {
		s.note(saved, s.outcome, nil)
	}
	s.mu.Lock()
	s.verifyErr = err
	s.mu.Unlock()
	s.changed()
}

// outcome is what a decision says of the changes that it did not let through.
type outcome struct {
	out   upstream.Outs
	holds []guard.Hold
	// onTrial are the holds that are not reported until the witness has answered.
	onTrial []guard.Hold
}

// note records a decision: holds and notes at once, since each explains the other. If more upstreams are leaving than
// before, because an older file that was overwritten had them, the gateways are asked.
func (s *Syncer) note(gen generation.Generation, o outcome, err error) {
	logHolds(s.parts.Log, s.holds, o.holds)
	s.holdEvents(s.holds, o.holds)
	logOut(s.parts.Log, s.out, o.out)
	s.storeEvents(s.storeErr, err)
	if left := orphans(s.gen, gen); err == nil && gen.Number == s.gen.Number && len(left) > 0 {
		for _, d := range s.deliveries {
			d.doubt(left)
			d.replace(gen)
		}
	}
	s.mu.Lock()
	s.since.left(s.out, o.out, time.Now())
	if err == nil {
		s.gen, s.unwritten = gen, false
	}
	s.outcome, s.storeErr = o, err
	s.mu.Unlock()
	s.changed()
}

func (s *Syncer) changed() {
	if s.parts.Changed != nil {
		s.parts.Changed()
	}
}

// Since returns since when servers are in and instances are out.
func (s *Syncer) Since() Since {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since.now()
}

// Beat returns when the loop last ran. It runs every second unless the store blocks it.
func (s *Syncer) Beat() time.Time { return time.Unix(0, s.beat.Load()) }

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
