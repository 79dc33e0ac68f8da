package nginx

import "github.com/prometheus/client_golang/prometheus"

// metrics count the reloads of all gateways of the kind.
type metrics struct{ reloads *prometheus.CounterVec }

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "swallowkeeper_nginx_reloads_total",
		Help: "Reloads of nginx by gateway and outcome: shown (every worker answered with the new generation), failed.",
	}, []string{"gateway", "outcome"})}
	return m, r.Register(m.reloads)
}

// meter counts the reloads of one gateway; nil counts nothing.
type meter struct{ shown, failed prometheus.Counter }

func (m *metrics) of(gateway string) *meter {
	if m == nil {
		return nil
	}
	return &meter{m.reloads.WithLabelValues(gateway, "shown"), m.reloads.WithLabelValues(gateway, "failed")}
}

func (m *meter) reloaded(err error) {
	switch {
	case m == nil:
	case err == nil:
		m.shown.Inc()
	default:
		m.failed.Inc()
	}
}
