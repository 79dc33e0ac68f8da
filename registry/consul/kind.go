package consul

import (
	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/registry"
)

// Kind returns the type "consul".
func Kind() registry.Kind {
	return registry.Kind{
		Name: "consul",
		Config: func() registry.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: func(r prometheus.Registerer) (registry.Meter, error) { return NewMetrics(r) },
		Example: `[[registry]]
type       = "consul"
address    = "127.0.0.1:8500"               # best the agent on the same machine
include    = ["web-*", "api"]
exclude    = ["consul", "*-internal"]
`,
		Environment: "**CONSUL_HTTP_ADDR**, **CONSUL_HTTP_TOKEN** and the rest of Consul's own",
	}
}

// New makes the registry of a table.
func (c *Config) New(d registry.Deps) (registry.Registry, error) {
	cfg := *c
	cfg.Name, cfg.Defaults = d.Name, d.Defaults
	m, _ := d.Meter.(*Metrics)
	options := []Option{WithMetrics(m), WithDescriptors(d.Descriptors), WithBudget(d.Budget)}
	if d.Beside {
		options = append(options, Beside())
	}
	r, err := New(cfg, d.Log, options...)
	if err != nil {
		return nil, err
	}
	return r, nil
}
