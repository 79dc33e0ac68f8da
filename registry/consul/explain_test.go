package consul

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/upstream"
)

// explained is findings as a person reads them, without their indexes, which must be there.
func explained(t *testing.T, r *Registry, name string) []string {
	t.Helper()
	findings, err := r.Explain(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, f := range findings {
		verdict := "out"
		if f.In {
			verdict = "in"
		}
		if f.Index == 0 {
			t.Errorf("%+v has no index", f)
		}
		lines = append(lines, strings.TrimSpace(f.Addr+" "+verdict+": "+f.Reason.String()))
	}
	return lines
}

func TestExplain(t *testing.T) {
	web := func(addr, status string, change func(*api.CatalogRegistration)) *api.CatalogRegistration {
		reg := registration("n1", "web", "web-"+addr, addr, 80, status)
		if change != nil {
			change(reg)
		}
		return reg
	}
	tags := func(tags ...string) func(*api.CatalogRegistration) {
		return func(r *api.CatalogRegistration) { r.Service.Tags = tags }
	}
	nodeCheck := &api.HealthCheck{Node: "n1", CheckID: "serfHealth", Name: "node", Status: api.HealthPassing}
	for _, c := range []struct {
		name   string
		asked  string
		config func(*Config)
		regs   []*api.CatalogRegistration
		want   []string
	}{
		{"nothing of this name", "other", nil, []*api.CatalogRegistration{web("10.0.0.1", api.HealthPassing, nil)}, []string{}},
		{
			"checks", "WEB", nil,
			[]*api.CatalogRegistration{
				web("10.0.0.1", api.HealthPassing, func(r *api.CatalogRegistration) { r.Checks = append(r.Checks, nodeCheck) }),
				web("10.0.0.2", api.HealthCritical, nil),
				web("10.0.0.3", api.HealthWarning, nil),
				web("10.0.0.4", "", nil),
			},
			[]string{
				`10.0.0.1:80 in: checks "own", "node" are passing`,
				`10.0.0.2:80 out: check "own" is critical; it is instance "web-10.0.0.2" on node "n1"`,
				`10.0.0.3:80 out: check "own" is warning; it is instance "web-10.0.0.3" on node "n1"`,
				`10.0.0.4:80 in: check "node" is passing; it has no check of its own`,
			},
		},
		{
			"warning is taken", "web",
			func(c *Config) { c.Health = "warning" },
			[]*api.CatalogRegistration{web("10.0.0.3", api.HealthWarning, nil)},
			[]string{`10.0.0.3:80 in: check "own" is warning, which health = "warning" takes`},
		},
		{
			"the service of a canary", "web", nil,
			[]*api.CatalogRegistration{web("10.0.0.1", api.HealthPassing, nil), web("10.0.0.2", api.HealthPassing, tags("gray=b"))},
			[]string{
				`10.0.0.1:80 in: check "own" is passing`,
				`10.0.0.2:80 out: its tag puts it into upstream web_b`,
			},
		},
		{
			"a canary", "web_b", nil,
			[]*api.CatalogRegistration{
				web("10.0.0.1", api.HealthPassing, nil), web("10.0.0.2", api.HealthPassing, tags("gray=b")),
				web("10.0.0.3", api.HealthCritical, tags("gray=b")),
			},
			[]string{
				`10.0.0.2:80 in: check "own" is passing; tag "gray=b" puts it here`,
				`10.0.0.3:80 out: check "own" is critical; it is instance "web-10.0.0.3" on node "n1"`,
			},
		},
		{
			"a name that no upstream can have", "we b", nil,
			[]*api.CatalogRegistration{registration("n1", "we b", "x", "10.0.0.1", 80, api.HealthPassing)},
			[]string{`out: the name has characters other than letters, digits, _ . - or begins with . or -`},
		},
		{
			"excluded", "web", func(c *Config) { c.Exclude = []string{"a*", "w?b"} },
			[]*api.CatalogRegistration{web("10.0.0.1", api.HealthPassing, nil)},
			[]string{`out: exclude "w?b" leaves service "web" out`},
		},
		{
			"not included", "web", func(c *Config) { c.Include = []string{"api"} },
			[]*api.CatalogRegistration{web("10.0.0.1", api.HealthPassing, nil)},
			[]string{`out: no include matches service "web"`},
		},
		{
			"no wanted tag at all", "web", func(c *Config) { c.Tags = []string{"prod*"} },
			[]*api.CatalogRegistration{web("10.0.0.1", api.HealthPassing, tags("test"))},
			[]string{`out: no instance of service "web" has a wanted tag`},
		},
		{
			"tags", "web", func(c *Config) { c.Tags = []string{"prod*"} },
			[]*api.CatalogRegistration{web("10.0.0.1", api.HealthPassing, tags("test")), web("10.0.0.2", api.HealthPassing, tags("x", "prod-1"))},
			[]string{
				`10.0.0.1:80 out: no tag matches the wanted ones`,
				`10.0.0.2:80 in: check "own" is passing; tag "prod-1" is wanted by tags "prod*"`,
			},
		},
		{
			"meta", "web", nil,
			[]*api.CatalogRegistration{
				web("10.0.0.1", api.HealthPassing, func(r *api.CatalogRegistration) {
					r.Service.Meta = map[string]string{"nginx-weight": "7", "other": "x"}
				}),
				web("10.0.0.2", api.HealthPassing, func(r *api.CatalogRegistration) {
					r.Service.Meta = map[string]string{"nginx-weight": "\x1b[31mheavy\n"}
				}),
			},
			[]string{
				`10.0.0.1:80 in: check "own" is passing; meta nginx-weight = "7"`,
				`10.0.0.2:80 out: meta nginx-weight = "\x1b[31mheavy\n": allowed is a number from 1 to 65535`,
			},
		},
		{
			"host names", "web", func(c *Config) { c.HostNames = true },
			[]*api.CatalogRegistration{web("two.example", api.HealthPassing, nil), web("none.example", api.HealthPassing, nil)},
			[]string{
				`10.1.0.1:80 in: check "own" is passing; "two.example" has this address`,
				`10.1.0.2:80 in: check "own" is passing; "two.example" has this address`,
				`none.example:80 out: look up "none.example": no address`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := startDouble(t, testOptions())
			for _, reg := range c.regs {
				d.register(t, reg)
			}
			cfg := testConfig(d.addr)
			if c.config != nil {
				c.config(&cfg)
			}
			r := newTestRegistry(t, cfg, silent())
			r.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				if host == "two.example" {
					return []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.1")}, nil
				}
				return nil, nil
			}
			if diff := cmp.Diff(c.want, explained(t, r, c.asked)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestExplainReal asks a real Consul, whose filter expressions the double does not know, and
// holds what is explained against what is published.
func TestExplainReal(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Consul")
	}
	server := consultestserver.Start(t)
	agent := server.Client(t).Agent()
	for addr, version := range map[string]string{"10.0.0.1": "1", "10.0.0.2": "2"} {
		if err := agent.ServiceRegister(&api.AgentServiceRegistration{
			Name: "web", ID: "web-" + addr, Address: addr, Port: 80, Meta: map[string]string{"version": version},
			Check: &api.AgentServiceCheck{CheckID: "own-" + addr, TTL: "1h", Status: api.HealthPassing},
		}); err != nil {
			t.Fatal(err)
		}
	}
	cfg := testConfig(server.Addr)
	cfg.Filter = `Service.Meta.version == "1"`
	r := newTestRegistry(t, cfg, silent())
	want := []string{
		`10.0.0.1:80 in: checks "Service 'web' check", "Serf Health Status" are passing`,
		`10.0.0.2:80 out: the filter "Service.Meta.version == \"1\"" leaves it out`,
	}
	if diff := cmp.Diff(want, explained(t, r, "web")); diff != "" {
		t.Error(diff)
	}
	run(t, r).until("as explained", func(s upstream.Set) bool { return serversOf(s, "web") == 1 })

	if err := agent.EnableServiceMaintenance("web-10.0.0.1", "new disk\x1b[2J"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the maintenance is explained", func() bool {
		return strings.Contains(strings.Join(explained(t, r, "web"), "\n"), `10.0.0.1:80 out: it is in maintenance: "new disk\x1b[2J"`)
	})

	server.Stop()
	if _, err := r.Explain(t.Context(), "web"); err == nil {
		t.Error("a Consul that is down explains")
	}
}
