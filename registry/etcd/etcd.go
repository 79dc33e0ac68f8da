// Package etcd reads instances from keys of an etcd cluster, written in one of several layouts.
//
// All keys under a prefix are read at one revision and published. A watch goes on from the next one; all changes of one
// revision are published together. Everything is read anew when the watch is compacted away, ends or leaves something out,
// at intervals, and when the store shows an older state than before: one that lost its data answers a watch from the old
// revision as if all were well, and then is silent for ever.
//
// What can't be read is unknown, and unknown is never published. Reads need a quorum.
//
// The package reads only.
package etcd

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/budget"
	"swallowkeeper/internal/retry"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// Registry is the keys under a prefix of an etcd cluster.
type Registry struct {
	cfg      Config
	name     string
	defaults upstream.Defaults
	log      logrus.FieldLogger
	metrics  *metrics
	budget   *budget.Budget
	health   health
	retry    retry.Policy
	// silence and again are the package's values, or a test's.
	silence, again time.Duration

	loops sync.WaitGroup

	mu    sync.Mutex
	table *table // nil: not watching
	named int    // number of foreign keys that were logged
}

// New makes the registry of a table.
func (c *Config) New(d registry.Deps) (registry.Registry, error) {
	if err := c.together(); err != nil {
		return nil, err
	}
	m, _ := d.Meter.(*metrics)
	return &Registry{
		cfg: *c, name: d.Name, defaults: d.Defaults, log: d.Log, metrics: m, budget: d.Budget, health: health{log: d.Log},
		retry:   retry.Policy{First: 100 * time.Millisecond, Longest: 5 * time.Second, Healthy: 30 * time.Second},
		silence: silence, again: again,
	}, nil
}

// Endpoint returns the first address.
func (r *Registry) Endpoint() string {
	if len(r.cfg.Address) == 0 {
		return ""
	}
	_, host := splitAddress(r.cfg.Address[0])
	return host
}

// Condition returns how well the store can currently be read.
func (r *Registry) Condition() registry.Condition { return r.health.now() }

// Watch publishes what the keys contain, and again when that changes. It returns when the context has ended.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	w := &watch{Registry: r, publish: publish, why: whyStart}
	r.mu.Lock()
	r.table, r.named = newTable(&r.cfg, r.name, r.defaults), 0
	r.mu.Unlock()
	defer func() {
		r.loops.Wait()
		r.mu.Lock()
		r.table = nil
		r.mu.Unlock()
		r.health.clear()
	}()
	_ = r.retry.Run(ctx, w.run, func(err error, _ time.Duration) {
		w.why = whyEnded
		r.health.failed(err)
	})
	return nil
}

// nameForeign logs once that keys don't fit the layout.
func (r *Registry) nameForeign() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.table.foreign)
	if n > 0 && r.named == 0 {
		for key := range r.table.foreign {
			r.log.WithFields(logrus.Fields{"keys": n, "key": safetext.Cut(safetext.OneLine(key), mostText)}).
				Warn("keys under the prefix do not fit the layout " + r.cfg.Layout + ": they are left out")
			break
		}
	}
	r.named = max(r.named, n)
}

// Noticed returns how a change is noticed.
func (r *Registry) Noticed(name string) reason.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table == nil {
		return reason.Reason{}
	}
	for service := range r.table.services {
		if upstream.SameName(service, name) {
			return noticed.With(r.cfg.keys())
		}
	}
	return reason.Reason{}
}
