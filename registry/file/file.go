// Package file reads upstreams from files written by people or programs: a single file in TOML or JSON, or a folder of
// such files.
//
// Files are accepted when two consecutive reads are equal, so that a half-written file is not used. If files in a
// folder are replaced one by one, all of them must have settled. A missing, broken or empty file is unknown: nothing is
// published until all files can be read. Replacement by rename is supported, and so are folders that are symbolic
// links, as Kubernetes creates them.
//
// The package only reads.
package file

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

// Registry reads a file or a folder of files.
type Registry struct {
	poll.Registry
	cfg      Config
	name     string
	defaults upstream.Defaults
	reads    *prometheus.CounterVec // nil: no metrics
	changed  chan struct{}
	// settle is the time between the two reads that must be equal.
	settle time.Duration
	disk   disk

	accepted reading      // as last accepted; used only by read
	set      upstream.Set // parsed from accepted
	err      error
}

// New creates the registry of a table.
func (c *Config) New(d registry.Deps) (registry.Registry, error) {
	r := &Registry{cfg: *c, name: d.Name, defaults: d.Defaults, changed: make(chan struct{}, 1), settle: 100 * time.Millisecond, disk: newDisk(c.Path)}
	r.reads, _ = d.Meter.(*prometheus.CounterVec)
	r.Read, r.Every, r.Log, r.Changed, r.Durable = r.read, c.Resync, d.Log, r.changed, true
	return r, nil
}

// Watch publishes the content of the files, and again when it changes.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { r.notice(ctx) })
	return r.Registry.Watch(ctx, publish)
}

// read returns the content of the files once they have settled.
func (r *Registry) read(ctx context.Context) (upstream.Set, error) {
	set, err := r.settled(ctx)
	if r.reads != nil && ctx.Err() == nil {
		outcome := "ok"
		if err != nil {
			outcome = "failed"
		}
		r.reads.WithLabelValues(r.name, outcome).Inc()
	}
	return set, err
}

const (
	// quiet is how long a folder whose files are replaced one by one must be unchanged: while an upstream moves from
	// one file to another, it may be in neither.
	quiet = time.Second
	// mostWait is how long to wait for files that keep changing.
	mostWait = 10 * time.Second
)

func (r *Registry) settled(ctx context.Context) (upstream.Set, error) {
	before, err := r.disk.read(ctx)
	for began := time.Now(); time.Since(began) < mostWait; {
		if err != nil {
			return upstream.Set{}, err
		}
		if r.accepted.files != nil && before.same(r.accepted) {
			return r.set, r.err
		}
		select {
		case <-ctx.Done():
			return upstream.Set{}, ctx.Err()
		case <-time.After(r.settle):
		}
		var now reading
		if now, err = r.disk.read(ctx); err == nil && before.same(now) && now.settled() {
			r.accepted = now
			r.set, r.err = r.parse(now.files)
			return r.set, r.err
		}
		before = now
	}
	return upstream.Set{}, errBeingWritten
}

// parse converts all files to a set. It returns the error of the first broken file.
func (r *Registry) parse(sources []source) (upstream.Set, error) {
	var all []upstream.Upstream
	var out []upstream.Out
	for _, s := range sources {
		entries, err := s.decode()
		if err != nil {
			return upstream.Set{}, registry.Lasting(err)
		}
		for _, e := range entries {
			u, left, named := e.upstream(r.defaults, r.name)
			if named {
				all = append(all, u)
			}
			out = append(out, left...)
		}
	}
	// An address that occurs twice is in if one of its entries is valid.
	set := upstream.NewSet(all)
	out = slices.DeleteFunc(out, func(o upstream.Out) bool {
		u, _ := set.Get(o.Upstream)
		return slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr.String() == o.Addr })
	})
	return upstream.NewSet(all, out...), nil
}

// Explain returns a finding for each server of an upstream in the files.
func (r *Registry) Explain(ctx context.Context, name string) ([]upstream.Finding, error) {
	now, err := r.disk.read(ctx)
	if err != nil {
		return nil, err
	}
	var found []upstream.Finding
	for _, s := range now.files {
		entries, err := s.decode()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !upstream.SameName(e.Name, name) {
				continue
			}
			u, out, _ := e.upstream(r.defaults, r.name)
			why := standsIn(s)
			refused := u.Options.Valid()
			if refused != nil {
				why = reason.Join(upstreamStay.With(refused), why)
			}
			for _, server := range u.Servers {
				found = append(found, upstream.Finding{Addr: server.Addr.String(), In: refused == nil, Reason: why})
			}
			for _, o := range out {
				if o.Route != "" {
					continue // not an instance
				}
				found = append(found, upstream.Finding{Addr: o.Addr, Reason: reason.Join(o.Reason, standsIn(s))})
			}
		}
	}
	return found, nil
}

// Examine reads the files once and checks who can write them.
func (r *Registry) Examine(ctx context.Context) (registry.Examination, error) {
	now, err := r.disk.read(ctx)
	if err != nil {
		return registry.Examination{}, err
	}
	set, err := r.parse(now.files)
	return registry.Examination{Set: set, Findings: open(now.files)}, err
}
