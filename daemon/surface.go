package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/generation"
	"swallowkeeper/internal/retry"
	"swallowkeeper/operate"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/page"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
	"swallowkeeper/wiring"
)

// surface serves the running program to the status server, and passes on an operator's orders. It survives a reload of
// the configuration, which replaces its work.
type surface struct {
	version  string
	started  time.Time
	timeline *status.Timeline
	measured *prometheus.Registry
	metrics  *syncer.Metrics
	meters   wiring.Meters
	reloads  *prometheus.CounterVec
	page     http.Handler
	exposed  http.Handler // the metrics

	mu   sync.Mutex
	work work
}

// work is what runs with one configuration.
type work struct {
	cfg        config.Config
	syncer     *syncer.Syncer
	components *wiring.Components
	history    *operate.History
	began      time.Time
	// damaged are the files that were kept aside up to startup. None are added later.
	damaged []string
}

// mostEvents is how many events the timeline keeps.
const mostEvents = 5000

// stuck is how long the syncer's loop may take before the program counts as dead.
const stuck = 15 * time.Second

func newSurface(version string) *surface {
	s := &surface{
		version: version, started: time.Now(), timeline: status.NewTimeline(mostEvents), measured: prometheus.NewRegistry(),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "swallowkeeper_config_reloads_total", Help: "Times that the configuration was read again, by how it went.",
		}, []string{"result"}),
	}
	built := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "swallowkeeper_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	built.Set(1)
	s.reloaded(true, 0)
	s.reloaded(false, 0)
	s.measured.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		built, s.reloads)
	var err error
	if s.metrics, err = syncer.NewMetrics(s.measured, s.syncerStatus, s.upstreamMetrics); err == nil {
		s.meters, err = wiring.NewMeters(s.measured)
	}
	if err != nil {
		panic(err) // a duplicate name: every test would fail
	}
	// Compression would need more memory than all the metrics.
	s.exposed = promhttp.HandlerFor(s.measured, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true})
	s.page = page.New(s)
	return s
}

// syncerStatus returns what the metrics are computed from; false if nothing runs yet.
func (s *surface) syncerStatus() (syncer.Status, bool) {
	w := s.now()
	if w.syncer == nil {
		return syncer.Status{}, false
	}
	return w.syncer.Status(), true
}

func (s *surface) upstreamMetrics() bool { return s.now().cfg.Status.UpstreamMetrics }

// reloaded counts n reloads that succeeded or failed.
func (s *surface) reloaded(well bool, n int) {
	result := "refused"
	if well {
		result = "ok"
	}
	s.reloads.WithLabelValues(result).Add(float64(n))
}

var _ status.Daemon = (*surface)(nil)

// parts returns what the server shows beside the API.
func (s *surface) parts(log logrus.FieldLogger) status.Parts {
	return status.Parts{Page: s.page, Metrics: s.exposed, Log: log}
}

// serve serves the surface until the context ends. If an address or socket can't be opened, it is retried; the main job
// and the other listener are not affected. The channel is closed when it has ended.
func (s *surface) serve(ctx context.Context, cfg status.Config, log logrus.FieldLogger) <-chan struct{} {
	var serving sync.WaitGroup
	serve := func(cfg status.Config) {
		// Run returns only when the context ends, as requested.
		_ = retry.Default().Run(ctx, func(ctx context.Context) error {
			site, err := status.Listen(cfg, s, s.parts(log))
			if err != nil {
				return err
			}
			log.WithField("at", cmp.Or(site.URL(), cfg.Socket)).Info("the page and the API are served")
			return site.Serve(ctx)
		}, func(err error, wait time.Duration) {
			log.WithError(err).WithField("again_in", wait.Round(time.Millisecond).String()).Warn("the page and the API can't be served")
		})
	}
	address, socket := cfg, cfg
	address.Socket, socket.Address = "", ""
	socket.Token, socket.TokenFile = "", "" // a socket has no token, so a bad one must not prevent it
	if cfg.Address != "" {
		serving.Go(func() { serve(address) })
	}
	if cfg.Socket != "" {
		serving.Go(func() { serve(socket) })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serving.Wait()
	}()
	return done
}

// take replaces the run that is shown.
func (s *surface) take(w work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.history, w.began = &operate.History{Path: w.cfg.Persist.Path, Most: w.cfg.Persist.MostKept()}, time.Now()
	w.damaged, _ = persist.Damaged(w.cfg.Persist.Path) // a folder that can't be read is reported with the conf file
	s.work = w
	s.timeline.Before(before(w.cfg.Persist.Path))
}

// before returns the events from before this process, from the history. If the history can't be read, that shows when
// it is requested.
func before(path string) []status.Event {
	kept, _ := persist.Headers(path)
	var events []status.Event
	for _, g := range kept {
		events = append(events, status.Event{
			Time: g.Time, Kind: syncer.EventGeneration, Generation: g.Number, Text: g.Reason, Code: g.Reason.Code(), By: g.Signed.By, Why: g.Signed.Why,
		})
	}
	return events
}

func (s *surface) now() work {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.work
}

// observe adds an event.
func (s *surface) observe(e syncer.Event) {
	s.metrics.Observe(e)
	if e.Kind == syncer.EventGeneration {
		s.now().history.Written(e)
	}
	o := status.Event{
		Time: e.Time, Kind: e.Kind, Generation: e.Generation,
		Upstream: e.Upstream, Addr: e.Addr, Gateway: e.Gateway, Text: e.Text, Code: e.Text.Code(), Cause: e.Cause, In: e.In, Out: e.Out,
		By: e.Signed.By, Why: e.Signed.Why,
	}
	if e.Kind == syncer.EventPushed {
		o.TookMS = float64(e.Timing.Pushed.Sub(e.Timing.Seen).Microseconds()) / 1000
	}
	s.timeline.Add(o)
}

// Alive implements status.Daemon.
func (s *surface) Alive() error {
	w := s.now()
	last := w.syncer.Beat()
	if last.Before(w.began) {
		last = w.began // its loop is about to start
	}
	if away := time.Since(last); away > stuck+w.cfg.Persist.CheckTimeout {
		return fmt.Errorf("the loop has not come round for %s", away.Round(time.Second))
	}
	return nil
}

// Status implements status.Daemon.
func (s *surface) Status() status.Status {
	w := s.now()
	out := operate.ShowStatus(w.syncer.Status(), w.syncer.Since)
	out.Version, out.Started, out.File = s.version, s.started, w.cfg.Persist.Path
	operate.ShowDamaged(&out, slices.DeleteFunc(slices.Clone(w.damaged), func(path string) bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	}))
	out.Verdict = status.Judge(out)
	return out
}

// Upstreams implements status.Daemon.
func (s *surface) Upstreams() iter.Seq[status.Upstream] {
	w := s.now()
	return operate.ShowUpstreams(w.syncer)
}

// Explain implements status.Daemon.
func (s *surface) Explain(ctx context.Context, name string) (status.Explanation, error) {
	w := s.now()
	e := status.Explanation{Instances: []status.Finding{}, Notes: []reason.Reason{}}
	st := w.syncer.Status()
	if u, ok := st.Generation.Set.Get(name); ok {
		name, e.Written = u.Name, true
	}
	e.Upstream = status.Upstream{Name: name, Options: []string{}, Servers: []status.Server{}}
	known := e.Written
	for u := range operate.ShowUpstreams(w.syncer) {
		if upstream.SameName(u.Name, name) {
			e.Upstream, known = u, true
		}
	}
	for _, h := range st.Holds {
		if h.Upstream == "" || upstream.SameName(h.Upstream, name) {
			e.Notes = append(e.Notes, operate.Held.With(h.Reason))
		}
	}
	for o := range st.Out.All() {
		if o.Route == "" && o.Addr == "" && (upstream.SameName(o.Upstream, name) || upstream.SameName(o.Service, name)) {
			known = true
			e.Notes = append(e.Notes, o.Reason)
		}
	}
	instances, notes := operate.Explain(ctx, w.components.Sources, name)
	e.Instances, e.Notes = append(e.Instances, instances...), append(e.Notes, notes...)
	if e.Written {
		e.Notes = append(e.Notes, operate.Delivered(st, w.cfg.Persist.Path)...)
	}
	operate.NameReasons(e.Servers, instances)
	operate.KeptOut(&e, operate.KeepsOut(st, name))
	known = known || len(instances) > 0
	if !known {
		return e, status.As(status.ErrNotFound, fmt.Errorf("upstream %q is not in the conf file: %s", name, reason.Join(notes...)))
	}
	return e, nil
}

// Plan implements status.Daemon.
func (s *surface) Plan(ctx context.Context) (status.Plan, error) {
	out, err := s.now().syncer.Plan(ctx)
	if err != nil {
		return status.Plan{}, err
	}
	return operate.ShowPlan(out), nil
}

// History implements status.Daemon.
func (s *surface) History() ([]status.Generation, error) { return s.now().history.List() }

// Diff implements status.Daemon.
func (s *surface) Diff(from, to int) (status.Changes, error) { return s.now().history.Diff(from, to) }

// Timeline implements status.Daemon.
func (s *surface) Timeline(most int) []status.Event { return s.timeline.Newest(most) }

// Activity implements status.Daemon.
func (s *surface) Activity() []status.Activity { return s.timeline.Activity() }

// Subscribe implements status.Daemon.
func (s *surface) Subscribe(ctx context.Context) <-chan status.Event {
	return s.timeline.Subscribe(ctx)
}

// Approve implements status.Daemon.
func (s *surface) Approve(ctx context.Context, id string, by generation.Signature) error {
	_, err := s.order(ctx, syncer.Signed(by, syncer.Approve(id)))
	return err
}

// Freeze implements status.Daemon.
func (s *surface) Freeze(ctx context.Context, f status.FreezeRequest, by generation.Signature) error {
	freeze, err := operate.FreezeOf(f, time.Now())
	if err != nil {
		return err
	}
	_, err = s.order(ctx, syncer.Signed(by, syncer.Freeze(freeze)))
	return err
}

// Unfreeze implements status.Daemon.
func (s *surface) Unfreeze(ctx context.Context, name string, by generation.Signature) error {
	scope, err := generation.ParseScope(name)
	if err != nil {
		return status.As(status.ErrInvalid, fmt.Errorf("unfreeze: %w", err))
	}
	_, err = s.order(ctx, syncer.Signed(by, syncer.Unfreeze(scope)))
	return err
}

// RollbackPlan implements status.Daemon.
func (s *surface) RollbackPlan(ctx context.Context, generation int) (status.RollbackPlan, error) {
	w := s.now()
	g, err := operate.ReadKept(w.cfg.Persist.Path, generation)
	if err != nil {
		return status.RollbackPlan{}, err
	}
	remark, err := s.order(ctx, syncer.Opinion(g))
	if err != nil {
		return status.RollbackPlan{}, err
	}
	now := w.syncer.Status().Generation.Set
	return status.RollbackPlan{Changes: operate.ShowChanges(upstream.Diff(now, g.Set)), Opinion: remark, Present: now.Equal(g.Set)}, nil
}

// Rollback implements status.Daemon.
func (s *surface) Rollback(ctx context.Context, generation int, by generation.Signature) (status.RollbackResult, error) {
	g, err := operate.ReadKept(s.now().cfg.Persist.Path, generation)
	if err != nil {
		return status.RollbackResult{}, err
	}
	began := time.Now()
	remark, err := s.order(ctx, syncer.Signed(by, syncer.Rollback(g)))
	present := errors.Is(err, syncer.ErrPresent)
	if err != nil && !present {
		return status.RollbackResult{}, err
	}
	result := status.RollbackResult{
		Generation: operate.ShowGeneration(s.now().syncer.Status().Generation), Opinion: remark, Present: present,
	}
	result.Gateways = s.delivered(ctx, result.Generation.Number, began)
	return result, nil
}

// mostDelivering is how long an order waits for the gateways to show its result.
const mostDelivering = 10 * time.Second

// delivered waits until each gateway has shown the generation, or has failed to since the order began.
func (s *surface) delivered(ctx context.Context, generation int, began time.Time) []status.Gateway {
	ctx, cancel := context.WithTimeout(ctx, mostDelivering)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		pending := false
		shown := []status.Gateway{}
		for _, g := range s.now().syncer.Status().Gateways {
			one, _ := operate.ShowGateway(g, generation)
			pending = pending || !one.InSync && (one.Error == "" || one.Checked.Before(began))
			shown = append(shown, one)
		}
		if !pending {
			return shown
		}
		select {
		case <-ctx.Done():
			return shown
		case <-look.C:
		}
	}
}

// order passes an order to the syncer.
func (s *surface) order(ctx context.Context, o syncer.Order) (reason.Reason, error) {
	remark, err := s.now().syncer.Do(ctx, o)
	return remark, operate.Classify(err)
}
