package consul

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
)

func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name  string
		x     examination
		asked int
		want  string // severity, check and a part of the text; "" for nothing
	}{
		{"nothing", examination{services: 10, most: 200}, 0, ""},
		{"a cut list", examination{filtered: errors.New("cut by ACLs"), most: 200}, 300, "problem|token|service_prefix"},
		{"few connections", examination{services: 300, most: 200, unwatched: 162, enough: 400}, 0, "warning|connections|http_max_conns_per_client = 400"},
		{"few connections, guessed", examination{services: 300, most: 200, unwatched: 1, enough: 400, guessed: true}, 0, "warning|connections|its default"},
		{"more asked for than there are", examination{most: 200}, 300, "problem|connections|connections = 300"},
		{"more asked for than may be there", examination{most: 200, guessed: true}, 300, ""},
		{"as many asked for", examination{most: 200}, 200, ""},
		{
			"no check",
			examination{bare: []bare{{"web", "web-1", "n1", "10.0.0.1:80"}, {"web", "web-2", "n1", ""}}},
			0,
			`warning|no-check|Service web has 2 instances without a check of its own: web-1 at "10.0.0.1:80" on node n1, and 1 more`,
		},
		{
			"hostile names",
			examination{bare: []bare{{"x\n{", "\x1b[2J", "n;", "a"}}},
			0,
			`warning|no-check|Service "x\n{" has 1 instance without a check of its own: "\x1b[2J" at "a" on node "n;"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := c.x.findings(c.asked)
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			want := strings.Split(c.want, "|")
			if len(found) != 1 || string(found[0].Severity) != want[0] || found[0].Check != want[1] ||
				!strings.Contains(found[0].What+found[0].Now+found[0].Change, want[2]) {
				t.Errorf("found %+v, want %s", found, c.want)
			}
		})
	}
}

// What is the same at many places is said once.
func TestManyWithoutChecks(t *testing.T) {
	var x examination
	for i := range 21 {
		x.bare = append(x.bare, bare{fmt.Sprintf("s%02d", i), "1", "n", "a"})
	}
	found := x.findings(0)
	if len(found) != 1 || !strings.Contains(found[0].What, "21 services have instances") || len(found[0].Places) != 21 {
		t.Fatalf("found %+v", found)
	}
	if want := `service s20: 1 at "a" on node n`; found[0].Places[20] != want {
		t.Errorf("the last place is %s, want %s", found[0].Places[20], want)
	}
}

func TestExamine(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Consul")
	}
	server := consultestserver.Start(t, consultestserver.WithMaxConnsPerClient(60))
	agent := server.Client(t).Agent()
	for _, s := range []*api.AgentServiceRegistration{
		{Name: "web", ID: "web-1", Address: "10.0.0.1", Port: 80, Check: &api.AgentServiceCheck{TTL: "1h", Status: api.HealthPassing}},
		{Name: "web", ID: "web-2", Address: "10.0.0.2", Port: 80},
		{Name: "named", Address: "host.example.com", Port: 80, Check: &api.AgentServiceCheck{TTL: "1h", Status: api.HealthPassing}},
	} {
		if err := agent.ServiceRegister(s); err != nil {
			t.Fatal(err)
		}
	}
	examine := func(change func(*Config)) examination {
		t.Helper()
		cfg := testConfig(server.Addr)
		if change != nil {
			change(&cfg)
		}
		x, err := newTestRegistry(t, cfg, silent()).examine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return x
	}

	x := examine(nil)
	if u, _ := x.set.Get("web"); len(u.Servers) != 2 || x.services != 2 || len(x.set.Out()) != 1 {
		t.Errorf("%d services, set %+v", x.services, x.set)
	}
	if want := (bare{service: "web", id: "web-2", node: "consul-test", addr: "10.0.0.2:80"}); len(x.bare) != 1 || x.bare[0] != want {
		t.Errorf("without a check: %+v", x.bare)
	}
	if x.most != 60 || x.guessed || x.unwatched != 0 || x.filtered != nil || x.ahead.Abs() > 3*time.Second {
		t.Errorf("%+v", x)
	}

	// 60 connections leave 48 to us: one for the list, so 50 services lack some.
	for i := range 48 {
		err := agent.ServiceRegister(&api.AgentServiceRegistration{
			Name: fmt.Sprintf("s%02d", i), Port: 80, Address: "10.0.1.1", Check: &api.AgentServiceCheck{TTL: "1h"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	x = examine(nil)
	if x.services != 50 || x.unwatched == 0 || withReserve(x.enough) < 51 || withReserve(x.enough-50) >= 51 {
		t.Errorf("%+v", x)
	}
	if x = examine(func(c *Config) { c.Exclude = []string{"s*", "consul"} }); x.services != 2 || x.unwatched != 0 {
		t.Errorf("%+v", x)
	}

	// Its clock is moved by a proxy.
	to, err := url.Parse("http://" + server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	defer proxy.Close()
	if x = examine(func(c *Config) { c.Address = proxy.URL }); (x.ahead + time.Hour).Abs() > 3*time.Second {
		t.Errorf("an hour behind is %s", x.ahead)
	}

	server.Stop()
	if _, err := newTestRegistry(t, testConfig(server.Addr), silent()).Examine(t.Context()); err == nil {
		t.Error("a Consul that is down can be examined")
	}
}

func TestExamineWithACL(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Consul")
	}
	server := consultestserver.Start(t, consultestserver.WithACL())
	client := server.Client(t)
	for _, name := range []string{"web", "api"} {
		if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: name, Port: 80}); err != nil {
			t.Fatal(err)
		}
	}
	token := func(rules string) string {
		t.Helper()
		policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: fmt.Sprintf("p%d", time.Now().UnixNano()), Rules: rules}, nil)
		if err != nil {
			t.Fatal(err)
		}
		made, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made.SecretID
	}
	const all = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`
	for _, c := range []struct {
		name, token string
		cut         string // "" for whole
		guessed     bool
	}{
		{"all", token(all + ` agent_prefix "" { policy = "read" }`), "", false},
		{"all but the agent", token(all), "", true},
		{"one service", token(`service "web" { policy = "read" } node_prefix "" { policy = "read" }`), "cut by ACLs", false},
		{"no nodes", token(`service_prefix "" { policy = "read" }`), "cut by ACLs", true},
		{"none", "", "there is no token", false},
		{"unknown", "11111111-2222-3333-4444-555555555555", "403", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig(server.Addr)
			cfg.Token = c.token
			x, err := newTestRegistry(t, cfg, silent()).examine(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.cut == "" && (x.filtered != nil || x.set.Len() != 2 || x.most != 200 || x.guessed != c.guessed):
				t.Errorf("%+v", x)
			case c.cut != "" && (x.filtered == nil || !strings.Contains(x.filtered.Error(), c.cut)):
				t.Errorf("cut: %v, want %s", x.filtered, c.cut)
			}
		})
	}
}
