package probe

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/guard"
)

// Metrics counts the tries of a pool. A reload passes it on to the next pool.
type Metrics struct {
	tries    *prometheus.CounterVec
	inFlight prometheus.Gauge
	servers  prometheus.Gauge
}

// Results of a try.
const (
	resultAnswered = "answered"
	resultRefused  = "refused"
	resultUnknown  = "unknown" // it says nothing of the server
) // says nothing about the server

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_probes_total",
			Help: "Tries of the witness to reach a server, by how they went; unknown says that this machine could not try.",
		}, []string{"result"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "swallowkeeper_probes_in_flight", Help: "Tries of the witness that are under way.",
		}),
		servers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "swallowkeeper_probed_servers", Help: "Servers that the witness tries again and again now, for the guard.",
		}),
	}
	for _, result := range []string{resultAnswered, resultRefused, resultUnknown} {
		m.tries.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{m.tries, m.inFlight, m.servers} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the witness: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) asked(servers int) {
	if m != nil {
		m.servers.Set(float64(servers))
	}
}

func (m *Metrics) begin() {
	if m != nil {
		m.inFlight.Inc()
	}
}

func (m *Metrics) end(a guard.Answer) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	result := resultUnknown
	switch a {
	case guard.Answered:
		result = resultAnswered
	case guard.Refused:
		result = resultRefused
	}
	m.tries.WithLabelValues(result).Inc()
}
