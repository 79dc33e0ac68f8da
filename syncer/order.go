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

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Errors of orders, to be told apart by whoever passes them on.
var (
	// ErrUnknown is the cause where an order names a hold, an upstream or a freeze that there is not.
	ErrUnknown = errors.New("not known")
	// ErrNotNow is the cause where an order can't be carried out as things are.
	ErrNotNow = errors.New("not possible now")
	// ErrPresent is the cause where a [Rollback] leads to what is written already: nothing is done.
	ErrPresent = errors.New("it is the present one: nothing is changed and nothing is frozen")
)

// refusal is why an order can't be carried out, in words that need no more of the cause.
type refusal struct {
	text  string
	cause error
}

func refuse(cause error, format string, a ...any) error {
	return &refusal{fmt.Sprintf(format, a...), cause}
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.cause }

// Order is what a person wants done: see [Approve], [Freeze], [Unfreeze] and [Rollback]. It
// returns what the person should know besides.
type Order func(ctx context.Context, s *Syncer) (remark string, err error)

// Signed is an order with who gave it, and why. What comes of it bears that name.
func Signed(by upstream.Signature, o Order) Order {
	return func(ctx context.Context, s *Syncer) (string, error) {
		s.signer = by
		defer func() { s.signer = upstream.Signature{} }()
		return o(ctx, s)
	}
}

// signed is the log with whose order it is.
func (s *Syncer) signed(by upstream.Signature) logrus.FieldLogger {
	log := s.Log
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
	reply chan reply // has room for the one reply
}

type reply struct {
	remark string
	err    error
}

// Do has the running syncer carry out an order, between two decisions.
func (s *Syncer) Do(ctx context.Context, o Order) (remark string, err error) {
	r := request{order: o, reply: make(chan reply, 1)}
	select {
	case s.orders <- r:
	case <-ctx.Done():
		return "", fmt.Errorf("the daemon is busy: %w", ctx.Err())
	}
	select {
	case done := <-r.reply:
		return done.remark, done.err
	case <-ctx.Done():
		return "", fmt.Errorf("the daemon has the order and has not carried it out yet: %w", ctx.Err())
	}
}

// DoOnce carries out an order without a running syncer, and brings the gateways to what it
// led to. No registry is asked.
func (s *Syncer) DoOnce(ctx context.Context, o Order) (remark string, gateways []GatewayOutcome, err error) {
	if err := s.load(); err != nil {
		return "", nil, err
	}
	s.ask(ctx)
	if remark, err = o(ctx, s); err != nil {
		return "", nil, err
	}
	gateways = make([]GatewayOutcome, len(s.Targets))
	var running sync.WaitGroup
	for i, t := range s.Targets {
		running.Go(func() {
			changes, err := bringOnce(ctx, t.Gateway, s.gen)
			gateways[i] = GatewayOutcome{Name: t.Name, Changes: changes, Err: err}
		})
	}
	running.Wait()
	return remark, gateways, s.forget(ctx, s.gen, gateways)
}

// Approve lets exactly the hold with this ID through.
func Approve(id string) Order {
	return func(ctx context.Context, s *Syncer) (string, error) {
		before := ids(s.holds)
		switch {
		case len(before) == 0:
			return "", refuse(ErrUnknown, "no hold %s; nothing is held now", id)
		case !slices.Contains(before, id):
			return "", refuse(ErrUnknown, "no hold %s; held now: %s", id, strings.Join(before, " and "))
		}
		s.decide(ctx, id)
		others := slices.DeleteFunc(ids(s.holds), func(id string) bool { return slices.Contains(before, id) })
		switch {
		case s.storeErr != nil:
			return "", s.storeErr
		case len(others) > 0 || slices.Contains(ids(s.holds), id):
			return "", refuse(ErrNotNow, "hold %s: the change is another meanwhile, and held as %s", id, strings.Join(ids(s.holds), " and "))
		}
		s.signed(s.signer).WithField("hold", id).Warn("a person approved the hold: the change goes through")
		s.event(Event{Kind: EventApproved, Signed: s.signer, Text: "hold " + id + " was approved"})
		return "", nil
	}
}

func ids(holds []guard.Hold) []string {
	all := make([]string, len(holds))
	for i, h := range holds {
		all[i] = h.ID
	}
	return all
}

// Freeze leaves an upstream, or everything, as it is written. A freeze of the same name that
// there is already gives way.
func Freeze(f upstream.Freeze) Order {
	return func(ctx context.Context, s *Syncer) (string, error) {
		if s.gen.Number == 0 {
			return "", refuse(ErrNotNow, "%s can't be frozen: nothing was written yet", f.Name.Words())
		}
		if f.Name != upstream.Everything {
			u, ok := s.gen.Set.Get(string(f.Name))
			if !ok {
				return "", refuse(ErrUnknown, "upstream %q is not in the conf file", string(f.Name))
			}
			f.Name = upstream.Scope(u.Name)
		}
		f.Signed = s.signer
		others := slices.DeleteFunc(slices.Clone(s.gen.Frozen), func(o upstream.Freeze) bool { return o.Name == f.Name })
		if err := s.freeze(ctx, append(others, f)); err != nil {
			return "", err
		}
		text := f.Name.Words() + " is frozen until it is released"
		if !f.Until.IsZero() {
			text = f.Name.Words() + " is frozen until " + f.Until.UTC().Format(time.RFC3339)
		}
		s.signed(s.signer).WithField("upstream", string(f.Name)).Warn(text)
		s.event(Event{Kind: EventFrozen, Signed: s.signer, Upstream: string(f.Name), Text: text})
		return "", nil
	}
}

// Unfreeze ends the freeze of an upstream, or that of everything.
func Unfreeze(name upstream.Scope) Order {
	return func(ctx context.Context, s *Syncer) (string, error) {
		f := upstream.Freeze{Name: name}
		left := slices.DeleteFunc(slices.Clone(s.gen.Frozen), func(o upstream.Freeze) bool {
			return upstream.SameName(string(o.Name), string(name))
		})
		if len(left) == len(s.gen.Frozen) {
			return "", refuse(ErrUnknown, "%s is not frozen; %s", f.Name.Words(), frozenNow(s.gen.Frozen))
		}
		if err := s.freeze(ctx, left); err != nil {
			return "", err
		}
		s.released(f, s.signer)
		s.unfroze = s.signer
		signal(s.intake.changed) // what the freeze kept back comes now
		return "", nil
	}
}

// Opinion changes nothing: the remark is what the guard would have against a [Rollback].
func Opinion(to upstream.Generation) Order {
	return func(_ context.Context, s *Syncer) (string, error) {
		_, remark := s.step(to)
		return remark, nil
	}
}

// step is what of an earlier generation may be written, and what the guard has against it.
func (s *Syncer) step(to upstream.Generation) (upstream.Set, string) {
	written := s.gen
	written.Strangers = s.known()
	set := withoutStrangers(written, s.withoutTaken(written, s.reach().seen(to.Set)))
	set = s.reachable(upstream.Generation{Set: set}).Set
	d := s.Guard.Decide(guard.Input{Accepted: s.gen.Set, Seen: set, History: s.history, Now: time.Now()})
	admitted := s.admit(written, guard.Decision{Accepted: set, Out: set.Out()})
	var remarks []string
	if n := len(admitted.Out); n > 0 {
		remarks = append(remarks, fmt.Sprintf("of it %d are left out, first %s: %s", n, admitted.Out[0].Upstream, admitted.Out[0].Reason))
	}
	if len(d.Holds) > 0 {
		remarks = append(remarks, guard.Reasons(d.Holds))
	}
	return admitted.Accepted, strings.Join(remarks, "; ")
}

// Rollback writes an earlier generation again, pushes it and freezes everything at it. The
// remark is what the guard has against the step; a person's word counts for more. Where that
// generation has what is written already the error is [ErrPresent].
func Rollback(to upstream.Generation) Order {
	return func(ctx context.Context, s *Syncer) (string, error) {
		before := s.gen
		if to.Set.Loadable().Equal(before.Set) {
			return "", fmt.Errorf("generation %d: %w", to.Number, ErrPresent)
		}
		set, remark := s.step(to)
		set = set.Loadable()
		g := next(before, set)
		// Those of single upstreams stay, and hold when the one of everything ends.
		g.Frozen = append(slices.DeleteFunc(slices.Clone(before.Frozen), func(f upstream.Freeze) bool { return f.Name == upstream.Everything }),
			upstream.Freeze{Signed: s.signer})
		g.Signed = s.signer
		g.Reason = fmt.Sprintf("rolled back to generation %d", to.Number)
		decided := time.Now()
		saved, err := s.Store.Save(ctx, g)
		if err != nil {
			return "", err
		}
		s.history, s.fresh = guard.History{}, true // what a person took away or brought back is no loss and no growth
		s.hold(nil, nil)
		s.note(saved, s.out, nil)
		s.adopt(before, Timing{Seen: decided, Decided: decided, Saved: time.Now()},
			func(string, netip.AddrPort) string { return g.Reason })
		text := g.Reason + " and froze everything at it"
		s.signed(s.signer).WithFields(logrus.Fields{"generation": saved.Number, "to": to.Number}).Warn("a person " + text)
		s.event(Event{Kind: EventRolledBack, Signed: s.signer, Generation: saved.Number, Text: text})
		return remark, nil
	}
}

// freeze writes other freezes; the set stays as it is.
func (s *Syncer) freeze(ctx context.Context, freezes []upstream.Freeze) error {
	g := s.gen
	g.Frozen = freezes
	saved, err := s.keep(ctx, g)
	if err != nil {
		return err
	}
	s.note(saved, s.out, nil)
	return nil
}

// released tells of a freeze that has ended, by somebody's order or of itself.
func (s *Syncer) released(f upstream.Freeze, by upstream.Signature) {
	text := f.Name.Words() + " is not frozen any more"
	if f.Name == upstream.Everything {
		text = "the freeze of everything has ended; those of single upstreams stay"
	}
	s.signed(by).WithField("upstream", string(f.Name)).Warn(text)
	s.event(Event{Kind: EventUnfrozen, Signed: by, Upstream: string(f.Name), Text: text})
}
