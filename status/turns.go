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
		waiting, cancel := context.WithTimeout(r.Context(), turnTimeout)
		defer cancel()
		select {
		case s.answers <- struct{}{}:
			defer func() { <-s.answers }()
			next.ServeHTTP(w, r)
		case <-waiting.Done():
			w.Header().Set("Retry-After", "5")
			fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d others are being answered: try again", mostAnswers))
		}
	})
}
