package dyups

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/budget"
)

// Metrics counts the calls of gateways. Several gateways can share it, also across reloads.
type Metrics struct {
	requests *prometheus.CounterVec
}

// NewMetrics registers the metrics. If r is nil, it returns nil.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // nil measures nothing
	}
	m := &Metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "swallowkeeper_dyups_requests_total",
		Help: "Calls of the dyups API, by method and class of the answer's status; error: none came. POST and DELETE push.",
	}, []string{"gateway", "method", "code"})}
	if err := r.Register(m.requests); err != nil {
		return nil, fmt.Errorf("register the metrics of dyups: %w", err)
	}
	return m, nil
}

// Option configures a gateway.
type Option func(*Gateway)

// WithWritten makes the gateway assume that what nginx does not show is as in the conf file at startup.
func WithWritten(w *gateway.Written) Option { return func(g *Gateway) { g.written = w } }

// WithBudget limits the gateway's answers by a budget shared with other peers.
func WithBudget(b *budget.Budget) Option {
	return func(g *Gateway) { g.workers.budget = b }
}

// WithMetrics counts the gateway's calls under its name in the configuration. A nil m counts nothing.
func WithMetrics(m *Metrics, name string) Option {
	return func(g *Gateway) {
		if m == nil {
			return
		}
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			for _, code := range []string{"2xx", "error"} {
				m.requests.WithLabelValues(name, method, code)
			}
		}
		g.workers.measure = func(next http.RoundTripper) http.RoundTripper {
			return measured{next: next, metrics: m, gateway: name}
		}
	}
}

type measured struct {
	next    http.RoundTripper
	metrics *Metrics
	gateway string
}

func (t measured) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	code := "error"
	if err == nil {
		code = class(resp.StatusCode)
	}
	t.metrics.requests.WithLabelValues(t.gateway, req.Method, code).Inc()
	return resp, err
}

// class returns the status class; it limits the label values that a server can cause.
func class(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return fmt.Sprintf("%dxx", status/100)
}
