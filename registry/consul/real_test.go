package consul

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
)

func registerReal(t *testing.T, c *api.Client, reg *api.CatalogRegistration) {
	t.Helper()
	if _, err := c.Catalog().Register(reg, nil); err != nil {
		t.Fatal(err)
	}
}

// TestRealNamesThatDifferInCase has each service get its own instances, although Consul
// answers for either with those of both.
func TestRealNamesThatDifferInCase(t *testing.T) {
	server := consultestserver.Start(t)
	c := server.Client(t)
	registerReal(t, c, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	registerReal(t, c, registration("n1", "Web", "w2", "10.0.0.2", 80, "passing"))
	registerReal(t, c, registration("n1", "Web", "w3", "10.0.0.3", 80, "passing"))
	s := run(t, newTestRegistry(t, testConfig(server.Addr), silent())).
		until("both", func(s upstreamSet) bool { return s.Len() == 2 })
	for u := range s.All() {
		if want := map[string]int{"web": 1, "Web": 2}[u.Name]; len(u.Servers) != want {
			t.Errorf("%s has %d servers, want %d", u.Name, len(u.Servers), want)
		}
	}
}

// TestRealFewConnections has more services than Consul lets us have connections.
func TestRealFewConnections(t *testing.T) {
	const services = 60
	server := consultestserver.Start(t, consultestserver.WithMaxConnsPerClient(30))
	c := server.Client(t)
	for i := range services {
		registerReal(t, c, registration("n1", fmt.Sprintf("svc-%d", i), fmt.Sprintf("a-%d", i), "10.0.0.1", 1000+i, "passing"))
		registerReal(t, c, registration("n2", fmt.Sprintf("svc-%d", i), fmt.Sprintf("b-%d", i), "10.0.0.2", 1000+i, "passing"))
	}
	w := run(t, newTestRegistry(t, testConfig(server.Addr), silent()))
	w.until("all", func(s upstreamSet) bool { return s.Len() == services && s.Servers() == 2*services })
	for i := range services {
		if i%7 != 0 {
			continue
		}
		registerReal(t, c, registration("n1", fmt.Sprintf("svc-%d", i), fmt.Sprintf("a-%d", i), "10.0.0.1", 1000+i, "critical"))
		w.servers(fmt.Sprintf("svc-%d", i), 1)
		registerReal(t, c, registration("n3", fmt.Sprintf("svc-%d", i), fmt.Sprintf("c-%d", i), "10.0.0.3", 1000+i, "passing"))
		w.servers(fmt.Sprintf("svc-%d", i), 2)
		registerReal(t, c, registration("n1", fmt.Sprintf("svc-%d", i), fmt.Sprintf("a-%d", i), "10.0.0.1", 1000+i, "passing"))
		w.servers(fmt.Sprintf("svc-%d", i), 3)
	}
	if err := w.r.Condition().Trouble; err != nil {
		t.Error(err)
	}
}

// TestRealHTTPSHasNoBudget has one connection carry many queries.
func TestRealHTTPSHasNoBudget(t *testing.T) {
	const services = 60
	server := consultestserver.Start(t, consultestserver.WithTLS(), consultestserver.WithMaxConnsPerClient(10))
	c := server.Client(t)
	for i := range services {
		registerReal(t, c, registration("n1", fmt.Sprintf("svc-%d", i), fmt.Sprintf("a-%d", i), "10.0.0.1", 1000+i, "passing"))
	}
	cfg := testConfig("https://" + server.HTTPSAddr)
	cfg.CAFile = server.CAFile
	r := newTestRegistry(t, cfg, silent())
	w := run(t, r)
	w.until("all", func(s upstreamSet) bool { return s.Servers() == services })
	registerReal(t, c, registration("n2", "svc-7", "b", "10.0.0.2", 80, "passing"))
	w.servers("svc-7", 2)
	if err := r.Condition().Trouble; err != nil {
		t.Error(err)
	}
}

// TestRealACL refuses what an anonymous client and a weak token see, and takes a token
// that was mended in its file.
func TestRealACL(t *testing.T) {
	server := consultestserver.Start(t, consultestserver.WithACL())
	c := server.Client(t)
	registerReal(t, c, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	registerReal(t, c, registration("n1", "api", "a1", "10.0.0.1", 81, "passing"))

	r := newTestRegistry(t, testConfig(server.Addr), silent())
	w := run(t, r)
	expectTrouble(t, r, "there is no token")
	if w.count() > 0 {
		t.Errorf("an anonymous client published %v", w.last().Names())
	}

	policy, _, err := c.ACL().PolicyCreate(&api.ACLPolicy{
		Name: "web-only", Rules: `service "web" { policy = "read" } node_prefix "" { policy = "read" }`,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	weak, _, err := c.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(weak.SecretID+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(server.Addr)
	cfg.TokenFile = file
	r = newTestRegistry(t, cfg, silent())
	w = run(t, r)
	expectTrouble(t, r, "acl_filtered")
	if w.count() > 0 {
		t.Errorf("a weak token published %v", w.last().Names())
	}
	if err := os.WriteFile(file, []byte(server.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.servers("api", 1)

	cfg.TokenFile, cfg.Token, cfg.ACLFiltered = "", weak.SecretID, "accept"
	w = run(t, newTestRegistry(t, cfg, silent()))
	w.until("only web", func(s upstreamSet) bool { return serversOf(s, "web") == 1 && s.Len() == 1 })
}

// TestRealOutages keeps what was read through every outage, and goes on afterwards.
func TestRealOutages(t *testing.T) {
	server := consultestserver.Start(t)
	c := server.Client(t)
	for i := range 4 {
		registerReal(t, c, registration("n1", fmt.Sprintf("svc-%d", i), fmt.Sprintf("a-%d", i), "10.0.0.1", 1000+i, "passing"))
		registerReal(t, c, registration("n2", fmt.Sprintf("svc-%d", i), fmt.Sprintf("b-%d", i), "10.0.0.2", 1000+i, "passing"))
	}
	whole := func(s upstreamSet) bool { return s.Len() == 4 && s.Servers() == 8 }
	cfg := testConfig(server.Addr)
	cfg.Wait = time.Second
	stale := cfg
	stale.Stale = true
	var watches []*running
	for _, cfg := range []Config{cfg, stale} {
		w := run(t, newTestRegistry(t, cfg, silent()))
		w.until("all", whole)
		watches = append(watches, w)
	}
	for _, outage := range []struct {
		name string
		run  func()
	}{
		{"restart", server.Restart},
		{"killed", func() { server.Kill(); server.Restart() }},
		{"no leader", func() {
			server.LoseLeader()
			expectTrouble(t, watches[0].r, "") // what must come from a leader is refused, or hangs
			expectTrouble(t, watches[1].r, "no leader")
		}},
		{"a leader again", server.Restart},
	} {
		outage.run()
		for i, w := range watches {
			if !whole(w.last()) {
				t.Fatalf("%s, watch %d: %v", outage.name, i, w.last().Names())
			}
		}
	}
	registerReal(t, c, registration("n3", "svc-0", "c", "10.0.0.3", 80, "passing"))
	for i, w := range watches {
		w.servers("svc-0", 3)
		eventually(t, "no trouble", func() bool { return w.r.Condition().Trouble == nil })
		if n := w.count(); n != 2 {
			t.Errorf("watch %d: %d sets published, want 2", i, n)
		}
	}
}
