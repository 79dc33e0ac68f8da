package dyups

import (
	"cmp"
	"net"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/gateway"
)

// Kind returns the gateway type "dyups".
func Kind() gateway.Kind {
	return gateway.Kind{
		Name: "dyups",
		Config: func() gateway.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: func(r prometheus.Registerer) (gateway.Meter, error) { return NewMetrics(r) },
		Example: `[[gateway]]
type    = "dyups"
address = "unix:/run/dyups/dyups.sock"   # or "http://127.0.0.1:18882", which is the default
`,
	}
}

// Identity returns the address.
func (c *Config) Identity() (key, value string) { return "address", c.Address }

// New creates the gateway of a table.
func (c *Config) New(d gateway.Deps) (gateway.Gateway, error) {
	cfg := *c
	cfg.Timeout = d.Timeout
	m, _ := d.Meter.(*Metrics)
	return New(cfg, d.Log, WithMetrics(m, d.Name), WithBudget(d.Budget), WithWritten(d.Written)), nil
}

// Abilities returns those of an nginx whose interface is a TCP address or a socket.
func (g *Gateway) Abilities() gateway.Abilities {
	a := gateway.Nginx()
	a.NginxConf = g.config.NginxConf
	if u, err := url.Parse(g.config.Address); err == nil && u.Host != "" {
		a.Endpoint = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
	}
	return a
}
