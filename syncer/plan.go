package syncer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Plan returns what the next decision of the running syncer would do, and what each gateway would need to be in sync.
// It changes nothing.
func (s *Syncer) Plan(ctx context.Context) (Outcome, error) {
	var out Outcome
	var gen generation.Generation
	_, err := s.Do(ctx, func(context.Context, *Syncer) (reason.Reason, error) {
		written := s.gen
		written.Frozen, _ = thawed(written.Frozen, time.Now())
		written.Strangers = s.known()
		gen = s.gen
		if len(s.intake.missing()) == len(s.parts.Sources) {
			return reason.Reason{}, nil
		}
		d := s.judge(written, time.Now(), "")
		out.Holds, out.Out = d.Holds, d.Out
		out.Written = upstream.Diff(s.gen.Set, d.Accepted)
		if !d.Accepted.Equal(s.gen.Set) {
			gen = next(written, d.Accepted)
		}
		return reason.Reason{}, nil
	})
	if err != nil {
		return Outcome{}, err
	}
	out.Gateways = make([]GatewayOutcome, len(s.deliveries))
	var asking sync.WaitGroup
	for i, d := range s.deliveries {
		asking.Go(func() { out.Gateways[i] = d.ask(ctx, gen) })
	}
	asking.Wait()
	return out, nil
}

// question asks a delivery what its gateway would need for a generation.
type question struct {
	of     generation.Generation
	answer chan<- GatewayOutcome
}

// ask has run answer between two deliveries what the gateway would need for a generation.
func (d *delivery) ask(ctx context.Context, g generation.Generation) GatewayOutcome {
	answer := make(chan GatewayOutcome, 1)
	select {
	case d.questions <- question{g, answer}:
		select {
		case found := <-answer:
			return found
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return GatewayOutcome{Name: d.target.Name, Err: fmt.Errorf("it is being asked, and has not answered yet: %w", ctx.Err())}
}

// lacks returns what the gateway would need for a generation. Only run calls it.
func (d *delivery) lacks(ctx context.Context, g generation.Generation) GatewayOutcome {
	changes, err := Lacks(ctx, d.target.Gateway, g)
	return GatewayOutcome{Name: d.target.Name, Changes: changes, Err: err}
}
