package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// tries is how often RunOnce asks a gateway before it gives up.
const tries = 3

// errStillDiffers says that a gateway took the changes and does not show them.
var errStillDiffers = errors.New("it took the changes, yet what it shows still differs")

// errUnasked says that a gateway could be read only after it was decided.
var errUnasked = errors.New("it could not be read at first, so nothing new was written: run this once more")

// Once says how RunOnce goes about it.
type Once struct {
	// Limit is how long the registries have to answer.
	Limit time.Duration
	// DryRun finds the changes and makes none of them.
	DryRun bool
	// Approve is the ID of a hold that is let through, Signed who does that.
	Approve string
	Signed  upstream.Signature
}

// Outcome is what RunOnce found and did.
type Outcome struct {
	// Missing are the registries that did not answer in time; their part stays as it was.
	Missing []RegistryStatus
	// Written leads from the conf file as it was to what is accepted.
	Written upstream.Changes
	Holds   []guard.Hold
	// Out is what is registered and gets no traffic.
	Out []upstream.Out
	// Unserved are the upstreams that get traffic with no usable server.
	Unserved []Unserved
	Gateways []GatewayOutcome
}

// GatewayOutcome is what one gateway needed.
type GatewayOutcome struct {
	Name    string
	Changes upstream.Changes
	Err     error // why it is out of sync; nil in a dry run that could read it
}

// InSync reports whether the gateway shows what is accepted, as far as was asked.
func (g GatewayOutcome) InSync(dryRun bool) bool {
	return g.Err == nil && (!dryRun || g.Changes.Empty())
}

// RunOnce is one pass, top to bottom. Where no registry answers in time, nothing is
// changed. Its error is one of the store or of the registries; how the gateways took
// it, and whether the guard held something, stands in the outcome.
func (s *Syncer) RunOnce(ctx context.Context, o Once) (Outcome, error) {
	if err := s.load(); err != nil {
		return Outcome{}, err
	}
	missing := s.firstAnswers(ctx, o.Limit)
	out := Outcome{Missing: missing}
	if len(missing) == len(s.Sources) {
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
		var signed upstream.Signature
		if decision.Approved() {
			signed = o.Signed
			s.signed(signed).WithField("hold", o.Approve).Warn("a person approved the hold: the change goes through")
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

	out.Gateways = make([]GatewayOutcome, len(s.Targets))
	var running sync.WaitGroup
	for i, t := range s.Targets {
		running.Go(func() {
			out.Gateways[i].Name = t.Name
			if o.DryRun {
				out.Gateways[i].Changes, out.Gateways[i].Err = wouldBring(ctx, t.Gateway, gen)
			} else {
				out.Gateways[i].Changes, out.Gateways[i].Err = bringOnce(ctx, t.Gateway, gen)
			}
		})
	}
	running.Wait()
	waiting := slices.ContainsFunc(decision.Out, func(o upstream.Out) bool { return strings.HasPrefix(o.Reason, notYet) })
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

// firstAnswers waits until every registry has published, or for the limit. It returns those
// that have not.
func (s *Syncer) firstAnswers(ctx context.Context, limit time.Duration) []RegistryStatus {
	watching, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, src := range s.Sources {
		running.Go(func() { s.intake.watch(watching, src, s.Retry, s.Log) })
	}
	defer running.Wait()
	defer cancel()

	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		if len(s.intake.missing()) == 0 {
			return nil
		}
		select {
		case <-s.intake.changed:
			continue
		case <-late.C:
		case <-ctx.Done():
		}
		var silent []RegistryStatus
		for _, r := range s.Status().Registries {
			if r.Answered.IsZero() {
				silent = append(silent, r)
			}
		}
		return silent
	}
}

func unanswered(missing []RegistryStatus, limit time.Duration) error {
	var errs []error
	for _, r := range missing {
		if r.Trouble != nil {
			errs = append(errs, fmt.Errorf("registry %s gave no answer within %s: %w", r.Name, limit, r.Trouble))
		} else {
			errs = append(errs, fmt.Errorf("registry %s gave no answer within %s", r.Name, limit))
		}
	}
	return errors.Join(errs...)
}

// wouldBring finds what a gateway would need.
func wouldBring(ctx context.Context, gw gateway.Gateway, g upstream.Generation) (upstream.Changes, error) {
	live, err := look(ctx, gw)
	if err != nil {
		return upstream.Changes{}, err
	}
	return plan(live.Set, g, nil), nil
}

// bringOnce brings a gateway to the generation and has it show that it is there.
func bringOnce(ctx context.Context, gw gateway.Gateway, g upstream.Generation) (upstream.Changes, error) {
	var made upstream.Changes
	waits := retry.Default().Backoff()
	for try := 1; ; try++ {
		changes, err := wouldBring(ctx, gw, g)
		if try == 1 {
			made = changes
		}
		if err == nil && !changes.Empty() {
			_, err = gw.Apply(ctx, changes)
		}
		if err == nil && !changes.Empty() {
			var left upstream.Changes
			if left, err = wouldBring(ctx, gw, g); err == nil && !left.Empty() {
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

// forget drops the notes of what was leaving and pushed, once every gateway is in sync.
func (s *Syncer) forget(ctx context.Context, g upstream.Generation, gateways []GatewayOutcome) error {
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
