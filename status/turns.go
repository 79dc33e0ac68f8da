package status

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxAnswers limits how many large answers are in progress. With thousands of upstreams, each takes megabytes for
	// as long as its client reads, and the daemon has other work.
	maxAnswers = 16
	// turnTimeout is how long a request waits for its turn. Together with workTimeout it fits into answerTimeout.
	turnTimeout = 3 * time.Second
)

// inTurn wraps handlers whose answers may be large.
func (s *Site) inTurn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.turn(r.Context()) {
			w.Header().Set("Retry-After", "5")
			fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d others are being answered: try again", maxAnswers))
			return
		}
		defer func() { <-s.answers }()
		next.ServeHTTP(w, r)
	})
}

// turn waits for a turn. A free one is taken even if ctx has ended meanwhile on a busy machine.
func (s *Site) turn(ctx context.Context) bool {
	select {
	case s.answers <- struct{}{}:
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	select {
	case s.answers <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
