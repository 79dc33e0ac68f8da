// Package consul turns the instances that a Consul agent knows into upstreams.
//
// One blocking query follows the list of services and one more each service, so a
// change costs one small answer and is known as soon as Consul sends it. Where an agent
// allows fewer connections than there are services, the rest is covered by one query
// on all checks that are not passing and by one for each node (nodes.go), or by asking
// services for their indexes (search.go). Over HTTP/2 many services are watched by their indexes
// alone (indexwatch.go). plan.go decides.
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

// policy configures retries of failed loops. The longest wait is short, as it is also how long a service may stay
// unwatched after the agent is back.
func policy() retry.Policy {
	return retry.Policy{First: 200 * time.Millisecond, Longest: 5 * time.Second, Healthy: 30 * time.Second}
}

// Registry is a Consul datacenter, namespace and partition, as shown by one agent.
type Registry struct {
	cfg      Config
	name     string
	endpoint endpoint
	log      logrus.FieldLogger
	trouble  *troubles
	resolve  resolver
	retry    retry.Policy
	// grace is how long an answer may take beyond the wait of its query.
	grace time.Duration
	// calm is how long a service must be unchanged before it loses its watch to another.
	calm time.Duration
	// lookups is the interval between look-ups of host names.
	lookups time.Duration
	beat    beat
	// descriptors is how many connections the limit of open files allows; 0 means any number.
	descriptors int
	// beside reports that a daemon at this address may need nearly all of the agent's connections.
	beside bool
	// index is the index of the last trusted list.
	index atomic.Uint64
	// watch is the running watch, or nil.
	watch atomic.Pointer[watch]
	// overload is how often the room was halved because the agent refused connections within its limit.
	overload atomic.Int32
	// unasked is how many consecutive requests for the limit failed.
	unasked atomic.Int32
	// only is a fixed plan for tests; nil for the one that decide makes.
	only *plan
}

// WithDescriptors limits the connections by the limit of open files.
func WithDescriptors(n int) Option { return func(r *Registry) { r.descriptors = n } }

// Beside makes a registry use few connections, for a command beside a daemon.
func Beside() Option { return func(r *Registry) { r.beside = true } }

// New makes a registry from its configuration. It sends no requests; an error means that the configuration is wrong.
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

// Name returns the origin of this registry's servers.
func (r *Registry) Name() string { return r.name }

// Endpoint returns host and port of the agent, "" for a socket.
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

// Condition returns how well Consul can currently be read. If nothing changes, a query is answered only at the end of
// its wait.
func (r *Registry) Condition() registry.Condition {
	c := r.trouble.condition()
	if at := r.endpoint.heard.Load(); at != 0 {
		c.Heard = time.Unix(0, at).UTC()
	}
	c.Index = r.index.Load()
	return c
}

// Watch publishes the complete set as soon as it is known, and again after each change. It retries internally. It
// returns nil once the context and everything it started have ended. Only one Watch of a Registry may run at a time.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	defer r.trouble.clear()
	for {
		again, err := r.watchOnce(ctx, publish)
		if !again {
			return ended(ctx, err)
		}
		r.trouble.clear()
	}
}

// watchOnce watches until the context ends. It returns true if the agent's number of connections has changed.
func (r *Registry) watchOnce(ctx context.Context, publish func(upstream.Set)) (again bool, err error) {
	room, err := r.room(ctx)
	if err != nil {
		return false, err
	}
	c, err := r.endpoint.client(r.cfg, room.connections, r.grace)
	if err != nil {
		return false, err
	}
	defer c.close()
	pulse, err := r.endpoint.client(r.cfg, 1, r.beat.limit)
	if err != nil {
		return false, err
	}
	defer pulse.close()
	w := newWatch(r, c, room, publish)
	run, stop := context.WithCancel(ctx)
	defer stop()
	w.loops.Go(func() { w.heartbeat(run, pulse) })
	if room.watches > 0 {
		w.loops.Go(func() {
			if w.otherRoom(run, pulse) {
				again = true
				stop()
			}
		})
	}
	r.watch.Store(w)
	defer r.watch.Store(nil)
	w.run(run)
	return again && ctx.Err() == nil, ctx.Err()
}

// room determines how many connections may be open at once.
func (r *Registry) room(ctx context.Context) (room, error) {
	if r.asksNot() {
		return r.roomOf(0), nil
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
	if c.multiplexed() {
		return room{connections: ramp, http2: r.endpoint.direct()}.within(r.descriptors), nil
	}
	return r.roomOf(limit), nil
}

// asksNot reports whether the limit is known without asking: it is configured, and the scheme excludes HTTP/2, which
// needs no limit.
func (r *Registry) asksNot() bool { return r.cfg.Connections > 0 && r.endpoint.base.Scheme != "https" }

// roomOf returns the room with one connection per waiting query, under the agent's limit for one address.
func (r *Registry) roomOf(limit int) room {
	switch {
	case r.asksNot() && r.beside:
		limit = min(r.cfg.Connections-1, besides)
	case r.cfg.Connections > 0:
		if limit = r.cfg.Connections - 1; r.beside { // the heartbeat needs one
			limit = withinReserve(limit)
		}
	case r.beside:
		limit = withinReserve(limit)
	default:
		limit = withReserve(limit)
	}
	if n := r.overload.Load(); n > 0 {
		limit = max(limit>>n, least)
	}
	return room{connections: limit, watches: limit}.within(r.descriptors)
}

// ended hides an error that only means that the context has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // intended
	}
	return err
}

// refused reports whether the agent denied the request, which no retry will fix.
func refused(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code >= 400 && status.Code < 500 && status.Code != http.StatusTooManyRequests
}

func during(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
