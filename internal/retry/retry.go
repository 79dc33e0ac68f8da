// Package retry repeats what must run as long as the program does: after each failure with growing, jittered waits,
// until the context ends.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy configures the waits between attempts.
type Policy struct {
	First   time.Duration // wait after the first failure
	Longest time.Duration // maximum wait
	Healthy time.Duration // a run of at least this length counts as healthy, and resets the waits
	Steady  bool          // without jitter, so that a run is reproducible to the nanosecond
}

// Default suits a server on the network: soon again, but not all clients at once.
func Default() Policy {
	return Policy{First: 200 * time.Millisecond, Longest: 15 * time.Second, Healthy: 30 * time.Second}
}

// Backoff returns the waits of the policy, without an end, for loops that run themselves.
func (p Policy) Backoff() *backoff.ExponentialBackOff {
	jitter := 0.3
	if p.Steady {
		jitter = 0
	}
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.First),
		backoff.WithMaxInterval(p.Longest),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(jitter),
		backoff.WithMaxElapsedTime(0),
	)
}

// Run calls run until it returns nil or the context ends. After each failure it calls failed with the wait before the
// next attempt. It returns nil or the context's error.
func (p Policy) Run(ctx context.Context, run func(context.Context) error, failed func(err error, wait time.Duration)) error {
	waits := p.Backoff()
	for {
		began := time.Now()
		err := run(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) >= p.Healthy {
			waits.Reset()
		}
		wait := waits.NextBackOff()
		failed(err, wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
