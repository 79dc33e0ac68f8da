// Package agent registers the containers of one Docker engine: in etcd under one lease, or in Consul as registrator
// does.
//
// Its only source is registry/docker. At the start it writes the differences, and deletes only stale keys of its own
// node. While the engine can't be read, it changes nothing and keeps its registrations alive.
package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/registry"
	"swallowkeeper/registry/consul"
	"swallowkeeper/registry/docker"
	"swallowkeeper/registry/register"
	"swallowkeeper/upstream"
)

// target is a registry to write to.
type target interface {
	Name() string
	// Claim takes the node's name, or returns [register.ErrTaken] if another agent has it.
	Claim(ctx context.Context) error
	// Write registers what is wanted and removes the rest. It returns once everything is confirmed.
	Write(ctx context.Context, want []register.Entry) error
	// Keep keeps the registrations alive. If it reports that something was lost, everything is written again.
	Keep(ctx context.Context) (lost bool, err error)
	// Leave deregisters everything if requested.
	Leave(ctx context.Context, everything bool) error
	// Close closes its connections.
	Close()
}

const (
	// callLimit is the timeout of a call of a target.
	callLimit = 30 * time.Second
	// again is the wait before a retry.
	again = time.Second
)

// Agent is a running agent.
type Agent struct {
	cfg     Config
	log     logrus.FieldLogger
	docker  *docker.Registry
	targets []*writer
	began   time.Time

	mu        sync.Mutex
	instances []docker.Instance
	known     bool           // instances are valid
	leaving   map[string]int // containers being stopped by us, by ID: how many more reads of the engine to ignore them for
}

// New makes an agent. It sends no requests.
func New(cfg Config, log logrus.FieldLogger) (*Agent, error) {
	a := &Agent{cfg: cfg, log: log, leaving: map[string]int{}, began: time.Now()}
	var err error
	a.docker, err = cfg.Docker.Open(registry.Deps{
		Name: "docker", Log: log.WithField("registry", "docker"), Defaults: upstream.Defaults{All: upstream.DefaultTemplate()},
	})
	if err != nil {
		return nil, err
	}
	owner := register.Process(cfg.Node, os.Getpid())
	if len(cfg.Etcd.Address) > 0 {
		t, err := cfg.Etcd.registry().NewWriter(owner, cfg.TTL)
		if err != nil {
			return nil, within("etcd.", err)
		}
		a.add(t)
	}
	if cfg.Consul.Address != "" {
		t, err := consul.NewWriter(cfg.Consul.Address, owner, cfg.TTL, cfg.Consul.DeregisterAfter)
		if err != nil {
			return nil, fmt.Errorf("consul.%w", err)
		}
		a.add(t)
	}
	return a, nil
}

func (a *Agent) add(t target) {
	a.targets = append(a.targets, &writer{target: t, agent: a, log: a.log.WithField("target", t.Name()), wake: make(chan struct{}, 1)})
}

// Run writes until the context ends.
func (a *Agent) Run(ctx context.Context) error {
	for _, w := range a.targets {
		defer w.target.Close()
	}
	c, err := a.listen(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	a.log.WithField("node", a.cfg.Node).Info("the agent runs")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, w := range a.targets {
		all.Go(func() {
			if err := w.claim(ctx); err != nil {
				cancel(err)
			} else {
				w.run(ctx)
			}
		})
	}
	all.Go(c.serve)
	err = a.docker.Follow(ctx, a.take)
	cancel(nil)
	c.close()
	all.Wait()
	if taken := context.Cause(ctx); errors.Is(taken, register.ErrTaken) {
		return taken
	}
	// The context has ended, so the last calls get a short time.
	last, end := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer end()
	for _, w := range a.targets {
		if err := w.target.Leave(last, a.cfg.OnStop == remove); err != nil {
			w.log.WithError(err).Error("can't take leave")
		}
	}
	return err
}

// take takes the instances of the engine.
func (a *Agent) take(all []docker.Instance) {
	a.mu.Lock()
	a.instances, a.known = all, true
	for id, n := range a.leaving {
		switch n {
		case underWay:
		case 1:
			delete(a.leaving, id)
		default:
			a.leaving[id] = n - 1
		}
	}
	a.mu.Unlock()
	a.ring()
}

func (a *Agent) ring() {
	for _, w := range a.targets {
		w.ring()
	}
}

// want returns what to register, and whether that is known.
func (a *Agent) want() ([]register.Entry, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return entries(a.cfg.Node, a.instances, a.leaving), a.known
}

// Stop deregisters a container, waits until every registry has confirmed and the drain time is over, and then stops it.
func (a *Agent) Stop(ctx context.Context, container string, drain time.Duration) (string, error) {
	id, name, err := a.find(container)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	a.leaving[id] = underWay
	a.mu.Unlock()
	undo := func() {
		a.mu.Lock()
		delete(a.leaving, id)
		a.mu.Unlock()
		a.ring()
	}
	var waits []<-chan struct{}
	for _, w := range a.targets {
		waits = append(waits, w.next())
	}
	a.ring()
	for i, wait := range waits {
		select {
		case <-wait:
		case <-ctx.Done():
			undo()
			return name, fmt.Errorf("%s has not confirmed that it is out: it was not stopped", a.targets[i].target.Name())
		}
	}
	a.log.WithField("container", name).WithField("drain", drain.String()).Info("it is out, and is stopped when its requests had time to end")
	select {
	case <-time.After(drain):
	case <-ctx.Done():
		undo()
		return name, ctx.Err()
	}
	if err := a.docker.Stop(ctx, id); err != nil {
		undo()
		return name, err
	}
	// A read in progress may still show it, but not the next one.
	a.mu.Lock()
	a.leaving[id] = 2
	a.mu.Unlock()
	return name, nil
}

// underWay marks a container that is not stopping yet.
const underWay = 0

// find finds one of our containers by name or ID.
func (a *Agent) find(container string) (id, name string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range a.instances {
		if i.ID == "" || i.Container != container && (len(container) < 4 || !strings.HasPrefix(i.ID, container)) {
			continue
		}
		if id != "" && id != i.ID {
			return "", "", fmt.Errorf("container %q is more than one: give more of its id", container)
		}
		id, name = i.ID, i.Container
	}
	if id == "" {
		return "", "", fmt.Errorf("container %q is none that is registered here: docker stop stops it", container)
	}
	return id, name, nil
}
