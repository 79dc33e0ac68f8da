// Package poll implements registries that are read at intervals: it publishes changes, logs errors and retries. What is
// read is up to the caller.
package poll

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/retry"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// sayAgain is the interval at which an unchanged error is logged again.
const sayAgain = time.Minute

// partial marks an error.
type partial struct{ error }

func (p partial) Unwrap() error { return p.error }

// Partial marks an error of Read whose set is still valid: nothing that the error is about is missing from the set. It
// counts as trouble, but not as an interruption of answers.
func Partial(err error) error { return partial{err} }

// IsPartial reports whether an error is marked as partial.
func IsPartial(err error) bool {
	var p partial
	return errors.As(err, &p)
}

// Registry polls at intervals. It implements registry.Registry, for embedding by kinds that poll.
type Registry struct {
	// Read returns everything registered, or an error if that is unknown: see [Partial].
	Read func(context.Context) (upstream.Set, error)
	// Every is the interval between reads. After an error, the next read is sooner.
	Every time.Duration
	// Changed, if not nil, triggers a read.
	Changed <-chan struct{}
	// Durable reports that registrations survive an outage: what is missing afterwards is really gone.
	Durable bool
	Log     logrus.FieldLogger

	mu        sync.Mutex
	condition registry.Condition
	reason    string // of the last logged error, and when
	logged    time.Time
}

// Condition returns the current condition.
func (r *Registry) Condition() registry.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.condition
}

// Watch publishes the first set read, and then each set that differs from the last one published.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	defer r.clear()
	waits := retry.Policy{First: min(r.Every, 100*time.Millisecond), Longest: r.Every}.Backoff()
	var last *upstream.Set
	for {
		set, err := r.Read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := r.Every
		var part partial
		partly := errors.As(err, &part)
		switch {
		case partly:
			r.failed(part.error, true)
		case err != nil:
			r.failed(err, false)
			wait = min(wait, waits.NextBackOff())
		default:
			r.well()
		}
		if err == nil || partly {
			waits.Reset()
			if last == nil || !set.Identical(*last) {
				publish(set)
				last = &set
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.Changed:
		case <-time.After(wait):
		}
	}
}

func (r *Registry) failed(err error, partly bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.condition.Trouble == nil {
		r.condition.Since = now
	}
	r.condition.Trouble = err
	switch {
	case partly:
		r.condition.Heard = now
	case !r.Durable:
		r.condition.Lapsed = now
	}
	if reason := err.Error(); reason != r.reason || now.Sub(r.logged) >= sayAgain {
		r.reason, r.logged = reason, now
		if partly {
			r.Log.WithError(err).Warn("can't read all of the registry: what is unknown stays as it is")
			return
		}
		r.Log.WithError(err).Error("can't read the registry: what is unknown stays as it is")
	}
}

func (r *Registry) well() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.condition.Trouble != nil {
		r.Log.WithField("after", now.Sub(r.condition.Since).Round(time.Millisecond).String()).Info("everything can be read again")
	}
	r.condition.Trouble, r.condition.Since, r.condition.Heard = nil, time.Time{}, now
}

// clear resets the trouble without logging.
func (r *Registry) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.condition.Trouble, r.condition.Since = nil, time.Time{}
}
