package syncer

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/guard"
)

// Metrics measures a syncer: the current state from Status, and totals since the start from events. It survives a
// reload of the configuration.
type Metrics struct {
	status func() (Status, bool)
	// upstreams reports whether to export a series for each upstream. Their names come from the registries.
	upstreams func() bool

	changes     *prometheus.CounterVec
	servers     *prometheus.CounterVec
	orders      *prometheus.CounterVec
	proven      prometheus.Counter
	writes      prometheus.Counter
	writeErrors *prometheus.CounterVec
	written     prometheus.Histogram
	pushed      *prometheus.HistogramVec
	confirmed   *prometheus.HistogramVec
}

// descs describe the metrics of the current state.
var descs = struct {
	inSync, gatewayInSync, workerInSync, gatewayGeneration, gatewayLive, gatewayLiveServers, generation,
	upstreams, servers, out, unserved, stays, routes, routesOut, holds, held, heldOut, freezes, registryUp, registryAnswered, registryHeard, fileOK, upstreamServers *prometheus.Desc
}{
	inSync:             desc("in_step", "1 where every gateway shows the newest generation and the conf file is as it was written."),
	gatewayInSync:      desc("gateway_in_step", "1 where the gateway's own answers show the newest generation.", "gateway"),
	workerInSync:       desc("gateway_worker_in_step", "1 where this worker shows it. The worker is its process ID.", "gateway", "worker"),
	gatewayGeneration:  desc("gateway_generation", "The generation that the gateway showed last.", "gateway"),
	gatewayLive:        desc("gateway_live_upstreams", "Upstreams that the gateway has, foreign ones included.", "gateway"),
	gatewayLiveServers: desc("gateway_live_servers", "Servers that the gateway has, foreign ones included.", "gateway"),
	generation:         desc("generation", "The newest generation."),
	upstreams:          desc("upstreams", "Upstreams that are accepted, and wanted of each gateway."),
	servers:            desc("servers", "Servers that are accepted, and wanted of each gateway."),
	routes:             desc("routes", "Routes that are accepted: which requests go to which upstream."),
	routesOut:          desc("routes_out", "Routes that are said and out."),
	out:                desc("instances_out", "Instances and services that are registered and get no traffic."),
	unserved:           desc("upstreams_without_healthy_server", "Upstreams of registered services that keep their last servers, none of them usable."),
	stays:              desc("kept_servers", "Servers that get traffic although no registry lists them as usable: on_unhealthy, a hold or a freeze keeps them."),
	holds:              desc("holds", "1 where the guard holds a change by this rule.", "rule"),
	held:               desc("held_servers", "Servers that stay only because a change is held."),
	heldOut:            desc("held_out_servers", "Servers that stay out only because a change is held."),
	freezes:            desc("freezes", "Freezes that a person made."),
	registryUp:         desc("registry_up", "1 where the registry has answered and can be read now.", "registry"),
	registryAnswered:   desc("registry_last_change_timestamp_seconds", "When the registry's answer changed last.", "registry"),
	registryHeard: desc("registry_last_answer_timestamp_seconds",
		"When the registry gave its last good answer, news or not. One that is asked to wait for news answers after the wait.", "registry"),
	fileOK:          desc("conf_file_ok", "1 where the conf file is as it was written."),
	upstreamServers: desc("upstream_servers", "Servers of one upstream; only with status.upstream_metrics.", "upstream"),
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("swallowkeeper_"+name, help, labels, nil)
}

// buckets range from one change on an idle machine to a gateway that is down.
func buckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

// NewMetrics registers the metrics. status returns the current state, or false if nothing is running yet. upstreams
// reports whether to export a series for each upstream.
func NewMetrics(r prometheus.Registerer, status func() (Status, bool), upstreams func() bool) (*Metrics, error) {
	m := &Metrics{
		status: status, upstreams: upstreams,
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_upstream_changes_total", Help: "Upstreams that changes added, updated and removed.",
		}, []string{"kind"}),
		servers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_server_changes_total", Help: "Servers that began (in) and ceased (out) to get traffic.",
		}, []string{"kind"}),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_orders_total", Help: "What persons had done.",
		}, []string{"kind"}),
		proven: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "swallowkeeper_proven_servers_total",
			Help: "Servers that went although a rule would hold them: the witness found none of them alive.",
		}),
		writes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "swallowkeeper_conf_file_writes_total", Help: "Generations that were written.",
		}),
		writeErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_conf_file_errors_total",
			Help: "Times that the conf file began to fail, for a reason of its own each: in writing, or by the configured check.",
		}, []string{"stage"}),
		written: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "swallowkeeper_change_written_seconds", Buckets: buckets(),
			Help: "From the registry's answer to the conf file in place.",
		}),
		pushed: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "swallowkeeper_change_pushed_seconds", Buckets: buckets(),
			Help: "From the registry's answer until the gateway's API had taken the change; its workers follow.",
		}, []string{"gateway"}),
		confirmed: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "swallowkeeper_change_on_all_workers_seconds", Buckets: buckets(),
			Help: "From the registry's answer until all workers of the gateway have shown the change.",
		}, []string{"gateway"}),
	}
	for _, kind := range []string{"added", "updated", "removed"} {
		m.changes.WithLabelValues(kind)
	}
	for _, stage := range []string{stageWrite, stageCheck} {
		m.writeErrors.WithLabelValues(stage)
	}
	for _, kind := range []string{"in", "out"} {
		m.servers.WithLabelValues(kind)
	}
	for _, kind := range []string{EventApproved, EventFrozen, EventUnfrozen, EventRolledBack} {
		m.orders.WithLabelValues(kind)
	}
	for _, c := range []prometheus.Collector{
		m, m.changes, m.servers, m.orders, m.proven, m.writes, m.writeErrors, m.written, m.pushed, m.confirmed,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Observe counts an event.
func (m *Metrics) Observe(e Event) {
	switch e.Kind {
	case EventGeneration:
		m.writes.Inc()
		m.changes.WithLabelValues("added").Add(float64(e.Added))
		m.changes.WithLabelValues("updated").Add(float64(e.Updated))
		m.changes.WithLabelValues("removed").Add(float64(e.Removed))
		m.servers.WithLabelValues("in").Add(float64(e.In))
		m.servers.WithLabelValues("out").Add(float64(e.Out))
		m.written.Observe(seconds(e.Timing.Seen, e.Timing.Saved))
	case EventPushed:
		if !e.Timing.Posted.IsZero() {
			m.pushed.WithLabelValues(e.Gateway).Observe(seconds(e.Timing.Seen, e.Timing.Posted))
		}
		m.confirmed.WithLabelValues(e.Gateway).Observe(seconds(e.Timing.Seen, e.Timing.Pushed))
	case EventStoreFailed:
		m.writeErrors.WithLabelValues(stage(e.Err)).Inc()
	case EventProven:
		m.proven.Add(float64(e.Out))
	case EventApproved, EventFrozen, EventUnfrozen, EventRolledBack:
		m.orders.WithLabelValues(e.Kind).Inc()
	}
}

// Stages at which the conf file can fail.
const (
	stageWrite = "write"
	stageCheck = "check"
)

// stage returns the stage of the failure. It asks the error, because the syncer does not know the store.
func stage(err error) string {
	var check interface{ CheckFailed() bool }
	if errors.As(err, &check) && check.CheckFailed() {
		return stageCheck
	}
	return stageWrite
}

func seconds(from, to time.Time) float64 { return to.Sub(from).Seconds() }

// Describe implements prometheus.Collector. It describes nothing, as the metrics depend on the configuration.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(c chan<- prometheus.Metric) {
	st, running := m.status()
	if !running {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	newest := st.Generation.Number
	gauge(descs.inSync, boolValue(st.InSync()))
	gauge(descs.generation, float64(newest))
	gauge(descs.upstreams, float64(st.Generation.Set.Len()))
	gauge(descs.servers, float64(st.Generation.Set.Servers()))
	gauge(descs.out, float64(st.Out.Servers()))
	gauge(descs.routes, float64(st.Generation.Set.RouteCount()))
	gauge(descs.routesOut, float64(st.Out.Len()-st.Out.Servers()))
	gauge(descs.unserved, float64(len(st.Unserved)))
	gauge(descs.stays, float64(len(st.Stays)))
	gauge(descs.freezes, float64(len(st.Generation.Frozen)))
	gauge(descs.fileOK, boolValue(st.StoreErr == nil))
	rules, stay, out := map[string]bool{}, 0, 0
	for _, h := range st.Holds {
		rules[h.Rule] = true
		stay, out = stay+len(h.Removed), out+len(h.KeptOut)
	}
	for _, rule := range guard.Rules() {
		gauge(descs.holds, boolValue(rules[rule]), rule)
	}
	gauge(descs.held, float64(stay))
	gauge(descs.heldOut, float64(out))
	for _, r := range st.Registries {
		gauge(descs.registryUp, boolValue(r.Trouble == nil && !r.Answered.IsZero()), r.Name)
		if !r.Heard.IsZero() {
			gauge(descs.registryHeard, float64(r.Heard.UnixMilli())/1000, r.Name)
		}
		if !r.Answered.IsZero() {
			gauge(descs.registryAnswered, float64(r.Answered.UnixMilli())/1000, r.Name)
		}
	}
	for _, g := range st.Gateways {
		inSync := g.InSync && g.Generation == newest
		gauge(descs.gatewayInSync, boolValue(inSync), g.Name)
		gauge(descs.gatewayGeneration, float64(g.Generation), g.Name)
		gauge(descs.gatewayLive, float64(g.Live), g.Name)
		gauge(descs.gatewayLiveServers, float64(g.LiveServers), g.Name)
		for _, w := range g.Workers {
			gauge(descs.workerInSync, boolValue(inSync && w.Err == nil), g.Name, w.ID)
		}
	}
	if m.upstreams() {
		for u := range st.Generation.Set.All() {
			gauge(descs.upstreamServers, float64(len(serving(u))), u.Name)
		}
	}
}

func boolValue(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
