package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/registry/register"
)

// writer keeps one target up to date.
type writer struct {
	target target
	agent  *Agent
	log    logrus.FieldLogger
	wake   chan struct{}

	mu      sync.Mutex
	waiting []chan struct{} // each is closed when a write that began after it was added has been confirmed
	state   state
}

// state is the state of a target.
type state struct {
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Written time.Time `json:"written,omitzero"` // when everything was last confirmed
	Entries int       `json:"entries"`
}

func (w *writer) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// next returns a channel that is closed when a write that begins from now on has been confirmed.
func (w *writer) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := make(chan struct{})
	w.waiting = append(w.waiting, wait)
	return wait
}

// claim takes the name. It waits for a target that can't be reached, but not for another agent.
func (w *writer) claim(ctx context.Context) error {
	for {
		err := w.within(ctx, w.target.Claim)
		if err == nil || errors.Is(err, register.ErrTaken) {
			return err
		}
		if ctx.Err() == nil {
			w.note(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

func (w *writer) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return do(ctx)
}

// run writes at each change, and keeps registrations alive.
func (w *writer) run(ctx context.Context) {
	beat := time.NewTicker(w.agent.cfg.TTL / 3)
	defer beat.Stop()
	resync := time.NewTicker(w.agent.cfg.Resync)
	defer resync.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		due := true
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-resync.C:
		case <-retry.C:
		case <-beat.C:
			var lost bool
			err := w.within(ctx, func(ctx context.Context) (err error) {
				lost, err = w.target.Keep(ctx)
				return err
			})
			if err != nil && ctx.Err() == nil {
				w.note(fmt.Errorf("keep alive: %w", err))
				retry.Reset(again)
			}
			due = lost
		}
		if !due {
			continue
		}
		if !w.write(ctx) && ctx.Err() == nil {
			retry.Reset(again)
		}
	}
}

// write writes everything wanted, once that is known. It reports success.
func (w *writer) write(ctx context.Context) bool {
	w.mu.Lock()
	waiting := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	want, known := w.agent.want()
	if !known {
		return true
	}
	err := w.within(ctx, func(ctx context.Context) error { return w.target.Write(ctx, want) })
	if err != nil {
		w.mu.Lock()
		w.waiting = append(waiting, w.waiting...)
		w.mu.Unlock()
		if ctx.Err() == nil {
			w.note(err)
		}
		return false
	}
	w.note(nil)
	w.mu.Lock()
	w.state.Written, w.state.Entries = time.Now(), len(want)
	w.mu.Unlock()
	for _, wait := range waiting {
		close(wait)
	}
	return true
}

// note logs when a trouble begins, changes, or ends.
func (w *writer) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && w.state.Trouble == "":
	case err == nil:
		w.log.WithField("after", time.Since(w.state.Since).Round(time.Millisecond).String()).Info("everything is written again")
		w.state.Trouble, w.state.Since = "", time.Time{}
	default:
		if w.state.Trouble == "" {
			w.state.Since = time.Now()
		}
		if text := err.Error(); text != w.state.Trouble {
			w.state.Trouble = text
			w.log.WithError(err).Error("can't write: what is registered stays as it is")
		}
	}
}
