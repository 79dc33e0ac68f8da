package dyups

import (
	"context"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"
)

// slow spaces out calls that nginx refuses: limit_req and limit_conn at http or server level also apply to the
// interface. Each refusal doubles the gap between calls and each answer reduces it slightly, so the gap converges to
// what the limit allows. slow is not safe for concurrent use.
type slow struct {
	log    logrus.FieldLogger
	gap    time.Duration // 0: no limit
	next   time.Time     // earliest time of the next call
	logged time.Time
}

const (
	firstGap = 20 * time.Millisecond
	maxGap   = time.Second
	minGap   = 2 * time.Millisecond // below it, calls are not spaced out
	// gapDivisor is the divisor by which an answer reduces the gap.
	gapDivisor = 32
	// maxRefusals is how often a call is tried if each try is refused.
	maxRefusals = 16
	// logInterval is the minimum interval between log messages.
	logInterval = time.Minute
)

// limited reports whether calls are spaced out.
func (s *slow) limited() bool { return s.gap > 0 }

// turn waits until the next call is allowed.
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

// observe adjusts the gap to the result of a call, and reports whether the call was refused.
func (s *slow) observe(err error) bool {
	if !refused(err) {
		if s.gap -= s.gap / gapDivisor; s.gap < minGap {
			s.gap = 0
		}
		return false
	}
	s.gap = min(max(2*s.gap, firstGap), maxGap)
	s.next = time.Now().Add(s.gap)
	if now := time.Now(); now.Sub(s.logged) >= logInterval {
		s.logged = now
		s.log.WithError(err).Warn("nginx refuses calls of its dyups interface: they are spaced out, and changes take longer. " +
			"Most likely limit_req or limit_conn stands at http level or in its server: set it in the locations of the traffic instead")
	}
	return true
}

// refused reports whether nginx rejected a call that may succeed later.
func refused(err error) bool {
	e := answerOf(err)
	return e != nil && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests)
}
