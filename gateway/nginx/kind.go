package nginx

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/gateway"
)

// Kind returns the type "nginx".
func Kind() gateway.Kind {
	return gateway.Kind{
		Name: "nginx",
		Config: func() gateway.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: func(r prometheus.Registerer) (gateway.Meter, error) { return newMetrics(r) },
		Example: `[[gateway]]
type = "nginx"
dir  = "/etc/nginx/swallowkeeper"   # nginx includes its current/*.upstream.conf and current/*.location.conf
pid  = "/run/nginx.pid"             # or reload = ["nginx", "-s", "reload"], which is the default
`,
	}
}

// Identity returns the folder.
func (c *Config) Identity() (key, value string) { return "dir", c.Dir }

// New makes the gateway of a table.
func (c *Config) New(d gateway.Deps) (gateway.Gateway, error) {
	if err := c.together(); err != nil {
		return nil, err
	}
	cfg := *c
	cfg.Timeout = d.Timeout
	m, _ := d.Meter.(*metrics)
	g := New(cfg, d.Log, WithWritten(d.Written))
	g.meter = m.of(d.Name)
	return g, nil
}

// Abilities returns the abilities of nginx.
func (g *Gateway) Abilities() gateway.Abilities {
	a := gateway.Nginx()
	a.Routes = gateway.AllRoutes()
	a.Routes.Hosts = slices.Concat([]string{}, g.config.Hosts) // not nil, which would mean all
	a.Folder, a.Interval = g.config.Dir, g.config.MinInterval
	if g.config.Container == "" && g.config.On == nil {
		a.NginxConf = gateway.FindNginxConf
	}
	return a
}
