package status

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// mostAnswers is how many answers that may be large are made at once. Each is megabytes where
	// there are thousands of upstreams, for as long as its reader takes, and the daemon has more to
	// do than to answer.
	mostAnswers = 16
	// turnTimeout is how long a request waits for its turn; with workTimeout it is within answerTimeout.
	turnTimeout = 3 * time.Second
)

// inTurn is in front of what may be large.
func (s *Site) inTurn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.turn(r.Context()) {
			w.Header().Set("Retry-After", "5")
			fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d others are being answered: try again", mostAnswers))
			return
		}
		defer func() { <-s.answers }()
		next.ServeHTTP(w, r)
	})
}

// turn waits for a turn. One that is free is taken, however long a busy machine took to get here.
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
