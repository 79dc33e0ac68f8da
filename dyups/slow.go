package dyups

import (
	"context"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"
)

// slow spaces calls out where nginx refuses them: limit_req and limit_conn at http or server level hold
// for the interface too. A refusal doubles the gap between calls, each answer narrows it a little, so
// that it finds the pace that the limit allows. It is not for concurrent use.
type slow struct {
	log  logrus.FieldLogger
	gap  time.Duration // 0: nothing is refused
	next time.Time     // the next call
	said time.Time
}

const (
	firstGap   = 20 * time.Millisecond
	longestGap = time.Second
	leastGap   = 2 * time.Millisecond // below it nothing is spaced out
	// narrows is the part of the gap that an answer takes away.
	narrows = 32
	// refusals is how often one call is made that is refused each time.
	refusals = 16
	// slowAgain is how often the log is told.
	slowAgain = time.Minute
)

// limited reports whether calls are spaced out.
func (s *slow) limited() bool { return s.gap > 0 }

// turn waits until the next call may be made.
func (s *slow) turn(ctx context.Context) error {
	if s.gap == 0 {
		return nil
	}
	if left := time.Until(s.next); left > 0 {
		if err := wait(ctx, left); err != nil {
			return err
		}
	}
	s.next = time.Now().Add(s.gap)
	return nil
}

// heard takes in how a call went, and reports whether it was refused.
func (s *slow) heard(err error) bool {
	if !refused(err) {
		if s.gap -= s.gap / narrows; s.gap < leastGap {
			s.gap = 0
		}
		return false
	}
	s.gap = min(max(2*s.gap, firstGap), longestGap)
	s.next = time.Now().Add(s.gap)
	if now := time.Now(); now.Sub(s.said) >= slowAgain {
		s.said = now
		s.log.WithError(err).Warn("nginx refuses calls of its dyups interface: they are spaced out, and changes take longer. " +
			"Most likely limit_req or limit_conn stands at http level or in its server: set it in the locations of the traffic instead")
	}
	return true
}

// refused reports whether nginx turned a call away that it may take a moment later.
func refused(err error) bool {
	e := answerOf(err)
	return e != nil && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests)
}
