package caddy

import (
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/gateway"
)

// Kind is the type "caddy".
func Kind() gateway.Kind {
	return gateway.Kind{
		Name: "caddy",
		Config: func() gateway.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: func(r prometheus.Registerer) (gateway.Meter, error) { return newMetrics(r) },
		Example: `[[gateway]]
type    = "caddy"
address = "http://127.0.0.1:2019"   # Caddy's admin API, or "unix:/run/caddy/admin.sock"
server  = "srv0"                    # the server that gets our place, unless "@id": "swallowkeeper" stands on a route
`,
	}
}

// Identity is the address of the admin API.
func (c *Config) Identity() (key, value string) { return "address", c.Address }

// New makes the gateway of a table.
func (c *Config) New(d gateway.Deps) (gateway.Gateway, error) {
	cfg := *c
	cfg.Timeout = d.Timeout
	g := New(cfg, d.Log, WithBudget(d.Budget), WithWritten(d.Written))
	m, _ := d.Meter.(*metrics)
	g.meter = m.of(d.Name)
	return g, nil
}

// Abilities are those of a Caddy.
func (g *Gateway) Abilities() gateway.Abilities {
	routes := gateway.AllRoutes()
	routes.OwnAuth = false
	a := gateway.Abilities{
		Methods: []gateway.Method{
			{Name: ""},
			{Name: "least_conn", Unweighted: true},
			{Name: "ip_hash", Unweighted: true},
			{Name: "random", Unweighted: true},
		},
		NoBackups: true,
		Routes:    routes,
	}
	if u, err := url.Parse(g.config.Address); err == nil && !strings.HasPrefix(g.config.Address, "unix:") {
		a.Endpoint = u.Host
	}
	return a
}
