package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
)

// TestAgentsDefaultToken reads without a token of its own what the agent's default token sees, if that is all.
func TestAgentsDefaultToken(t *testing.T) {
	d := startDouble(t, testOptions())
	d.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	d.register(t, registration("n1", "api", "a1", "10.0.0.1", 81, "passing"))
	d.FilterByACL(true, "another")
	r := newTestRegistry(t, testConfig(d.addr), silent())
	w := run(t, r)
	expectTrouble(t, r, "neither ours nor the agent's default")
	if w.count() > 0 {
		t.Fatalf("an anonymous client published %v", w.last().Names())
	}
	d.AgentToken(true)
	w.until("both", func(s upstreamSet) bool { return s.Servers() == 2 })
	eventually(t, "no trouble", func() bool { return r.Condition().Trouble == nil })

	d.FilterByACL(true, "api")
	d.register(t, registration("n1", "new", "n1", "10.0.0.1", 82, "passing")) // a query that is asked just now waits else
	expectTrouble(t, r, "acl_filtered")
	d.AgentToken(false)
	expectTrouble(t, r, "neither ours nor the agent's default")
	if s := w.last(); s.Servers() != 2 {
		t.Errorf("what was read is gone: %v", s.Names())
	}
	d.FilterByACL(true, "another")
	d.AgentToken(true)
	d.register(t, registration("n1", "api", "a2", "10.0.0.2", 81, "passing"))
	w.servers("api", 2)
}

// TestRealAgentsDefaultToken is the same on Consul.
func TestRealAgentsDefaultToken(t *testing.T) {
	server := consultestserver.Start(t, consultestserver.WithACL())
	c := server.Client(t)
	registerReal(t, c, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	registerReal(t, c, registration("n1", "api", "a1", "10.0.0.1", 81, "passing"))
	token := func(name, rules string) string {
		t.Helper()
		policy, _, err := c.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := c.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return token.SecretID
	}
	give := func(token string) {
		t.Helper()
		if _, err := c.Agent().UpdateDefaultACLToken(token, nil); err != nil {
			t.Fatal(err)
		}
	}
	all := token("all", `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	part := token("part", `service "web" { policy = "read" } node_prefix "" { policy = "read" }`)

	r := newTestRegistry(t, testConfig(server.Addr), silent())
	w := run(t, r)
	expectTrouble(t, r, "neither ours nor the agent's default")
	give(part)
	expectTrouble(t, r, "acl_filtered")
	if w.count() > 0 {
		t.Fatalf("published %v", w.last().Names())
	}
	give(all)
	w.until("both", func(s upstreamSet) bool { return s.Servers() == 2 })
	eventually(t, "no trouble", func() bool { return r.Condition().Trouble == nil })

	give("")
	registerReal(t, c, registration("n1", "new", "n1", "10.0.0.1", 82, "passing"))
	expectTrouble(t, r, "neither ours nor the agent's default")
	if s := w.last(); s.Servers() != 2 {
		t.Errorf("what was read is gone: %v", s.Names())
	}
	give(all)
	w.servers("new", 1)
}
