// Package poll reads a registry at intervals, publishes each change, logs trouble and tries again. It does not know what
// it reads.
package poll

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/retry"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// sayAgain is how often the log is told of a trouble that stays the same.
const sayAgain = time.Minute

// Registry reads by itself every so often. It fulfils all of registry.Registry: a kind that polls embeds it.
type Registry struct {
	// Read returns all that is registered, or an error where it can't tell.
	Read func(context.Context) (upstream.Set, error)
	// Every is the time between two reads. After a failure it is read sooner.
	Every time.Duration
	// Changed, where not nil, has it read at once.
	Changed <-chan struct{}
	// Durable says that what is registered outlives an outage: what is missing after one is really gone.
	Durable bool
	Log     logrus.FieldLogger

	mu        sync.Mutex
	condition registry.Condition
	reason    string // of the trouble that the log was told last, and when
	said      time.Time
}

// Condition is how it can be read just now.
func (r *Registry) Condition() registry.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.condition
}

// Watch publishes what is read first, and again what differs from what it published last.
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
		if err != nil {
			r.failed(err)
			wait = min(wait, waits.NextBackOff())
		} else {
			r.well()
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

func (r *Registry) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.condition.Trouble == nil {
		r.condition.Since = now
	}
	r.condition.Trouble = err
	if !r.Durable {
		r.condition.Lapsed = now
	}
	if reason := err.Error(); reason != r.reason || now.Sub(r.said) >= sayAgain {
		r.reason, r.said = reason, now
		r.Log.WithError(err).Error("can't read what is registered: what is not known stays as it is")
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

// clear forgets a trouble without a word.
func (r *Registry) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.condition.Trouble, r.condition.Since = nil, time.Time{}
}
