package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/registry"
)

// inspectAtOnce limits the concurrent inspections of new containers.
const inspectAtOnce = 8

var (
	errWorker  = registry.Lasting(notManager.Err())
	errNothing = errors.New("the answer says nothing: a list was expected")
)

// containers reads running containers, or all. On a manager it omits tasks, which are read as such.
func (r *Registry) containers(ctx context.Context, e *engine, manager, all bool) ([]workload, error) {
	list, err := call(ctx, e, "list the containers", func(ctx context.Context) (client.ContainerListResult, error) {
		return e.ContainerList(ctx, client.ContainerListOptions{All: all})
	})
	if err == nil && list.Items == nil {
		err = errNothing
	}
	if err != nil {
		return nil, err
	}
	found := make([]*workload, len(list.Items))
	there := make(map[string]bool, len(list.Items))
	now := time.Now()
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(inspectAtOnce)
	for i, c := range list.Items {
		switch {
		case c.ID == "" || strings.ContainsAny(c.ID, "/?#%"):
			_ = g.Wait()
			return nil, fmt.Errorf("list the containers: one has the id %s", safetext.Quote(c.ID))
		case c.State == "":
			_ = g.Wait()
			return nil, fmt.Errorf("list the containers: %s has no state", safetext.Quote(c.ID))
		}
		there[c.ID] = true
		if manager && c.Labels[swarmTask] != "" {
			continue
		}
		g.Go(func() error {
			d, err := r.inspect(within, e, c.ID)
			if errdefs.IsNotFound(err) {
				return nil // it is gone
			}
			if err != nil {
				return err
			}
			w := workloadOf(c, d)
			r.mu.Lock()
			if w.out.IsZero() || w.unhealthy {
				r.kills[c.ID].judge(&w, d, r.back, now)
			}
			r.mu.Unlock()
			found[i] = &w
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if !all {
		r.forget(there)
	}
	workloads := make([]workload, 0, len(found))
	for _, w := range found {
		if w != nil {
			workloads = append(workloads, *w)
		}
	}
	return workloads, nil
}

// inspect returns the details of a container, which are read once.
func (r *Registry) inspect(ctx context.Context, e *engine, id string) (details, error) {
	r.mu.Lock()
	d, known := r.details[id]
	r.mu.Unlock()
	if known {
		return d, nil
	}
	c, err := call(ctx, e, "inspect container "+id[:min(len(id), 12)], func(ctx context.Context) (client.ContainerInspectResult, error) {
		return e.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	})
	if err != nil {
		return details{}, err
	}
	if c.Container.ID != id || c.Container.Config == nil {
		return details{}, fmt.Errorf("inspect container %s: the answer is about %s", id, safetext.Quote(c.Container.ID))
	}
	d = detailsOf(c.Container)
	r.mu.Lock()
	r.details[id] = d
	r.mu.Unlock()
	return d, nil
}

// forget drops the details of containers that no longer run.
func (r *Registry) forget(there map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.details {
		if !there[id] {
			delete(r.details, id)
		}
	}
	for id, s := range r.kills {
		for signal, at := range s {
			if time.Since(at) > 2*r.back && !there[id] {
				delete(s, signal)
			}
		}
		if len(s) == 0 {
			delete(r.kills, id)
		}
	}
}
