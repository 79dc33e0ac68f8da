package consul

import (
	"cmp"
	"context"
	"time"
)

const (
	paceEvery = 50 * time.Millisecond
	paceBurst = 5
)

// pace limits a loop whose answers come at once: after a burst, one round per 50 ms. Rounds with changes do not count.
// The zero value is ready for use.
type pace struct {
	due  time.Time
	slow time.Duration // minimum time of a round instead of paceEvery
}

func (p *pace) every() time.Duration { return cmp.Or(p.slow, paceEvery) }

// take counts a round, and returns how long to wait before it.
func (p *pace) take(now time.Time) time.Duration {
	if full := now.Add(-paceBurst * p.every()); p.due.Before(full) {
		p.due = full
	}
	p.due = p.due.Add(p.every())
	return p.due.Sub(now)
}

func (p *pace) wait(ctx context.Context) error {
	left := p.take(time.Now())
	if left <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// news removes the last round from the count.
func (p *pace) news() { p.due = p.due.Add(-p.every()) }
