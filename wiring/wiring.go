// Package wiring builds the parts that a configuration names: registries, gateways, the witness, and what the syncer
// needs to know about this machine. It starts none of them.
package wiring

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/internal/budget"
	"swallowkeeper/kinds"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/registry/probe"
	"swallowkeeper/syncer"
)

// Target is a gateway and how to close it.
type Target struct {
	syncer.Target
	close func() error
}

// Components are built from one configuration.
type Components struct {
	Sources []syncer.Source
	Targets []Target
	// probes is how many connections the witness may have open at a time; 0 if there is none. probed measures them.
	probes int
	probed *probe.Metrics
}

// Meters measure the parts of a daemon. They survive a reload. The zero value is for commands: it measures nothing, and
// leaves the registries' connections to a daemon that may be running.
type Meters struct {
	daemon     bool
	registries map[string]registry.Meter // by type
	gateways   map[string]gateway.Meter  // by type
	probe      *probe.Metrics
	// answers limits the memory for the answers of all peers together.
	answers *budget.Budget
}

// mostInFlight limits the memory for answers of all registries and gateways that are read at the same time.
const mostInFlight = 192 << 20

// NewMeters registers the metrics of the parts.
func NewMeters(r prometheus.Registerer) (Meters, error) {
	m := Meters{
		daemon: true, registries: map[string]registry.Meter{}, gateways: map[string]gateway.Meter{},
		answers: budget.New(mostInFlight),
	}
	var failed []error
	for _, kind := range kinds.Registries() {
		if kind.Metrics != nil {
			meter, err := kind.Metrics(r)
			m.registries[kind.Name], failed = meter, append(failed, err)
		}
	}
	for _, kind := range kinds.Gateways() {
		if kind.Metrics != nil {
			meter, err := kind.Metrics(r)
			m.gateways[kind.Name], failed = meter, append(failed, err)
		}
	}
	var err error
	m.probe, err = probe.NewMetrics(r)
	return m, errors.Join(append(failed, err)...)
}

// Build makes the parts. It starts nothing and sends no requests.
func Build(cfg config.Config, log logrus.FieldLogger, m Meters) (*Components, error) {
	h := &Components{probed: m.probe}
	if cfg.Guard.WitnessBy != guard.WitnessOff {
		h.probes = probesFor(openFiles())
	}
	most := descriptorsFor(openFiles(), h.probes, len(cfg.Registries), len(cfg.Gateways))
	for i, c := range cfg.Registries {
		name := c.Title(os.Getenv)
		r, err := c.Config.New(registry.Deps{
			Name: name, Log: log.WithField("registry", name), Defaults: cfg.Defaults(), Meter: m.registries[c.Type],
			Budget: m.answers, Descriptors: most, Beside: !m.daemon,
		})
		if err != nil {
			return nil, fmt.Errorf("registry %d: %w", i+1, err)
		}
		for _, other := range h.Sources {
			if other.Name == name {
				return nil, fmt.Errorf("registry %d: another one is called %s too: give one of them a name", i+1, name)
			}
		}
		h.Sources = append(h.Sources, syncer.Source{Name: name, Registry: r, Dotted: c.Names == "dotted", Unrouted: c.Routes == "toml"})
	}
	for i, c := range cfg.Gateways {
		name, written := c.Title(), &gateway.Written{}
		g, err := c.Config.New(gateway.Deps{
			Name: name, Log: log.WithField("gateway", name), Timeout: c.Timeout, Meter: m.gateways[c.Type], Budget: m.answers,
			Written: written,
		})
		if err != nil {
			return nil, fmt.Errorf("gateway %d: %w", i+1, err)
		}
		h.Targets = append(h.Targets, Target{Target: syncer.Target{Name: name, Gateway: g, Resync: c.Resync, Written: written}, close: g.Close})
	}
	return h, nil
}

// endpoints returns our own addresses, to which no registered server may point.
func (h *Components) endpoints(cfg config.Config) []endpoint {
	var list []endpoint
	add := func(of reason.Reason, address string) {
		if host, port, err := net.SplitHostPort(address); err == nil {
			list = append(list, endpoint{of: of, host: host, port: port})
		}
	}
	for _, t := range h.Targets {
		add(ofInterface.With(t.Name), t.Gateway.Abilities().Endpoint)
	}
	for _, src := range h.Sources {
		if r, is := src.Registry.(registry.Located); is {
			add(ofRegistry.With(src.Name), r.Endpoint())
		}
	}
	add(statusPage.With(), cfg.Status.Address)
	return list
}

// Parts returns the components as a syncer needs them.
func (h *Components) Parts(cfg config.Config, store syncer.Store, log logrus.FieldLogger) syncer.Parts {
	reach := newReach(cfg.Guard, h.endpoints(cfg), log).now
	p := syncer.Parts{
		Routes:  cfg.Routing(),
		Sources: h.Sources, Guard: cfg.Guard, Store: store, Schedule: syncer.DefaultSchedule(), Log: log,
		Reach: reach, Taken: newTaken(cfg.Persist.Path, h.Targets, log).now,
	}
	if h.probes > 0 {
		c := probe.Config{
			AtOnce: h.probes, Metrics: h.probed,
			Forbids: func(addr netip.AddrPort) string { return reach().Forbids(addr).String() },
			Here:    func(ip netip.Addr) bool { return reach().Here(ip) },
		}
		if cfg.Guard.WitnessBy == guard.WitnessHTTP {
			c.Path = cfg.Guard.WitnessPath
		}
		p.Witness = probe.New(c)
	}
	for _, t := range h.Targets {
		p.Targets = append(p.Targets, t.Target)
	}
	return p
}

// GatewayNames returns the names in the order of the configuration.
func (h *Components) GatewayNames() []string {
	names := make([]string, len(h.Targets))
	for i, t := range h.Targets {
		names[i] = t.Name
	}
	return names
}

// Close closes the connections.
func (h *Components) Close(log logrus.FieldLogger) {
	for _, t := range h.Targets {
		if err := t.close(); err != nil {
			log.WithError(err).WithField("gateway", t.Name).Debug("the gateway's connections did not close cleanly")
		}
	}
}
