package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Causes of errors of orders.
var (
	// ErrUnknown is the cause if an order names an unknown hold, upstream or freeze.
	ErrUnknown = errors.New("not known")
	// ErrNotNow is the cause if an order can't be carried out at present.
	ErrNotNow = errors.New("not possible now")
	// ErrPresent is the cause if a [Rollback] leads to what is already written. Nothing is done then.
	ErrPresent = errors.New("it is the current one: nothing is changed and nothing is frozen")
)

// refusal is an error that does not repeat its cause in its text.
type refusal struct {
	text  string
	cause error
}

func refuse(cause error, format string, a ...any) error {
	return &refusal{fmt.Sprintf(format, a...), cause}
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.cause }

// Order is an operator's order: see [Approve], [Freeze], [Unfreeze] and [Rollback]. It may return a remark for the
// operator.
type Order func(ctx context.Context, s *Syncer) (remark reason.Reason, err error)

// Signed returns the order with a signature, which is recorded with its effects. It is refused if the signature can't
// be written.
func Signed(by generation.Signature, o Order) Order {
	return func(ctx context.Context, s *Syncer) (reason.Reason, error) {
		if err := by.Valid(); err != nil { // otherwise its effects, and everything after them, could not be written
			return reason.Reason{}, refuse(ErrNotNow, "the order can't be signed so: %v", err)
		}
		s.signer = by
		defer func() { s.signer = generation.Signature{} }()
		return o(ctx, s)
	}
}

// signed returns the logger with the signature as fields.
func (s *Syncer) signed(by generation.Signature) logrus.FieldLogger {
	log := s.parts.Log
	if by.By != "" {
		log = log.WithField("by", by.By)
	}
	if by.Why != "" {
		log = log.WithField("why", by.Why)
	}
	return log
}

type request struct {
	order Order
	reply chan reply // has capacity one
}

type reply struct {
	remark reason.Reason
	err    error
}

// Do has the running syncer carry out an order between two decisions.
func (s *Syncer) Do(ctx context.Context, o Order) (remark reason.Reason, err error) {
	r := request{order: o, reply: make(chan reply, 1)}
	select {
	case s.orders <- r:
	case <-ctx.Done():
		return reason.Reason{}, fmt.Errorf("the daemon is busy: %w", ctx.Err())
	}
	select {
	case done := <-r.reply:
		return done.remark, done.err
	case <-ctx.Done():
		return reason.Reason{}, fmt.Errorf("the daemon has the order and has not carried it out yet: %w", ctx.Err())
	}
}

// carryOut carries out an order on the current conf file, whoever wrote it.
func (s *Syncer) carryOut(ctx context.Context, o Order) (remark reason.Reason, err error) {
	s.takeOver(s.newer())
	for range tries {
		if remark, err = o(ctx, s); !s.takeOver(err) {
			break
		}
	}
	return remark, err
}

// DoOnce carries out an order without a running syncer, and brings the gateways to the result. It asks no registry.
func (s *Syncer) DoOnce(ctx context.Context, o Order) (remark reason.Reason, gateways []GatewayOutcome, err error) {
	if err := s.load(); err != nil {
		return reason.Reason{}, nil, err
	}
	s.ask(ctx)
	if remark, err = s.carryOut(ctx, o); err != nil {
		return reason.Reason{}, nil, err
	}
	gateways = make([]GatewayOutcome, len(s.parts.Targets))
	var running sync.WaitGroup
	for i, t := range s.parts.Targets {
		running.Go(func() {
			changes, err := s.bringOnce(ctx, t.Gateway, s.gen)
			gateways[i] = GatewayOutcome{Name: t.Name, Changes: changes, Err: err}
		})
	}
	running.Wait()
	return remark, gateways, s.forget(ctx, s.gen, gateways)
}

// Approve releases exactly the hold with this ID.
func Approve(id string) Order {
	return func(ctx context.Context, s *Syncer) (reason.Reason, error) {
		before := ids(s.holds)
		switch {
		case len(before) == 0:
			return reason.Reason{}, refuse(ErrUnknown, "no hold %s; nothing is held now", id)
		case !slices.Contains(before, id):
			return reason.Reason{}, refuse(ErrUnknown, "no hold %s; held now: %s", id, strings.Join(before, " and "))
		}
		s.decide(ctx, id)
		others := slices.DeleteFunc(ids(s.holds), func(id string) bool { return slices.Contains(before, id) })
		switch {
		case s.storeErr != nil:
			return reason.Reason{}, s.storeErr
		case len(others) > 0 || slices.Contains(ids(s.holds), id):
			return reason.Reason{}, refuse(ErrNotNow, "hold %s: the change is another meanwhile, and held as %s", id, strings.Join(ids(s.holds), " and "))
		}
		s.signed(s.signer).WithField("hold", id).Warn("an operator approved the hold: the change goes through")
		s.event(Event{Kind: EventApproved, Signed: s.signer, Text: holdApproved.With(id)})
		return reason.Reason{}, nil
	}
}

func ids(holds []guard.Hold) []string {
	all := make([]string, len(holds))
	for i, h := range holds {
		all[i] = h.ID
	}
	return all
}

// Freeze freezes an upstream, or everything, as written. It replaces an existing freeze of the same name.
func Freeze(f generation.Freeze) Order {
	return func(ctx context.Context, s *Syncer) (reason.Reason, error) {
		if s.gen.Number == 0 {
			return reason.Reason{}, refuse(ErrNotNow, "%s can't be frozen: nothing was written yet", f.Name.Words())
		}
		if f.Name != generation.Everything {
			u, ok := s.gen.Set.Get(string(f.Name))
			if !ok {
				return reason.Reason{}, refuse(ErrUnknown, "upstream %q is not in the conf file", string(f.Name))
			}
			f.Name = generation.Scope(u.Name)
		}
		f.Signed = s.signer
		others := slices.DeleteFunc(slices.Clone(s.gen.Frozen), func(o generation.Freeze) bool { return o.Name == f.Name })
		if err := s.freeze(ctx, append(others, f)); err != nil {
			return reason.Reason{}, err
		}
		text := frozenWords(f)
		s.signed(s.signer).WithField("upstream", string(f.Name)).Warn(text.String())
		s.event(Event{Kind: EventFrozen, Signed: s.signer, Upstream: string(f.Name), Text: text})
		return reason.Reason{}, nil
	}
}

func frozenWords(f generation.Freeze) reason.Reason {
	until := f.Until.UTC().Format(time.RFC3339)
	switch {
	case f.Name == generation.Everything && f.Until.IsZero():
		return allFrozen.With()
	case f.Name == generation.Everything:
		return allFrozenFor.With(until)
	case f.Until.IsZero():
		return oneFrozen.With(string(f.Name))
	}
	return oneFrozenFor.With(string(f.Name), until)
}

// Unfreeze ends the freeze of an upstream, or of everything.
func Unfreeze(name generation.Scope) Order {
	return func(ctx context.Context, s *Syncer) (reason.Reason, error) {
		f := generation.Freeze{Name: name}
		left := slices.DeleteFunc(slices.Clone(s.gen.Frozen), func(o generation.Freeze) bool {
			return upstream.SameName(string(o.Name), string(name))
		})
		if len(left) == len(s.gen.Frozen) {
			return reason.Reason{}, refuse(ErrUnknown, "%s is not frozen; %s", f.Name.Words(), frozenNow(s.gen.Frozen))
		}
		if err := s.freeze(ctx, left); err != nil {
			return reason.Reason{}, err
		}
		s.released(f, s.signer)
		s.unfroze = s.signer
		signal(s.intake.changed) // now comes what the freeze kept back
		return reason.Reason{}, nil
	}
}

// Opinion changes nothing. Its remark is what the guard would object to in a [Rollback].
func Opinion(to generation.Generation) Order {
	return func(_ context.Context, s *Syncer) (reason.Reason, error) {
		_, remark := s.step(to)
		return remark, nil
	}
}

// step returns what of an earlier generation may be written, and the guard's objections.
func (s *Syncer) step(to generation.Generation) (upstream.Set, reason.Reason) {
	written := s.gen
	written.Strangers = s.known()
	set := s.reachable(generation.Generation{Set: s.screened(written, to.Set)}).Set
	d := s.parts.Guard.Decide(guard.Input{Accepted: s.gen.Set, Seen: set, History: s.history, Now: time.Now()})
	admitted := s.admit(written, guard.Decision{Accepted: set, Out: set.Outs()})
	remark := guard.Reasons(d.Holds)
	for first := range admitted.Out.All() {
		remark = reason.Join(leftOut.With(admitted.Out.Len(), first.Upstream, first.Reason), remark)
		break
	}
	return admitted.Accepted, remark
}

// Rollback writes an earlier generation again, pushes it and freezes everything. The remark is the guard's
// objections; the operator overrides them. If that generation equals what is written, the error is [ErrPresent].
func Rollback(to generation.Generation) Order {
	return func(ctx context.Context, s *Syncer) (reason.Reason, error) {
		before := s.gen
		if gateway.Loadable(to.Set).Equal(before.Set) {
			return reason.Reason{}, fmt.Errorf("generation %d: %w", to.Number, ErrPresent)
		}
		set, remark := s.step(to)
		g := next(before, set)
		// Freezes of single upstreams stay in force when the freeze of everything ends.
		g.Frozen = append(slices.DeleteFunc(slices.Clone(before.Frozen), func(f generation.Freeze) bool { return f.Name == generation.Everything }),
			generation.Freeze{Signed: s.signer})
		g.Signed = s.signer
		g.Reason = upstream.RolledBack(to.Number)
		decided := time.Now()
		saved, err := s.parts.Store.Save(ctx, g)
		if err != nil {
			return reason.Reason{}, err
		}
		s.history, s.fresh = guard.History{}, true // an operator's removals and additions count as neither loss nor growth
		s.note(saved, outcome{out: s.out}, nil)
		s.adopt(before, Timing{Seen: decided, Decided: decided, Saved: time.Now()},
			func(string, netip.AddrPort) reason.Reason { return g.Reason })
		text := wentBack.With(g.Reason)
		s.signed(s.signer).WithFields(logrus.Fields{"generation": saved.Number, "to": to.Number}).Warn("a person " + text.String())
		s.event(Event{Kind: EventRolledBack, Signed: s.signer, Generation: saved.Number, Text: text})
		return remark, nil
	}
}

// freeze writes a new list of freezes. The set stays as it is.
func (s *Syncer) freeze(ctx context.Context, freezes []generation.Freeze) error {
	g := s.gen
	g.Frozen = freezes
	saved, err := s.keep(ctx, g)
	if err != nil {
		return err
	}
	s.note(saved, s.outcome, nil)
	return nil
}

// released reports a freeze that has ended, by order or by expiry.
func (s *Syncer) released(f generation.Freeze, by generation.Signature) {
	text := oneThawed.With(string(f.Name))
	if f.Name == generation.Everything {
		text = allThawed.With()
	}
	s.signed(by).WithField("upstream", string(f.Name)).Warn(text.String())
	s.event(Event{Kind: EventUnfrozen, Signed: by, Upstream: string(f.Name), Text: text})
}
