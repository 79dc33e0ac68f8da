package etcd

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/registry"
)

// sayAgain is the interval between log messages about the same trouble.
const sayAgain = time.Minute

// health is how well the store can currently be read.
type health struct {
	log logrus.FieldLogger

	mu        sync.Mutex
	condition registry.Condition
	reason    string // of the last logged trouble, and when
	logged    time.Time
}

func (h *health) now() registry.Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.condition
	var f *failure
	if errors.As(c.Trouble, &f) && f.leaderless {
		c.Trouble = fmt.Errorf("%w for %d s", c.Trouble, int(time.Since(c.Since).Seconds()))
	}
	return c
}

// failed records a failure. What goes missing after it may still exist.
func (h *health) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.condition.Trouble == nil {
		h.condition.Since = now
	}
	h.condition.Trouble, h.condition.Lapsed = err, now
	if reason := err.Error(); reason != h.reason || now.Sub(h.logged) >= sayAgain {
		h.reason, h.logged = reason, now
		h.log.WithError(err).Error("can't read the registry: what is unknown stays as it is")
	}
}

// lapsed records that the store has an older state than before.
func (h *health) lapsed(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.condition.Lapsed = time.Now()
	h.log.WithField("because", why).Warn("the store lost its state: what is missing now may come back")
}

// heard records a good answer.
func (h *health) heard(revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.condition.Trouble != nil {
		h.log.WithField("after", now.Sub(h.condition.Since).Round(time.Millisecond).String()).Info("everything can be read again")
	}
	h.condition.Trouble, h.condition.Since, h.condition.Heard = nil, time.Time{}, now
	h.condition.Index = uint64(max(revision, 0)) //nolint:gosec // not negative
}

// clear removes a trouble without logging.
func (h *health) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.condition.Trouble, h.condition.Since = nil, time.Time{}
}
