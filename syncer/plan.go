package syncer

import (
	"context"
	"sync"
	"time"

	"swallowkeeper/upstream"
)

// Plan finds what the next decision of the running syncer would do, and what each gateway
// would need to be in sync. The targets are asked instead of the syncer's own, whose
// gateways are at work: others of the same configuration. Nothing is changed.
func (s *Syncer) Plan(ctx context.Context, targets []Target) (Outcome, error) {
	var out Outcome
	var gen upstream.Generation
	_, err := s.Do(ctx, func(context.Context, *Syncer) (string, error) {
		written := s.gen
		written.Frozen, _ = thawed(written.Frozen, time.Now())
		written.Strangers = s.known()
		gen = s.gen
		if len(s.intake.missing()) == len(s.Sources) {
			return "", nil
		}
		d := s.judge(written, time.Now(), "")
		out.Holds, out.Out = d.Holds, d.Out
		out.Written = upstream.Diff(s.gen.Set, d.Accepted)
		if !d.Accepted.Equal(s.gen.Set) {
			gen = next(written, d.Accepted)
		}
		return "", nil
	})
	if err != nil {
		return Outcome{}, err
	}
	out.Gateways = make([]GatewayOutcome, len(targets))
	var asking sync.WaitGroup
	for i, t := range targets {
		asking.Go(func() {
			t.written(gen)
			changes, err := wouldBring(ctx, t.Gateway, gen)
			out.Gateways[i] = GatewayOutcome{Name: t.Name, Changes: changes, Err: err}
		})
	}
	asking.Wait()
	return out, nil
}
