package syncer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// firstAnswer is how long servers that may not be reached any more stay for want of a registry's answer.
const firstAnswer = 3 * time.Second

// verifyEvery is how often it is made sure that the store still holds what was saved.
const verifyEvery = 10 * time.Second

// Parts is what a syncer is made of.
type Parts struct {
	Sources  []Source
	Guard    GuardConfig
	Store    Store
	Targets  []Target
	Schedule Schedule
	// Reach, where not nil, says what registrations may reach now.
	Reach func() Reach
	// Taken, where not nil, is the names that nginx's configuration uses now, in lower case.
	Taken func() map[string]Taken
	Log   logrus.FieldLogger
	// Changed, where not nil, is called after something that Status shows has changed. It must not block.
	Changed func()
	// Event, where not nil, is told what happens. It must not block, and is called from several goroutines.
	Event func(Event)
}

// Syncer keeps the targets in sync with the sources.
type Syncer struct {
	Parts
	intake     *intake
	deliveries []*delivery
	// moved says that a delivery's state changed.
	moved chan struct{}
	// orders are a person's, carried out by the loop.
	orders chan request
	// waits are those between attempts to write. Only the loop uses them.
	waits *backoff.ExponentialBackOff
	// beat is when the loop last came round, in Unix nanoseconds.
	beat atomic.Int64

	mu       sync.Mutex // guards what Status reads
	gen      upstream.Generation
	out      []upstream.Out
	stays    []Held
	unserved []Unserved
	hold     *Hold
	heldAt   time.Time
	storeErr error
	// verifyErr is why the conf file is not as it was written, and can't be mended.
	verifyErr error
	// since is from when what came or went after the start is as it is.
	since since

	// foreign is the names of upstreams that are known to be somebody else's. Only the loop uses it.
	foreign []string
	// waiting says which gateways had not been asked when foreign was looked up. Only the loop uses it.
	waiting string
	began   time.Time
	// signer is whose order is being carried out, unfroze whose last one let changes come that no decision has
	// written yet. Only the loop uses them.
	signer, unfroze upstream.Signature
	// recovering is until when a hold that is over by the limits goes on. Only the loop uses it.
	recovering time.Time
}

// New makes a syncer; Run or RunOnce starts it.
func New(p Parts) *Syncer {
	s := &Syncer{
		Parts: p, intake: newIntake(p.Sources), moved: make(chan struct{}, 1), orders: make(chan request),
		waits: retry.Default().Backoff(), since: newSince(),
	}
	for _, t := range p.Targets {
		s.deliveries = append(s.deliveries, newDelivery(t, p.Log, s.event, s.moved, s.intake.changed))
	}
	return s
}

// Run keeps the targets in sync until the context ends. It returns an error only
// where the store can't be read at the start.
func (s *Syncer) Run(ctx context.Context) error {
	if err := s.load(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, src := range s.Sources {
		running.Go(func() { s.intake.watch(ctx, src, s.Log) })
	}
	for _, d := range s.deliveries {
		d.to(s.gen, Timing{})
		running.Go(func() { d.run(ctx) })
	}
	s.decideUntil(ctx)
	return nil
}

// load takes the conf file for the baseline.
func (s *Syncer) load() error {
	gen, err := s.Store.Load()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.gen = gen
	s.mu.Unlock()
	s.began, s.foreign = time.Now(), gen.Strangers
	if gen.Base > 0 {
		s.recovering = time.Now().Add(recovery) // the last run ended during a hold
	}
	for _, t := range s.Targets {
		if a, ok := t.Gateway.(Assumer); ok {
			a.Assume(gen.Set.Without(gen.Pushing))
		}
	}
	s.Log.WithFields(logrus.Fields{"generation": gen.Number, "upstreams": gen.Set.Len(), "servers": gen.Set.Servers()}).
		Info("the conf file is the baseline")
	return nil
}

// decideUntil decides whenever there is something to decide, until the context ends.
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
	for {
		s.beat.Store(time.Now().UnixNano())
		select {
		case <-ctx.Done():
			return
		case <-pulse.C:
		case <-s.intake.changed:
			last = time.Now()
			if first.IsZero() {
				first = last
			}
			due.Reset(time.Until(s.Schedule.due(first, last, decided)))
		case <-due.C:
			first = time.Time{}
			again := s.decide(ctx, "")
			decided = time.Now()
			if again > 0 {
				due.Reset(again)
			}
		case r := <-s.orders:
			remark, err := r.order(ctx, s)
			r.reply <- reply{remark, err}
			decided = time.Now()
			// A freeze that ends by itself, or a write that failed, is looked after by a decision.
			signal(s.intake.changed)
		case <-s.moved:
			s.settle(ctx)
		case <-verify.C:
			s.verify(ctx)
		}
	}
}

// decide is one decision: what is seen, what of it is accepted, saved, and handed on to
// the gateways. released is the ID of a hold that a person lets through. It returns after
// which time to decide again by itself, 0 for never.
func (s *Syncer) decide(ctx context.Context, released string) time.Duration {
	now, before, written := time.Now(), s.gen, s.gen
	var thaw time.Duration
	written.Frozen, thaw = thawed(written.Frozen, now)
	written.Strangers = s.known()
	gone := removals(written.Set, s.reachable(written).Set)
	if len(s.intake.missing()) == len(s.Sources) {
		if len(gone) == 0 {
			return thaw
		}
		if wait := firstAnswer - now.Sub(s.began); wait > 0 {
			return sooner(wait, thaw) // with its answer there may be others to take their place
		}
	}
	if len(gone) > 0 {
		s.Log.WithFields(logrus.Fields{"servers": len(gone), "upstream": gone[0].Upstream, "reason": s.reach().Refuses(gone[0].Addr)}).
			Warn("the conf file has servers that may not be reached any more: they go")
	}
	if wait := s.firstLook(now); wait > 0 {
		return wait
	}
	timing := Timing{Seen: s.intake.taken(now)}
	verdict, since, holdEnds := s.judge(written, now, released)
	timing.Decided = time.Now()
	signed := s.unfroze
	if released != "" && verdict.Hold == nil {
		signed = s.signer
	}
	gen, err := s.save(ctx, written, verdict, signed)
	if err == nil || verdict.Hold != nil { // else what was let through is not through yet
		s.holds(verdict.Hold, since)
	}
	s.note(gen, verdict.Out, err)
	if err != nil {
		wait := s.waits.NextBackOff()
		s.Log.WithError(err).WithField("again_in", wait.Round(time.Millisecond).String()).
			Error("the conf file can't be written: nothing is pushed")
		return wait
	}
	s.waits.Reset()
	s.unfroze = upstream.Signature{}
	s.thawed(before.Frozen, gen.Frozen)
	timing.Saved = time.Now()
	s.adopt(before, timing, reasonsOf(gen.Set, verdict.Out))
	s.noteStays()
	return sooner(holdEnds, thaw)
}

// adopt hands the generation on to the gateways, where it is a new one, and tells of it. why is for what
// gets no traffic any more.
func (s *Syncer) adopt(before upstream.Generation, timing Timing, why reasons) {
	gen := s.gen
	if gen.Number == before.Number {
		return
	}
	for _, d := range s.deliveries {
		d.to(gen, timing)
	}
	if a, ok := s.Store.(Archiver); ok {
		a.Archive()
	}
	changes := upstream.Diff(before.Set, gen.Set)
	s.mu.Lock()
	s.since.moved(before.Number, changes, gen.Time)
	s.mu.Unlock()
	logChanges(s.Log.WithField("generation", gen.Number), changes)
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

// thawed tells of the freezes whose time is up.
func (s *Syncer) thawed(before, now []upstream.Freeze) {
	for _, f := range before {
		if !slices.ContainsFunc(now, func(o upstream.Freeze) bool { return o.Name == f.Name }) {
			s.released(f, upstream.Signature{})
		}
	}
}

// judge asks the guard, and lets a hold through whose time is up. since is from when the
// hold is, holdEnds after which time to judge again by itself, 0 for never.
//
// A registry that lost everything gets it back piece by piece. When half of it is there, the
// other half would be within the limits. So after a hold every removal is held until nothing
// has come back for a while.
func (s *Syncer) judge(written upstream.Generation, now time.Time, released string,
) (v Verdict, since time.Time, holdEnds time.Duration) {
	before := s.hold
	since = s.heldAt
	v = s.verdict(written, released)
	if released != "" && v.Hold == nil && s.verdict(written, "").Hold != nil {
		s.recovering = time.Time{} // a person's word counts for what would come back, too
	}
	strict := v.Hold == nil && now.Before(s.recovering)
	if strict {
		judged := s.Guard.judge(s.reachable(written), s.seen(written), released, true)
		if v = s.admit(written, judged); v.Hold == nil {
			s.recovering = time.Time{} // all is back
		}
	}
	if v.Hold != nil {
		if before == nil || before.ID != v.Hold.ID {
			since = now
		}
		// What comes back gives the rest more time. What goes meanwhile does not: where
		// something always goes, removals would be held for ever.
		if !strict || v.Hold.partOf(before) {
			s.recovering = now.Add(recovery)
		}
		if strict {
			holdEnds = s.recovering.Sub(now)
		}
		if left := since.Add(s.Guard.HoldFor).Sub(now); s.Guard.HoldFor > 0 && left <= 0 {
			s.Log.WithFields(logrus.Fields{"hold": v.Hold.ID, "hold_for": s.Guard.HoldFor.String()}).
				Warn("the hold's time is up: the change goes through")
			v, holdEnds, s.recovering = s.verdict(written, v.Hold.ID), 0, time.Time{}
		} else if s.Guard.HoldFor > 0 && (holdEnds == 0 || left < holdEnds) {
			holdEnds = left
		}
	}
	return v, since, holdEnds
}

// verdict is the guard's on what the registries gave. released is the ID of a hold that is
// let through.
func (s *Syncer) verdict(written upstream.Generation, released string) Verdict {
	all := written
	written = s.reachable(written)
	seen, empty := s.intake.seen(written.Set, false)
	var hold *Hold
	if len(empty) > 0 && s.Guard.MinServices > 0 && !isFrozen(written.Frozen, "") {
		hold = emptied(written.Set, empty)
	}
	let := hold
	if len(empty) > 0 && (hold == nil || hold.ID == released) {
		seen, _ = s.intake.seen(written.Set, true)
		hold = nil
	}
	seen = frozen(written, withoutStrangers(all, s.withoutTaken(all, s.reach().seen(seen))))
	v := s.Guard.Judge(written, seen, released)
	if v.Hold != nil && let != nil && let.ID == released && v.Hold.within(let) {
		v = s.Guard.Judge(written, seen, v.Hold.ID) // the same servers under another rule: they were let through
	}
	if v.Hold == nil {
		v.Hold = hold
	}
	return s.admit(all, v)
}

// holds keeps what is held, and since when.
func (s *Syncer) holds(hold *Hold, since time.Time) {
	logHold(s.Log, s.hold, hold)
	s.holdEvents(s.hold, hold)
	s.mu.Lock()
	s.hold, s.heldAt = hold, since
	s.mu.Unlock()
}

// save writes what was accepted, unless it is written already. signed is whose order let it through.
func (s *Syncer) save(ctx context.Context, written upstream.Generation, v Verdict, signed upstream.Signature,
) (upstream.Generation, error) {
	if v.Accepted.Equal(s.gen.Set) && v.Base == s.gen.Base && sameFreezes(written.Frozen, s.gen.Frozen) &&
		slices.Equal(written.Strangers, s.gen.Strangers) && s.storeErr == nil {
		return s.gen, nil
	}
	g := next(written, v)
	g.Signed = signed
	return s.Store.Save(ctx, g)
}

// next is the generation that follows: what it does not have any more is leaving, and
// what has other options is being pushed, until every gateway has confirmed it.
func next(g upstream.Generation, v Verdict) upstream.Generation {
	n := upstream.Generation{Set: v.Accepted, Base: v.Base, Frozen: g.Frozen, Strangers: g.Strangers}
	for _, name := range g.Leaving {
		if _, back := v.Accepted.Get(name); !back {
			n.Leaving = append(n.Leaving, name)
		}
	}
	for _, name := range g.Pushing {
		if _, there := v.Accepted.Get(name); there {
			n.Pushing = append(n.Pushing, name)
		}
	}
	changes := upstream.Diff(g.Set, v.Accepted)
	n.Reason = inWords(changes)
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

// settle drops the notes of what was leaving and pushed, once every gateway is in sync.
func (s *Syncer) settle(ctx context.Context) {
	defer s.changed()
	if len(s.gen.Leaving)+len(s.gen.Pushing) == 0 || !s.Status().InSync() {
		return
	}
	gen := s.gen
	gen.Leaving, gen.Pushing = nil, nil
	gen, err := s.Store.Save(ctx, gen)
	if err != nil {
		// They are only notes: this is tried again when a gateway was compared next.
		s.Log.WithError(err).Warn("the conf file keeps notes of what is done")
		return
	}
	s.note(gen, s.out, nil)
	for _, d := range s.deliveries {
		d.to(gen, Timing{})
	}
}

// verify makes sure that the file is still there and as it was written.
func (s *Syncer) verify(ctx context.Context) {
	if s.gen.Number == 0 || s.storeErr != nil {
		return
	}
	_, err := s.Store.Save(ctx, s.gen)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.Log.WithError(err).Error("the conf file is not as it was written")
	}
	s.mu.Lock()
	s.verifyErr = err
	s.mu.Unlock()
	s.changed()
}

// note keeps what a decision led to.
func (s *Syncer) note(gen upstream.Generation, out []upstream.Out, err error) {
	logOut(s.Log, s.out, out)
	s.storeEvents(s.storeErr, err)
	s.mu.Lock()
	s.since.left(out, time.Now())
	if err == nil {
		s.gen = gen
	}
	s.out, s.storeErr = out, err
	s.mu.Unlock()
	s.changed()
}

func (s *Syncer) changed() {
	if s.Changed != nil {
		s.Changed()
	}
}

// seen is what the registries gave, without what is not ours to write, and with what is frozen.
func (s *Syncer) seen(written upstream.Generation) upstream.Set {
	reachable := s.reachable(written)
	seen, _ := s.intake.seen(reachable.Set, false)
	return frozen(reachable, withoutStrangers(written, s.withoutTaken(written, s.reach().seen(seen))))
}

func (s *Syncer) reach() Reach {
	if s.Reach == nil {
		return Reach{}
	}
	return s.Reach()
}

// reachable is what was written, without the servers that may not be reached any more.
func (s *Syncer) reachable(g upstream.Generation) upstream.Generation { return s.reach().written(g) }

// Since says from when servers are in and instances are out.
func (s *Syncer) Since() Since {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since.now()
}

// Beat is when the loop last came round. It does every second, unless the store keeps it.
func (s *Syncer) Beat() time.Time { return time.Unix(0, s.beat.Load()) }

// Troubled is a registry that can say why it is not readable just now and since when, and when it gave
// its last good answer.
type Troubled interface {
	Trouble() error
	TroubleSince() time.Time
	Heard() time.Time
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
