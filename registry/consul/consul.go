// Package consul turns the instances that a Consul agent knows into upstreams.
//
// One blocking query follows the list of services and one more each service, so a
// change costs one small answer and is known within milliseconds. Where an agent
// allows fewer connections than there are services, the rest is covered by one query
// on all checks that are not passing and by reading again what may have changed.
//
// What can't be read is unknown, and unknown is never published: no answer, an error,
// a cut or foreign body, no leader, data that is too old, lists cut by ACLs. An answer
// that takes much away at once is read again from the leader before it is believed.
//
// The package reads only; it judges no change and writes nothing anywhere.
package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/retry"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// policy is how a failed loop goes on. Its longest wait is short because it is also how
// long a service may stay unwatched after the agent is back.
func policy() retry.Policy {
	return retry.Policy{First: 200 * time.Millisecond, Longest: 5 * time.Second, Healthy: 30 * time.Second}
}

// Registry is one Consul datacenter, namespace and partition as one agent shows it.
type Registry struct {
	cfg      Config
	name     string
	endpoint endpoint
	log      logrus.FieldLogger
	trouble  *troubles
	resolve  resolver
	retry    retry.Policy
	// grace is how long an answer may take beyond what the query waits for.
	grace time.Duration
	// calm is for how long a service must be unchanged before it gives its watch away.
	calm time.Duration
	// lookups is how often host names are looked up again.
	lookups time.Duration
	beat    beat
	// descriptors is how many connections the limit of open files leaves, 0 any number.
	descriptors int
	// beside says that there may be a daemon at this address that needs nearly all that the agent gives.
	beside bool
	// index is that of the last list that was believed.
	index atomic.Uint64
}

// WithDescriptors bounds the connections by what the limit of open files leaves.
func WithDescriptors(n int) Option { return func(r *Registry) { r.descriptors = n } }

// Beside has a registry make do with few connections, for a command that reads what a daemon watches.
func Beside() Option { return func(r *Registry) { r.beside = true } }

// New makes a registry of its configuration. It asks Consul nothing yet; an error means
// that the configuration is wrong.
func New(cfg Config, log logrus.FieldLogger, options ...Option) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e, err := newEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(cfg.Name, cfg.Identity(os.Getenv))
	log = log.WithField("registry", name)
	if err := errors.Join(e.identify(log), e.secure(log)); err != nil {
		return nil, err
	}
	r := &Registry{
		cfg: cfg, name: name, endpoint: e, log: log, trouble: newTroubles(log), resolve: systemResolver(),
		retry: policy(), grace: 15 * time.Second, calm: 30 * time.Second, lookups: 30 * time.Second,
		beat: beat{every: 15 * time.Second, again: time.Second, limit: 5 * time.Second},
	}
	for _, option := range options {
		option(r)
	}
	return r, nil
}

// Name is the origin of every server that comes from here.
func (r *Registry) Name() string { return r.name }

// Endpoint is the host and port that are asked, "" where it is a socket.
func (r *Registry) Endpoint() string {
	if r.endpoint.socket != "" {
		return ""
	}
	address, port := r.endpoint.base.Address, "80"
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	if r.endpoint.base.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// Condition is how Consul can be read just now. Where nothing changes, a query is answered after the wait only.
func (r *Registry) Condition() registry.Condition {
	c := r.trouble.condition()
	if at := r.endpoint.heard.Load(); at != 0 {
		c.Heard = time.Unix(0, at).UTC()
	}
	c.Index = r.index.Load()
	return c
}

// Watch publishes the complete set as soon as it is known and again after each change.
// It retries by itself, and returns nil when the context has ended and everything that
// it started has ended too. One Watch of a Registry runs at a time.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	defer r.trouble.clear()
	room, err := r.room(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	c, err := r.endpoint.client(r.cfg, room.connections, r.grace)
	if err != nil {
		return err
	}
	defer c.close()
	pulse, err := r.endpoint.client(r.cfg, 1, r.beat.limit)
	if err != nil {
		return err
	}
	defer pulse.close()
	w := newWatch(r, c, room.watches, publish)
	w.files = room.files
	w.loops.Go(func() { w.heartbeat(ctx, pulse) })
	w.run(ctx)
	return ended(ctx, ctx.Err())
}

// room finds out how many connections may be open at once.
func (r *Registry) room(ctx context.Context) (room, error) {
	if most := r.cfg.Connections - 1; most > 0 && r.endpoint.base.Scheme != "https" { // one is the heartbeat's
		if r.beside {
			most = min(most, besides)
		}
		return room{connections: most, watches: most}.within(r.descriptors), nil
	}
	c, err := r.endpoint.client(r.cfg, 1, r.grace)
	if err != nil {
		return room{}, err
	}
	defer c.close()
	const loop = "agent"
	var limit int
	err = r.retry.Run(ctx, func(ctx context.Context) error {
		var err error
		limit, err = c.connectionLimit(ctx)
		return err
	}, func(err error, _ time.Duration) { r.trouble.report(loop, "read the agent's connection limit", err) })
	if err != nil {
		return room{}, err
	}
	r.trouble.over(loop)
	switch {
	case c.multiplexed():
		return room{connections: ramp}.within(r.descriptors), nil
	case r.cfg.Connections > 0:
		limit = r.cfg.Connections - 1
	case !r.beside:
		limit = withReserve(limit)
	}
	if r.beside {
		limit = withinReserve(limit)
	}
	return room{connections: limit, watches: limit}.within(r.descriptors), nil
}

// ended hides an error that only says that the context has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

// refused reports whether the agent answered that it will not tell, which no retry mends.
func refused(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code >= 400 && status.Code < 500 && status.Code != http.StatusTooManyRequests
}

func during(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
