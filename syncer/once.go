package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// tries is how often RunOnce tries a gateway before it gives up.
const tries = 3

// LookEvery is how often a wait for the first answers checks whether they can still come.
const LookEvery = 100 * time.Millisecond

// errStillDiffers means that a gateway accepted the changes but does not show them.
var errStillDiffers = errors.New("it accepted the changes, but its state still differs")

// errUnasked means that a gateway could be read only after the decision.
var errUnasked = errors.New("it could not be read at first, so nothing new was written: run this once more")

// Once are the options of RunOnce.
type Once struct {
	// Limit is how long to wait for the registries.
	Limit time.Duration
	// DryRun computes the changes without making any.
	DryRun bool
	// Approve is the ID of a hold to release, Signed is who approves it.
	Approve string
	Signed  generation.Signature
}

// Outcome is the result of RunOnce.
type Outcome struct {
	// Missing are the registries that did not answer in time. Their part stays as it was.
	Missing []RegistryStatus
	// Written are the changes from the previous conf file to the accepted set.
	Written upstream.Changes
	Holds   []guard.Hold
	// Out has the notes on what is registered but gets no traffic.
	Out upstream.Outs
	// Unserved are the upstreams that get traffic without a usable server.
	Unserved []Unserved
	Gateways []GatewayOutcome
}

// GatewayOutcome is the result for one gateway.
type GatewayOutcome struct {
	Name    string
	Changes upstream.Changes
	Err     error // why it is out of sync; nil in a dry run that could read it
}

// InSync reports whether the gateway shows the accepted set. In a dry run, it must need no changes.
func (g GatewayOutcome) InSync(dryRun bool) bool {
	return g.Err == nil && (!dryRun || g.Changes.Empty())
}

// RunOnce makes one pass. If no registry answers in time, nothing is changed. The error is about the store or the
// registries; the outcome has the results of the gateways and the holds of the guard.
func (s *Syncer) RunOnce(ctx context.Context, o Once) (Outcome, error) {
	if err := s.load(); err != nil {
		return Outcome{}, err
	}
	missing := s.firstAnswers(ctx, o.Limit)
	out := Outcome{Missing: missing}
	if len(missing) == len(s.parts.Sources) {
		return out, unanswered(missing, o.Limit)
	}
	s.ask(ctx)

	written := s.gen
	written.Strangers = s.known()
	written.Frozen, _ = thawed(written.Frozen, time.Now())
	decision := s.witnessedOnce(ctx, written, o.Approve)
	out.Holds, out.Out = decision.Holds, decision.Out
	out.Written = upstream.Diff(s.gen.Set, decision.Accepted)
	seen, _ := s.intake.seen(s.gen.Set)
	_, out.Unserved = stays(decision.Accepted, seen)

	gen := next(written, decision.Accepted)
	if !o.DryRun {
		var signed generation.Signature
		if decision.Approved() {
			signed = o.Signed
			s.signed(signed).WithField("hold", o.Approve).Warn("an operator approved the hold: the change goes through")
		}
		saved, err := s.save(ctx, written, decision, signed)
		if err != nil {
			return out, err
		}
		s.remember(decision)
		if gen = saved; gen.Number > 0 && !guard.SameHolds(gen.Guard, s.history.Lines()) {
			if gen, err = s.keep(ctx, gen); err != nil {
				return out, err
			}
		}
	}

	out.Gateways = make([]GatewayOutcome, len(s.parts.Targets))
	var running sync.WaitGroup
	for i, t := range s.parts.Targets {
		running.Go(func() {
			out.Gateways[i].Name = t.Name
			if o.DryRun {
				out.Gateways[i].Changes, out.Gateways[i].Err = Lacks(ctx, t.Gateway, gen)
			} else {
				out.Gateways[i].Changes, out.Gateways[i].Err = s.bringOnce(ctx, t.Gateway, gen)
			}
		})
	}
	running.Wait()
	waiting := slices.ContainsFunc(slices.Collect(decision.Out.All()), func(o upstream.Out) bool { return o.Reason.Code() == notYet.Code() })
	for i, d := range s.deliveries {
		if waiting && out.Gateways[i].Err == nil && !d.asked {
			out.Gateways[i].Err = errUnasked
		}
	}

	if !o.DryRun {
		if err := s.forget(ctx, gen, out.Gateways); err != nil {
			return out, err
		}
	}
	if len(missing) > 0 {
		return out, unanswered(missing, o.Limit)
	}
	return out, nil
}

// firstAnswers waits until every registry has published or the limit is reached. It returns those that have not
// published.
func (s *Syncer) firstAnswers(ctx context.Context, limit time.Duration) []RegistryStatus {
	watching, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, src := range s.parts.Sources {
		running.Go(func() { s.intake.watch(watching, src, s.parts.Retry, s.parts.Log) })
	}
	defer running.Wait()
	defer cancel()

	late, look := time.NewTimer(limit), time.NewTicker(LookEvery)
	defer late.Stop()
	defer look.Stop()
	for {
		silent := s.silent()
		if !slices.ContainsFunc(silent, func(r RegistryStatus) bool { return !r.Hopeless }) {
			return silent
		}
		select {
		case <-s.intake.changed:
			continue
		case <-look.C:
			continue
		case <-late.C:
		case <-ctx.Done():
		}
		return s.silent()
	}
}

// silent returns the registries that have not published yet.
func (s *Syncer) silent() []RegistryStatus {
	return slices.DeleteFunc(s.Status().Registries, func(r RegistryStatus) bool { return !r.Answered.IsZero() })
}

func unanswered(missing []RegistryStatus, limit time.Duration) error {
	var errs []error
	for _, r := range missing {
		if r.Hopeless {
			errs = append(errs, fmt.Errorf("registry %s can't be read: %w", r.Name, r.Trouble))
		} else if r.Trouble != nil {
			errs = append(errs, fmt.Errorf("registry %s gave no answer within %s: %w", r.Name, limit, r.Trouble))
		} else {
			errs = append(errs, fmt.Errorf("registry %s gave no answer within %s", r.Name, limit))
		}
	}
	return errors.Join(errs...)
}

// Lacks returns the changes that a gateway needs to be in sync with a generation. Of the upstreams beyond that, only
// the leaving ones are removed.
func Lacks(ctx context.Context, gw gateway.Gateway, g generation.Generation) (upstream.Changes, error) {
	live, err := look(ctx, gw)
	if err != nil {
		return upstream.Changes{}, err
	}
	want, _ := gateway.Admit(g.Set, gw.Abilities())
	return plan(live.Set, want, g, nil), nil
}

// bringOnce brings a gateway to the generation and verifies that it shows it, unless another process wrote a newer
// one.
func (s *Syncer) bringOnce(ctx context.Context, gw gateway.Gateway, g generation.Generation) (upstream.Changes, error) {
	var made upstream.Changes
	waits := retry.Default().Backoff()
	for try := 1; ; try++ {
		changes, err := Lacks(ctx, gw, g)
		if try == 1 {
			made = changes
		}
		if err := s.newer(); err != nil {
			return made, err
		}
		if err == nil && !changes.Empty() {
			_, err = gw.Apply(ctx, changes)
		}
		if err == nil && !changes.Empty() {
			var left upstream.Changes
			if left, err = Lacks(ctx, gw, g); err == nil && !left.Empty() {
				err = errStillDiffers
			}
		}
		if err == nil || try == tries {
			return made, err
		}
		select {
		case <-ctx.Done():
			return made, ctx.Err()
		case <-time.After(waits.NextBackOff()):
		}
	}
}

// forget clears the lists of leaving and pushed upstreams once every gateway is in sync.
func (s *Syncer) forget(ctx context.Context, g generation.Generation, gateways []GatewayOutcome) error {
	if len(g.Leaving)+len(g.Pushing) == 0 {
		return nil
	}
	if slices.ContainsFunc(gateways, func(gw GatewayOutcome) bool { return gw.Err != nil }) {
		return nil
	}
	g.Leaving, g.Pushing = nil, nil
	_, err := s.keep(ctx, g)
	return err
}
