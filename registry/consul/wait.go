package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// patient is how long a query must have waited for its end by an intermediary to count as a timeout.
	patient = time.Second
	// relearn is how long a learned limit is used: the proxy may be gone by then.
	relearn = time.Hour
)

// longest is how long Consul may take for a wait: it adds jitter of up to a sixteenth. After that the peer counts as
// dead.
func longest(wait time.Duration) time.Duration { return wait + wait/16 }

// waits determines the wait of queries. A proxy or load balancer on the way may end quiet requests after a while;
// queries then wait for less.
type waits struct {
	most time.Duration

	mu      sync.Mutex
	cut     time.Duration // how long a query had waited when it was ended
	at      time.Time     // and when that was
	limit   time.Duration // learned from two such; 0: none
	learned time.Time
}

// next returns the wait of the next query.
func (w *waits) next(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit == 0 || now.Sub(w.learned) >= relearn {
		w.limit = 0
		return w.most
	}
	return min(w.limit, w.most)
}

// ended records that a query was ended after it had waited. A restarting agent ends all queries once; a proxy ends the
// next ones after the same time again, and from then on queries wait for three quarters of it.
func (w *waits) ended(now time.Time, waited time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	alike := (waited - w.cut).Abs() <= max(w.cut/8, patient/2)
	switch {
	case alike && now.Sub(w.at) < w.cut/2: // at the same moment
		return
	case alike:
		w.limit, w.learned = waited*3/4, now
	}
	w.cut, w.at = waited, now
}

// cutShort is the error of a waiting query that was ended by an intermediary, or because a token was renewed. It says
// nothing about the registry: the next query will tell.
type cutShort struct {
	after time.Duration
	err   error
}

func (c *cutShort) Error() string {
	return fmt.Sprintf("cut short after %s: %v", c.after.Round(time.Millisecond), c.err)
}

func (c *cutShort) Unwrap() error { return c.err }

// impatient are the status codes of proxies that time out; 524 is used by only one of them.
var impatient = []int{http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout, 524}

// interrupted turns the error that ended a wait into a *cutShort if it is one: within the agent's time, and before any
// answer of the agent.
func (c *client) interrupted(o *api.QueryOptions, waited time.Duration, err error) error {
	var status api.StatusError
	var transport *url.Error
	renewed := errors.As(err, &status) && o.Token != c.token() &&
		(status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden)
	switch {
	case renewed:
		return &cutShort{after: waited, err: err}
	case waited < patient, waited > longest(o.WaitTime):
		return err
	case errors.As(err, &status):
		if !slices.Contains(impatient, status.Code) {
			return err
		}
	case !errors.As(err, &transport), errors.Is(err, errForeign):
		return err
	}
	c.waits.ended(time.Now(), waited)
	return &cutShort{after: waited, err: err}
}

// noteSent returns a context for a request, and a function that returns how long ago it was sent, if it was: an
// unreachable peer has not ended anything.
func noteSent(ctx context.Context) (context.Context, func() (time.Duration, bool)) {
	var mu sync.Mutex
	var at time.Time
	trace := &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		mu.Lock()
		defer mu.Unlock()
		if info.Err == nil {
			at = time.Now()
		}
	}}
	return httptrace.WithClientTrace(ctx, trace), func() (time.Duration, bool) {
		mu.Lock()
		defer mu.Unlock()
		return time.Since(at), !at.IsZero()
	}
}
