// Package file reads upstreams that people, or programs of theirs, write into files: one file in TOML or JSON, or a
// folder of such files.
//
// A file counts when two reads in a row are the same, so one that is being written is not believed. One that is
// missing, broken or empty is unknown: there is nothing published before all can be read. A file that is replaced by
// rename, and a folder that is a symbolic link as Kubernetes makes them, are followed.
//
// The package reads only.
package file

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/registry"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

// Registry is a file, or a folder of files.
type Registry struct {
	poll.Registry
	cfg      Config
	name     string
	defaults upstream.Defaults
	reads    *prometheus.CounterVec // nil: none
	changed  chan struct{}
	// settle is the time between two reads that must be the same.
	settle time.Duration

	accepted []source     // as they were read last; only Read uses it
	set      upstream.Set // what they say
	err      error
}

// New makes the registry of a table.
func (c *Config) New(d registry.Deps) (registry.Registry, error) {
	r := &Registry{cfg: *c, name: d.Name, defaults: d.Defaults, changed: make(chan struct{}, 1), settle: 100 * time.Millisecond}
	r.reads, _ = d.Meter.(*prometheus.CounterVec)
	r.Read, r.Every, r.Log, r.Changed, r.Durable = r.read, c.Resync, d.Log, r.changed, true
	return r, nil
}

// Watch publishes what the files say, and again when that changes.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { r.notice(ctx) })
	return r.Registry.Watch(ctx, publish)
}

// read is what the files say, once they are left alone.
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

// mostReads is how often files are read that somebody writes all the time.
const mostReads = 100

func (r *Registry) settled(ctx context.Context) (upstream.Set, error) {
	before, err := collect(r.cfg.Path)
	for range mostReads {
		if err != nil {
			return upstream.Set{}, err
		}
		if r.accepted != nil && slices.EqualFunc(before, r.accepted, source.same) {
			return r.set, r.err
		}
		select {
		case <-ctx.Done():
			return upstream.Set{}, ctx.Err()
		case <-time.After(r.settle):
		}
		var now []source
		if now, err = collect(r.cfg.Path); err == nil && slices.EqualFunc(before, now, source.same) {
			r.accepted = now
			r.set, r.err = r.parse(now)
			return r.set, r.err
		}
		before = now
	}
	return upstream.Set{}, errBeingWritten
}

// parse makes a set of all files, or an error of the first that is broken.
func (r *Registry) parse(sources []source) (upstream.Set, error) {
	var all []upstream.Upstream
	var out []upstream.Out
	for _, s := range sources {
		entries, err := s.decode()
		if err != nil {
			return upstream.Set{}, err
		}
		for _, e := range entries {
			u, left, named := e.upstream(r.defaults, r.name)
			if named {
				all = append(all, u)
			}
			out = append(out, left...)
		}
	}
	// One address that stands there twice is in as long as it is right once.
	set := upstream.NewSet(all)
	out = slices.DeleteFunc(out, func(o upstream.Out) bool {
		u, _ := set.Get(o.Upstream)
		return slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr.String() == o.Addr })
	})
	return upstream.NewSet(all, out...), nil
}

// Explain judges each server of an upstream as it stands in the files now.
func (r *Registry) Explain(_ context.Context, name string) ([]upstream.Finding, error) {
	sources, err := collect(r.cfg.Path)
	if err != nil {
		return nil, err
	}
	var found []upstream.Finding
	for _, s := range sources {
		entries, err := s.decode()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !upstream.SameName(e.Name, name) {
				continue
			}
			u, out, _ := e.upstream(r.defaults, r.name)
			for _, server := range u.Servers {
				found = append(found, upstream.Finding{Addr: server.Addr.String(), In: true, Reason: standsIn(s)})
			}
			for _, o := range out {
				found = append(found, upstream.Finding{Addr: o.Addr, Reason: o.Reason + "; " + standsIn(s)})
			}
		}
	}
	return found, nil
}

// Examine reads the files once, and looks at who may write them.
func (r *Registry) Examine(context.Context) (registry.Examination, error) {
	sources, err := collect(r.cfg.Path)
	if err != nil {
		return registry.Examination{}, err
	}
	set, err := r.parse(sources)
	return registry.Examination{Set: set, Findings: open(sources)}, err
}
