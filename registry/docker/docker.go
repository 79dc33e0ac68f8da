// Package docker reads which containers a Docker engine runs, or which tasks a swarm's manager knows.
//
// Lists are authoritative; events only trigger a new list. The event stream is opened before the list is read, so
// nothing is lost in between, and a missed event costs no more than the time until the next list. If a list or the
// inspection of a container leaves something open, that is unknown, and nothing is published. Only one fact comes from
// events alone: a container got its stop signal. It is out from then on, because a server that is about to end should
// get no new requests.
//
// Apart from Stop, the package only reads.
package docker

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/budget"
	"swallowkeeper/registry"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

// Registry is an engine.
type Registry struct {
	poll.Registry
	cfg      Config
	name     string
	defaults upstream.Defaults
	budget   *budget.Budget
	reads    *prometheus.CounterVec // nil: none
	log      logrus.FieldLogger

	// limit is the timeout of a call. back is after what time a container that ignored its stop signal is used again.
	limit, back time.Duration
	wake        chan struct{}

	mu      sync.Mutex // guards the following
	details map[string]details
	kills   map[string]signals

	session *session // only used by Read and the end of Watch
}

// New makes the registry of a table.
func (c *Config) New(d registry.Deps) (registry.Registry, error) {
	return c.Open(d)
}

// Open is New for callers that need more than the contract.
func (c *Config) Open(d registry.Deps) (*Registry, error) {
	r := &Registry{
		cfg: *c, name: d.Name, defaults: d.Defaults, budget: d.Budget, log: d.Log, limit: callLimit, back: stopLimit,
		wake: make(chan struct{}, 1), details: map[string]details{}, kills: map[string]signals{},
	}
	r.reads, _ = d.Meter.(*prometheus.CounterVec)
	r.Read, r.Every, r.Log, r.Changed = r.read, c.Resync, d.Log, r.wake
	return r, nil
}

// Watch publishes what the engine runs, and again when that changes.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	defer r.leave()
	return r.Registry.Watch(ctx, publish)
}

// read returns what the engine runs as a set.
func (r *Registry) read(ctx context.Context) (upstream.Set, error) {
	instances, err := r.now(ctx)
	if err != nil {
		return upstream.Set{}, err
	}
	return r.set(instances), nil
}

// now returns what the engine runs. The stream of events is opened first.
func (r *Registry) now(ctx context.Context) (_ []Instance, err error) {
	defer func() {
		if r.reads == nil || ctx.Err() != nil {
			return
		}
		outcome := "ok"
		if err != nil {
			outcome = "failed"
		}
		r.reads.WithLabelValues(r.name, outcome).Inc()
	}()
	s, err := r.attend(ctx)
	if err != nil {
		return nil, err
	}
	return r.instances(ctx, s.engine, s.manages(), false)
}

// instances reads and judges everything that runs, or everything that exists.
func (r *Registry) instances(ctx context.Context, e *engine, manager, all bool) ([]Instance, error) {
	workloads, err := r.containers(ctx, e, manager, all)
	if err != nil {
		return nil, err
	}
	var services []service
	if manager {
		if services, err = r.services(ctx, e); err != nil {
			return nil, err
		}
	}
	return r.judge(workloads, services), nil
}

func (r *Registry) judge(workloads []workload, services []service) (found []Instance) {
	for _, w := range workloads {
		found = append(found, r.cfg.judge(w, r.defaults, r.name)...)
	}
	for _, s := range services {
		found = append(found, r.cfg.judgeService(s, r.defaults, r.name)...)
	}
	return found
}

// Follow is Watch for callers that need the instances.
func (r *Registry) Follow(ctx context.Context, publish func([]Instance)) error {
	defer r.leave()
	var last []Instance
	p := &r.Registry
	read := p.Read
	defer func() { p.Read = read }()
	p.Read = func(ctx context.Context) (upstream.Set, error) {
		now, err := r.now(ctx)
		if err == nil {
			last = now
			publish(last)
		}
		return upstream.Set{}, err
	}
	return p.Watch(ctx, func(upstream.Set) {})
}
