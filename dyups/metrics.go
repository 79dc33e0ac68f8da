package dyups

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/budget"
)

// Metrics measures the calls of gateways. One may serve several gateways, and those that
// are built anew by a reload.
type Metrics struct {
	requests *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them; a nil registerer makes none.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // nil is what measures nothing
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

// Option is what a gateway can do without.
type Option func(*Gateway)

// WithWritten has what nginx does not show taken to be as the conf file held it at the start.
func WithWritten(w *gateway.Written) Option { return func(g *Gateway) { g.written = w } }

// WithBudget has the gateway's answers share a budget with those of other peers.
func WithBudget(b *budget.Budget) Option {
	return func(g *Gateway) { g.workers.budget = b }
}

// WithMetrics has a gateway measured under its name in the configuration; nil measures nothing.
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

// class bounds what a server can make a label of.
func class(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return fmt.Sprintf("%dxx", status/100)
}
