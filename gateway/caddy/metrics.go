package caddy

import "github.com/prometheus/client_golang/prometheus"

// metrics count the changes of all gateways of the kind.
type metrics struct{ changes *prometheus.CounterVec }

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{changes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "swallowkeeper_caddy_changes_total",
		Help: "Changes of Caddy's configuration by gateway and outcome: shown (Caddy runs it), outdated (somebody else was faster, so it is made again), refused, failed, answered (by DNS, without a change of the configuration).",
	}, []string{"gateway", "outcome"})}
	return m, r.Register(m.changes)
}

// The outcomes of a change.
const (
	shownOutcome    = "shown"
	outdatedOutcome = "outdated"
	refusedOutcome  = "refused"
	failedOutcome   = "failed"
	answeredOutcome = "answered"
)

// meter counts the changes of one gateway; nil counts nothing.
type meter struct {
	changes *prometheus.CounterVec
	gateway string
}

func (m *metrics) of(gateway string) *meter {
	if m == nil {
		return nil
	}
	for _, outcome := range []string{shownOutcome, outdatedOutcome, refusedOutcome, failedOutcome, answeredOutcome} {
		m.changes.WithLabelValues(gateway, outcome)
	}
	return &meter{m.changes, gateway}
}

func (m *meter) changed(outcome string) {
	if m != nil {
		m.changes.WithLabelValues(m.gateway, outcome).Inc()
	}
}
