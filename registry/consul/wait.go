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
	// patient is how long a query must have waited before its end by somebody else counts as the end of a wait.
	patient = time.Second
	// relearn is how long a learned wait holds: the proxy that it was learned of may be gone.
	relearn = time.Hour
)

// longest is how long Consul may take over a wait: it spreads the ends over a sixteenth. Later than that the
// peer is dead.
func longest(wait time.Duration) time.Duration { return wait + wait/16 }

// waits decides how long queries wait. A proxy or balancer on the way may end those that are quiet for longer
// than it likes; then they ask for less.
type waits struct {
	most time.Duration

	mu      sync.Mutex
	cut     time.Duration // what a query had waited when it was cut
	at      time.Time     // when that was
	limit   time.Duration // learned of two such; 0 is none
	learned time.Time
}

// next is how long the next query waits.
func (w *waits) next(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit == 0 || now.Sub(w.learned) >= relearn {
		w.limit = 0
		return w.most
	}
	return min(w.limit, w.most)
}

// ended notes that a query was cut after it had waited. An agent that ends cuts all queries once; a proxy cuts
// the next ones after the same time again, and from then on they ask for three quarters of it.
func (w *waits) ended(now time.Time, waited time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	alike := (waited - w.cut).Abs() <= max(w.cut/8, patient/2)
	switch {
	case alike && now.Sub(w.at) < w.cut/2: // of the same moment
		return
	case alike:
		w.limit, w.learned = waited*3/4, now
	}
	w.cut, w.at = waited, now
}

// cutShort is the end of a query that waited, by what stands between us and the agent or because of a token that
// was renewed meanwhile. It says nothing of the registry: the next query shows what is the matter.
type cutShort struct {
	after time.Duration
	err   error
}

func (c *cutShort) Error() string {
	return fmt.Sprintf("cut short after %s: %v", c.after.Round(time.Millisecond), c.err)
}

func (c *cutShort) Unwrap() error { return c.err }

// impatient are the answers of proxies that were tired of waiting; 524 is of one of them only.
var impatient = []int{http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout, 524}

// interrupted makes a *cutShort of the error that ended a wait, where that is what it was: within the time that
// the agent had, and before any answer of its own.
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

// noteSent returns a context for a request, and what tells for how long it has been sent, if it was: a peer that
// can't be reached has cut nothing.
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
