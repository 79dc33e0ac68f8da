package dns

import (
	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/registry"
)

// metrics measures all registries of the kind. A nil value measures nothing.
type metrics struct {
	queries *prometheus.CounterVec
	names   *prometheus.GaugeVec
}

func newMetrics(to prometheus.Registerer) (registry.Meter, error) {
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_dns_queries_total", Help: "Questions that were put to name servers, by network (udp or tcp) and outcome: " +
				"records, empty, nxdomain, cut, or what failed, such as servfail, refused, timeout, unreachable, stranger or malformed.",
		}, []string{"registry", "network", "outcome"}),
		names: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "swallowkeeper_dns_names", Help: "Names that are asked for, by state: known, unknown (their servers stay) or gone.",
		}, []string{"registry", "state"}),
	}
	for _, c := range []prometheus.Collector{m.queries, m.names} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) asked(registry, network, outcome string) {
	if m != nil {
		m.queries.WithLabelValues(registry, network, outcome).Inc()
	}
}

func (m *metrics) counted(registry string, entries []*entry) {
	if m == nil {
		return
	}
	count := map[string]int{"known": 0, "unknown": 0, "gone": 0}
	for _, e := range entries {
		switch {
		case !e.why.IsZero() || !e.asked:
			count["unknown"]++
		case e.gone:
			count["gone"]++
		default:
			count["known"]++
		}
	}
	for state, n := range count {
		m.names.WithLabelValues(registry, state).Set(float64(n))
	}
}
