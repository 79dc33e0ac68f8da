package etcd

import (
	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/registry"
)

// metrics measures all registries of the kind. A nil value measures nothing.
type metrics struct {
	lists  *prometheus.CounterVec
	events *prometheus.CounterVec
	keys   *prometheus.GaugeVec
}

func newMetrics(to prometheus.Registerer) (registry.Meter, error) {
	m := &metrics{
		lists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_etcd_lists_total", Help: "Times that all keys were read, by why: " +
				"start, resync, compacted, lost (the store lost its state), gap (events are missing) or ended (the watch).",
		}, []string{"registry", "why"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_etcd_events_total", Help: "Changes of keys that the watch told of.",
		}, []string{"registry"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "swallowkeeper_etcd_keys", Help: "Keys under the prefix, by state: " +
				"read, broken (the value is not understood) or foreign (the key does not fit the layout).",
		}, []string{"registry", "state"}),
	}
	for _, c := range []prometheus.Collector{m.lists, m.events, m.keys} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) listed(registry, why string) {
	if m != nil {
		m.lists.WithLabelValues(registry, why).Inc()
	}
}

func (m *metrics) told(registry string, events int) {
	if m != nil {
		m.events.WithLabelValues(registry).Add(float64(events))
	}
}

func (m *metrics) counted(registry string, t *table) {
	if m == nil {
		return
	}
	for state, n := range map[string]int{"read": len(t.entries) - t.broken, "broken": t.broken, "foreign": len(t.foreign)} {
		m.keys.WithLabelValues(registry, state).Set(float64(n))
	}
}
