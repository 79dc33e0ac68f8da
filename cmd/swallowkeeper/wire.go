package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/dyups"
	"swallowkeeper/internal/budget"
	"swallowkeeper/registry/consul"
	"swallowkeeper/syncer"
)

// registries and gateways are all that there are, by the type in the configuration. A
// new one is a folder of its own and a line here.
var (
	registries = map[string]func(config.Registry, logrus.FieldLogger, meters, int) (syncer.Source, error){
		"consul": newConsul,
	}
	gateways = map[string]func(config.Gateway, logrus.FieldLogger, meters) (target, error){
		"dyups": newDyups,
	}
)

// target is a gateway with what it takes to let go of it.
type target struct {
	syncer.Target
	close func() error
}

// newConsul makes a registry that holds at most so many connections, 0 for any number.
func newConsul(c config.Registry, log logrus.FieldLogger, m meters, most int) (syncer.Source, error) {
	options := []consul.Option{consul.WithMetrics(m.consul), consul.WithDescriptors(most), consul.WithBudget(m.answers)}
	if !m.daemon {
		options = append(options, consul.Beside())
	}
	r, err := consul.New(c.Consul, log, options...)
	if err != nil {
		return syncer.Source{}, err
	}
	return syncer.Source{Name: r.Name(), Registry: r, Dotted: c.Names == "dotted"}, nil
}

func newDyups(c config.Gateway, log logrus.FieldLogger, m meters) (target, error) {
	name := c.Dyups.Name
	if name == "" {
		name = c.Dyups.Address
	}
	g := dyups.New(c.Dyups, log.WithField("gateway", name), dyups.WithMetrics(m.dyups, name), dyups.WithBudget(m.answers))
	return target{
		Target: syncer.Target{Name: name, Gateway: g, Resync: c.Dyups.Resync},
		close:  g.Close,
	}, nil
}

// house is the parts of one configuration.
type house struct {
	sources []syncer.Source
	targets []target
}

// meters measure the parts of a daemon. They outlive a reload. The zero value is a command's: it measures nothing, and
// leaves the registries' connections to the daemon that may run beside it.
type meters struct {
	daemon bool
	consul *consul.Metrics
	dyups  *dyups.Metrics
	// answers is what the answers of all peers may take of memory together.
	answers *budget.Budget
}

// mostInFlight is for the answers of all registries and gateways that are read at the same time.
const mostInFlight = 192 << 20

// newMeters registers what the parts measure.
func newMeters(r prometheus.Registerer) (m meters, err error) {
	m.daemon = true
	if m.consul, err = consul.NewMetrics(r); err != nil {
		return m, err
	}
	m.answers = budget.New(mostInFlight)
	m.dyups, err = dyups.NewMetrics(r)
	return m, err
}

// build makes the parts; nothing of them runs yet, and nothing is asked of anybody.
func build(cfg config.Config, log logrus.FieldLogger, m meters) (*house, error) {
	h := &house{}
	most := descriptorsFor(openFiles(), len(cfg.Registries), len(cfg.Gateways))
	for i, r := range cfg.Registries {
		src, err := registries[r.Type](r, log, m, most)
		if err != nil {
			return nil, fmt.Errorf("registry %d: %w", i+1, err)
		}
		for _, other := range h.sources {
			if other.Name == src.Name {
				return nil, fmt.Errorf("registry %d: another one is called %s too: give one of them a name", i+1, src.Name)
			}
		}
		h.sources = append(h.sources, src)
	}
	for i, g := range cfg.Gateways {
		t, err := gateways[g.Type](g, log, m)
		if err != nil {
			return nil, fmt.Errorf("gateway %d: %w", i+1, err)
		}
		h.targets = append(h.targets, t)
	}
	return h, nil
}

// silent is the log of a house that is built beside the one at work, to look at something.
func silent() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// endpoints are the addresses of our own that nothing registered may lead to.
func (h *house) endpoints(cfg config.Config) []endpoint {
	var list []endpoint
	for i, g := range cfg.Gateways {
		if u, err := url.Parse(g.Dyups.Address); err == nil && u.Host != "" {
			list = append(list, endpoint{of: "the interface of gateway " + h.targets[i].Name, host: u.Hostname(), port: cmp.Or(u.Port(), "80")})
		}
	}
	for _, src := range h.sources {
		if e, ok := src.Registry.(interface{ Endpoint() string }); ok {
			if host, port, err := net.SplitHostPort(e.Endpoint()); err == nil {
				list = append(list, endpoint{of: "registry " + src.Name, host: host, port: port})
			}
		}
	}
	if host, port, err := net.SplitHostPort(cfg.Status.Address); err == nil {
		list = append(list, endpoint{of: "the status page", host: host, port: port})
	}
	return list
}

// parts hands the house to a syncer.
func (h *house) parts(cfg config.Config, store syncer.Store, log logrus.FieldLogger) syncer.Parts {
	p := syncer.Parts{
		Sources: h.sources, Guard: cfg.Guard, Store: store, Schedule: syncer.DefaultSchedule(), Log: log,
		Reach: newReach(cfg.Guard, h.endpoints(cfg), log).now, Taken: newTaken(cfg, h.targets, log).now,
	}
	for _, t := range h.targets {
		p.Targets = append(p.Targets, t.Target)
	}
	return p
}

func (h *house) gatewayNames() []string {
	names := make([]string, len(h.targets))
	for i, t := range h.targets {
		names[i] = t.Name
	}
	return names
}

// close lets go of the connections.
func (h *house) close(log logrus.FieldLogger) {
	for _, t := range h.targets {
		if err := t.close(); err != nil {
			log.WithError(err).WithField("gateway", t.Name).Debug("the gateway's connections did not close cleanly")
		}
	}
}
