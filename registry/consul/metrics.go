package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/internal/budget"
)

// Metrics measures the requests of registries to Consul. It may serve several registries, also across reloads.
type Metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	restarts  *prometheus.CounterVec
	watches   *prometheus.GaugeVec
	services  *prometheus.GaugeVec
}

// NewMetrics makes and registers the metrics. It returns nil for a nil registerer.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // nil measures nothing
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
		services: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "swallowkeeper_consul_services", Help: "Services by how their changes are noticed: by a query of its own " +
				"(each, or bell for its index alone), by one for each node, or by a search.",
		}, []string{"registry", "way"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.restarts, m.watches, m.services} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of Consul: %w", err)
		}
	}
	return m, nil
}

// Option is an optional setting of a registry.
type Option func(*Registry)

// WithBudget shares a budget for answers with other peers.
func WithBudget(b *budget.Budget) Option {
	return func(r *Registry) { r.endpoint.budget = b }
}

// WithMetrics enables metrics; nil disables them.
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

// watching counts a running watch until the returned function is called.
func (m *Metrics) watching(registry string) (ended func()) {
	if m == nil {
		return func() {}
	}
	running := m.watches.WithLabelValues(registry)
	running.Inc()
	return running.Dec
}

// watched sets how many services are watched in which way.
func (m *Metrics) watched(registry string, own, others int, how way) {
	if m == nil {
		return
	}
	for _, w := range []way{each, byIndex, byNode, bySearch} {
		n := 0
		if w == each {
			n = own
		}
		if w == how && w != each {
			n = others
		}
		m.services.WithLabelValues(registry, w.String()).Set(float64(n))
	}
}

// rang counts a query for an index that bypassed the client.
func (m *Metrics) rang(registry string, a answer) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(registry, "index", outcome(&http.Response{StatusCode: a.status}, a.err)).Inc()
}

// over wraps a transport to measure it.
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
	t.metrics.requests.WithLabelValues(t.registry, asked(req.URL), outcome(resp, err)).Inc()
	if err == nil && !req.URL.Query().Has("index") {
		t.metrics.durations.WithLabelValues(t.registry).Observe(time.Since(began).Seconds())
	}
	return resp, err
}

// asked returns the kind of a path. The paths themselves contain service names.
func asked(u *url.URL) string {
	path := u.Path
	switch {
	case strings.Contains(path, "/v1/catalog/node-services/"):
		return "node"
	case strings.Contains(path, "/v1/catalog/nodes"):
		return "nodes"
	case strings.Contains(path, "/v1/health/service/") && u.Query().Get("tag") == noTag:
		return "index"
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
