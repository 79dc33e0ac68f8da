package syncer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// firstAnswer is how long servers that may not be reached any more stay for want of a registry's answer.
const firstAnswer = 3 * time.Second

// verifyEvery is how often it is made sure that the store still holds what was saved.
const verifyEvery = 10 * time.Second

// Syncer keeps the targets in sync with the sources.
type Syncer struct {
	Parts
	intake     *intake
	deliveries []*delivery
	// moved says that a delivery's state changed.
	moved chan struct{}
	// overtaken says that another process wrote a newer generation.
	overtaken chan struct{}
	// orders are a person's, carried out by the loop.
	orders chan request
	// waits are those between attempts to write. Only the loop uses them.
	waits *backoff.ExponentialBackOff
	// beat is when the loop last came round, in Unix nanoseconds.
	beat atomic.Int64

	mu       sync.Mutex // guards what Status reads
	gen      upstream.Generation
	out      []upstream.Out
	stays    []guard.ServerID
	unserved []Unserved
	holds    []guard.Hold
	// onTrial are the holds of which nobody is told until the witness is heard.
	onTrial  []guard.Hold
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
	// Only the loop uses what follows.

	history  guard.History // the guard's account
	quiet    time.Time     // when holds that nobody was told of yet began to wait for the witness
	fresh    bool          // the account is not the one that the last decision left
	starting bool          // nothing was decided yet
	told     replay.Moment // the last input of the guard
}

// New makes a syncer; Run or RunOnce starts it.
func New(p Parts) *Syncer {
	if p.Retry == (retry.Policy{}) {
		p.Retry = retry.Default()
	}
	s := &Syncer{
		Parts: p, intake: newIntake(p.Sources), moved: make(chan struct{}, 1), orders: make(chan request),
		overtaken: make(chan struct{}, 1),
		waits:     p.Retry.Backoff(), since: newSince(),
	}
	for _, t := range p.Targets {
		s.deliveries = append(s.deliveries, newDelivery(t, p.Retry, p.Log, s.event, s.mayPush, s.moved, s.intake.changed))
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
		running.Go(func() { s.intake.watch(ctx, src, s.Retry, s.Log) })
	}
	for _, d := range s.deliveries {
		d.to(s.gen, Timing{})
		running.Go(func() { d.run(ctx) })
	}
	if s.Witness != nil {
		running.Go(func() { s.Witness.Run(ctx, func() { signal(s.intake.changed) }) })
	}
	s.decideUntil(ctx)
	return nil
}

// load takes the conf file for the baseline.
func (s *Syncer) load() error {
	s.began, s.starting = time.Now(), true
	gen, err := s.baseline()
	if err != nil {
		return err
	}
	s.foreign = gen.Strangers
	for _, t := range s.Targets {
		t.written(gen)
	}
	s.Log.WithFields(logrus.Fields{"generation": gen.Number, "upstreams": gen.Set.Len(), "servers": gen.Set.Servers()}).
		Info("the conf file is the baseline")
	return nil
}

// baseline reads the conf file, and what the guard remembers in it.
func (s *Syncer) baseline() (upstream.Generation, error) {
	gen, err := s.Store.Load()
	if err != nil {
		return gen, err
	}
	s.mu.Lock()
	s.gen = gen
	s.mu.Unlock()
	s.fresh = true
	s.history, err = guard.ReadHistory(gen.Guard, time.Now(), s.Guard.Window)
	if err != nil {
		s.Log.WithError(err).Warn("what the guard remembers can't be read: no removal goes through for the window's time")
	} else if gen.Base > 0 {
		s.history = guard.Held(gen.Base)
	}
	return gen, nil
}

// takeOver makes the conf file the baseline again where the store found that somebody else wrote it later than
// we did, and reports whether it is: what was decided came of an older state, and must not replace it.
func (s *Syncer) takeOver(err error) bool {
	var newer interface{ Newer() bool }
	if !errors.As(err, &newer) || !newer.Newer() {
		return false
	}
	s.Log.WithError(err).Error("another process writes the conf file: its state is the baseline now, and is judged anew")
	before := s.gen
	for _, d := range s.deliveries { // before it is read: from then on the store says that what we have is new
		d.hold()
	}
	gen, err := s.baseline()
	if err != nil {
		for _, d := range s.deliveries {
			d.release()
		}
		s.Log.WithError(err).Error("the conf file can't be read")
		return false
	}
	s.intake.outdate()
	// What is ours and not the other one's may have reached a gateway after that one took it away.
	for _, name := range next(before, gen.Set).Leaving {
		if !slices.Contains(gen.Leaving, name) {
			gen.Leaving = append(gen.Leaving, name)
		}
	}
	s.mu.Lock()
	s.gen = gen
	s.mu.Unlock()
	for _, d := range s.deliveries {
		d.anew(gen)
	}
	s.changed()
	return true
}

// newer is an error where another process wrote a newer generation than ours.
func (s *Syncer) newer() error {
	if o, ok := s.Store.(Overtaken); ok {
		return o.Overtaken()
	}
	return nil
}

// mayPush is errOvertaken where what we have is old; the loop then takes the newer generation.
func (s *Syncer) mayPush() error {
	if s.newer() == nil {
		return nil
	}
	signal(s.overtaken)
	return errOvertaken
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
	defer s.leave(ctx)
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
		case <-s.overtaken:
			if s.takeOver(s.newer()) {
				signal(s.intake.changed)
			}
		case <-verify.C:
			s.verify(ctx)
		}
	}
}

// decide is one decision: what is seen, what of it is accepted, saved, and handed on to
// the gateways. approved is the ID of a hold that a person lets through. It returns after
// which time to decide again by itself, 0 for never.
func (s *Syncer) decide(ctx context.Context, approved string) time.Duration {
	now, before, written := time.Now(), s.gen, s.gen
	var thaw time.Duration
	written.Frozen, thaw = thawed(written.Frozen, now)
	written.Strangers = s.known()
	gone := guard.Gone(written.Set, s.reachable(written).Set)
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
	if err == nil || len(decision.Holds) > 0 { // else what was let through is not through yet
		s.hold(holds, onTrial)
	}
	s.note(gen, decision.Out, err)
	if err != nil {
		s.record(false)
		wait := s.waits.NextBackOff()
		s.Log.WithError(err).WithField("again_in", wait.Round(time.Millisecond).String()).
			Error("the conf file can't be written: nothing is pushed")
		return wait
	}
	s.waits.Reset()
	s.unfroze = upstream.Signature{}
	s.thawed(before.Frozen, gen.Frozen)
	timing.Saved = time.Now()
	s.adopt(before, timing, reasonsOf(gen.Set, decision.Out))
	s.record(true)
	s.noteStays()
	return sooner(sooner(decision.Again, thaw), told)
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

// save writes what was accepted, unless it is written already. signed is whose order let it through.
func (s *Syncer) save(ctx context.Context, written upstream.Generation, d guard.Decision, signed upstream.Signature,
) (upstream.Generation, error) {
	// The names of strangers alone are no first generation: it would end the move from another program.
	noted := s.gen.Number == 0 || slices.Equal(written.Strangers, s.gen.Strangers)
	if d.Accepted.Equal(s.gen.Set) && sameFreezes(written.Frozen, s.gen.Frozen) && noted && s.storeErr == nil {
		return s.gen, nil
	}
	g := next(written, d.Accepted)
	g.Guard, g.Signed = d.History.Lines(), signed
	return s.Store.Save(ctx, g)
}

// keep writes a generation with what the guard remembers now.
func (s *Syncer) keep(ctx context.Context, g upstream.Generation) (upstream.Generation, error) {
	g.Guard = s.history.Lines()
	return s.Store.Save(ctx, g)
}

// next is the generation that follows: what it does not have any more is leaving, and
// what has other options is being pushed, until every gateway has confirmed it.
func next(g upstream.Generation, accepted upstream.Set) upstream.Generation {
	n := upstream.Generation{Set: accepted, Frozen: g.Frozen, Strangers: g.Strangers}
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
	gen, err := s.keep(ctx, gen)
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
	if s.takeOver(err) {
		signal(s.intake.changed)
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

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
