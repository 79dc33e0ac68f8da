package consul

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
)

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
	examine := func(change func(*Config)) Examination {
		t.Helper()
		cfg := testConfig(server.Addr)
		if change != nil {
			change(&cfg)
		}
		x, err := newTestRegistry(t, cfg, silent()).Examine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return x
	}

	x := examine(nil)
	if u, _ := x.Set.Get("web"); len(u.Servers) != 2 || x.Services != 2 || len(x.Set.Out()) != 1 {
		t.Errorf("%d services, set %+v", x.Services, x.Set)
	}
	want := []Unchecked{{Service: "web", ID: "web-2", Node: "consul-test", Addr: "10.0.0.2:80"}}
	if diff := cmp.Diff(want, x.Unchecked); diff != "" {
		t.Error(diff)
	}
	if x.Connections != 60 || x.Guessed || x.Unwatched != 0 || x.Cut != nil || x.Ahead.Abs() > 3*time.Second {
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
	if x.Services != 50 || x.Unwatched == 0 || withReserve(x.Enough) < 51 || withReserve(x.Enough-50) >= 51 {
		t.Errorf("%+v", x)
	}
	if x = examine(func(c *Config) { c.Exclude = []string{"s*", "consul"} }); x.Services != 2 || x.Unwatched != 0 {
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
	if x = examine(func(c *Config) { c.Address = proxy.URL }); (x.Ahead + time.Hour).Abs() > 3*time.Second {
		t.Errorf("an hour behind is %s", x.Ahead)
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
			x, err := newTestRegistry(t, cfg, silent()).Examine(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.cut == "" && (x.Cut != nil || x.Set.Len() != 2 || x.Connections != 200 || x.Guessed != c.guessed):
				t.Errorf("%+v", x)
			case c.cut != "" && (x.Cut == nil || !strings.Contains(x.Cut.Error(), c.cut)):
				t.Errorf("cut: %v, want %s", x.Cut, c.cut)
			}
		})
	}
}
