package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/internal/budget"
)

// Metrics measures what registries ask Consul. One may serve several registries, and those
// that are built anew by a reload.
type Metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	restarts  *prometheus.CounterVec
	watches   *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them; a nil registerer makes none.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // nil is what measures nothing
	}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_consul_requests_total", Help: "Requests to Consul, by what was asked and how it went.",
		}, []string{"registry", "endpoint", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "swallowkeeper_consul_request_duration_seconds",
			Help: "Time to the header of the answer, of requests that do not wait for news.",
			Buckets: []float64{
				.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
			},
		}, []string{"registry"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_consul_watch_restarts_total", Help: "Times that a watch failed and began again.",
		}, []string{"registry"}),
		watches: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "swallowkeeper_consul_watches", Help: "Watches that run.",
		}, []string{"registry"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.restarts, m.watches} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of Consul: %w", err)
		}
	}
	return m, nil
}

// Option is what a registry can do without.
type Option func(*Registry)

// WithBudget has the registry's answers share a budget with those of other peers.
func WithBudget(b *budget.Budget) Option {
	return func(r *Registry) { r.endpoint.budget = b }
}

// WithMetrics has a registry measured; nil measures nothing.
func WithMetrics(m *Metrics) Option {
	return func(r *Registry) {
		if m == nil {
			return
		}
		r.endpoint.metrics, r.endpoint.name = m, r.name
		m.restarts.WithLabelValues(r.name)
		m.watches.WithLabelValues(r.name)
	}
}

func (m *Metrics) restarted(registry string) {
	if m != nil {
		m.restarts.WithLabelValues(registry).Inc()
	}
}

// watching counts a watch, and counts it no more when the result is called.
func (m *Metrics) watching(registry string) (ended func()) {
	if m == nil {
		return func() {}
	}
	running := m.watches.WithLabelValues(registry)
	running.Inc()
	return running.Dec
}

// over measures what goes over a transport.
func (m *Metrics) over(next http.RoundTripper, registry string) http.RoundTripper {
	if m == nil {
		return next
	}
	return measured{next: next, metrics: m, registry: registry}
}

type measured struct {
	next     http.RoundTripper
	metrics  *Metrics
	registry string
}

func (t measured) RoundTrip(req *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.next.RoundTrip(req)
	t.metrics.requests.WithLabelValues(t.registry, asked(req.URL.Path), outcome(resp, err)).Inc()
	if err == nil && !req.URL.Query().Has("index") {
		t.metrics.durations.WithLabelValues(t.registry).Observe(time.Since(began).Seconds())
	}
	return resp, err
}

// asked names the kind of a path: the paths themselves hold names of services.
func asked(path string) string {
	switch {
	case strings.Contains(path, "/v1/catalog/services"):
		return "services"
	case strings.Contains(path, "/v1/health/service/"):
		return "instances"
	case strings.Contains(path, "/v1/health/state/"):
		return "checks"
	case strings.Contains(path, "/v1/agent/"):
		return "agent"
	}
	return "other"
}

func outcome(resp *http.Response, err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case err != nil:
		return "unreachable"
	case resp.StatusCode < 300:
		return "ok"
	case resp.StatusCode < 500:
		return "refused"
	}
	return "failed"
}
