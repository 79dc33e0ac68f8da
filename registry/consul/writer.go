package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/registry/register"
)

// atOnce is how many calls are made at a time.
const atOnce = 8

// Writer registers with a Consul agent, as registrator does: one service an instance, with checks that Consul fails by
// itself when nobody renews them.
type Writer struct {
	owner      register.Owner
	ttl, after time.Duration
	address    string
	client     *api.Client
	have       map[string]register.Entry // as they were written last, by id
}

// NewWriter makes a Writer for the Consul agent at an address. Its other settings are those of the environment. What it writes
// is failed ttl after it was renewed last, and removed after that again.
func NewWriter(address string, owner register.Owner, ttl, after time.Duration) (*Writer, error) {
	c := api.DefaultConfig()
	c.Address = address
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	return &Writer{owner: owner, ttl: ttl, after: after, address: address, client: client}, nil
}

// Name names it for people.
func (w *Writer) Name() string { return "consul@" + w.address }

func (w *Writer) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s in %s: %w", what, w.Name(), errors.New(common(err)))
}

// Claim fails where an agent of another machine keeps this node's services alive. Those of one machine share a socket.
func (w *Writer) Claim(ctx context.Context) error {
	services, checks, err := w.read(ctx)
	if err != nil {
		return err
	}
	return w.taken(services, checks)
}

// taken says that a service of this node is an agent's of another machine which lives.
func (w *Writer) taken(services map[string]*api.AgentService, checks map[string]*api.AgentCheck) error {
	for id, s := range services {
		by, alive := s.Meta[metaMachine], checks[aliveOf(id)]
		if w.ours(id) && by != "" && by != w.owner.Machine && alive != nil && alive.Status == api.HealthPassing {
			return fmt.Errorf("%w has the name %s in %s: it keeps %s. Give each engine another --node; of an agent that is gone the name is free after its time to live",
				register.ErrTaken, w.owner.Node, w.Name(), safetext.Quote(id))
		}
	}
	return nil
}

func (w *Writer) ours(id string) bool { return strings.HasPrefix(id, w.owner.Node+":") }

func (w *Writer) read(ctx context.Context) (map[string]*api.AgentService, map[string]*api.AgentCheck, error) {
	q := (&api.QueryOptions{}).WithContext(ctx)
	services, err := w.client.Agent().ServicesWithFilterOpts("", q)
	if err != nil {
		return nil, nil, w.failed("read the services", err)
	}
	checks, err := w.client.Agent().ChecksWithFilterOpts("", q)
	return services, checks, w.failed("read the checks", err)
}

const (
	// metaRoute is the meta key that says a service's route.
	metaRoute = metaRoutes + "route"
	// metaMachine is the meta key that says which machine's agent has registered a service.
	metaMachine = "registered-by"
)

// service is an entry as it is registered.
func (w *Writer) service(e register.Entry) *api.AgentServiceRegistration {
	s := &api.AgentServiceRegistration{
		ID: e.ID, Name: e.Service, Address: e.Address.Addr().String(), Port: int(e.Address.Port()), Tags: e.Tags, Meta: map[string]string{metaMachine: w.owner.Machine},
		// Two checks: a container that is unhealthy for long stays registered, and one without an agent does not.
		Checks: api.AgentServiceChecks{
			{CheckID: checkOf(e.ID), Name: "container's health", TTL: w.ttl.String(), Status: statusOf(e)},
			{
				CheckID: aliveOf(e.ID), Name: "swallowkeeper agent", TTL: w.ttl.String(), Status: api.HealthPassing,
				DeregisterCriticalServiceAfter: w.after.String(),
			},
		},
	}
	if e.Weight != 1 {
		s.Meta[metaWeight] = strconv.Itoa(e.Weight)
	}
	for i, r := range e.Routes {
		key := metaRoute
		if i > 0 {
			key += "-" + strconv.Itoa(i+1)
		}
		s.Meta[key] = r
	}
	return s
}

func checkOf(id string) string { return "service:" + id }

func aliveOf(id string) string { return "agent:" + id }

func statusOf(e register.Entry) string {
	if e.Healthy {
		return api.HealthPassing
	}
	return api.HealthCritical
}

// same reports whether a service is registered as it should be, whatever its check says.
func same(is *api.AgentService, want *api.AgentServiceRegistration) bool {
	return is.Service == want.Name && is.Address == want.Address && is.Port == want.Port &&
		slices.Equal(is.Tags, want.Tags) && maps.Equal(is.Meta, want.Meta)
}

// Write registers what differs, and then deregisters what is this node's and not wanted.
func (w *Writer) Write(ctx context.Context, want []register.Entry) error {
	services, checks, err := w.read(ctx)
	if err == nil {
		err = w.taken(services, checks)
	}
	if err != nil {
		return err
	}
	wanted := map[string]register.Entry{}
	for _, e := range want {
		wanted[e.ID] = e
	}
	if err := forEach(want, func(e register.Entry) error {
		r, health, alive := w.service(e), checks[checkOf(e.ID)], checks[aliveOf(e.ID)]
		switch is := services[e.ID]; {
		case is == nil || !same(is, r) || health == nil || alive == nil:
			return w.failed("register "+safetext.Quote(e.ID), w.client.Agent().ServiceRegisterOpts(r, api.ServiceRegisterOpts{}.WithContext(ctx)))
		case health.Status != statusOf(e) || alive.Status != api.HealthPassing:
			return w.pass(ctx, e)
		}
		return nil
	}); err != nil {
		return err
	}
	w.have = wanted
	return w.deregister(ctx, services, func(id string) bool { _, is := wanted[id]; return !is })
}

// deregister removes those of this node's services that are meant.
func (w *Writer) deregister(ctx context.Context, services map[string]*api.AgentService, meant func(id string) bool) error {
	var ids []string
	for id := range services {
		if w.ours(id) && meant(id) {
			ids = append(ids, id)
		}
	}
	return forEach(ids, func(id string) error {
		return w.failed("deregister "+safetext.Quote(id), w.client.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx)))
	})
}

// forEach does something with all, a few at a time.
func forEach[T any](all []T, do func(T) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, one := range all {
		g.Go(func() error { return do(one) })
	}
	return g.Wait()
}

// pass tells the checks what the health is, and that there is an agent.
func (w *Writer) pass(ctx context.Context, e register.Entry) error {
	q := (&api.QueryOptions{}).WithContext(ctx)
	err := w.client.Agent().UpdateTTLOpts(checkOf(e.ID), e.Why, statusOf(e), q)
	if err == nil {
		err = w.client.Agent().UpdateTTLOpts(aliveOf(e.ID), "", api.HealthPassing, q)
	}
	return w.failed("renew the checks of "+safetext.Quote(e.ID), err)
}

// Keep renews all checks. Consul forgets services where its agent is started without its data.
func (w *Writer) Keep(ctx context.Context) (lost bool, err error) {
	if err := forEach(slices.Collect(maps.Values(w.have)), func(e register.Entry) error { return w.pass(ctx, e) }); err != nil {
		return true, nil //nolint:nilerr // it is written again, which says what is wrong
	}
	return false, nil
}

// Close does nothing: no connection is of this Writer alone.
func (w *Writer) Close() {}

// Leave deregisters everything, where that is wished.
func (w *Writer) Leave(ctx context.Context, everything bool) error {
	if !everything {
		return nil
	}
	services, err := w.client.Agent().ServicesWithFilterOpts("", (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return w.failed("read the services", err)
	}
	return w.deregister(ctx, services, func(string) bool { return true })
}
