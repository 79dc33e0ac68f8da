package consul

import (
	"context"
	"time"
)

const (
	paceEvery = 50 * time.Millisecond
	paceBurst = 5
)

// pace bounds a loop that never has to wait for its answers: a burst goes through at
// once, then one round every 50 ms. Rounds that brought news do not count. Its zero value
// is ready for use.
type pace struct{ due time.Time }

func (p *pace) wait(ctx context.Context) error {
	now := time.Now()
	if full := now.Add(-paceBurst * paceEvery); p.due.Before(full) {
		p.due = full
	}
	p.due = p.due.Add(paceEvery)
	if !p.due.After(now) {
		return ctx.Err()
	}
	timer := time.NewTimer(p.due.Sub(now))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// news takes the last round out of the count.
func (p *pace) news() { p.due = p.due.Add(-paceEvery) }
