package consultest_test

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/registry/consul/consultest"
)

func TestDefaultTokenOnDouble(t *testing.T) {
	server, addr := start(t, consultest.Options{})
	server.FilterByACL(true, "secret")
	suite := newSuite(t, addr)
	suite.catalogRegister(t, catalogReg("open", "token-node", "1", "passing"))
	suite.catalogRegister(t, catalogReg("secret", "token-node", "2", "passing"))
	testDefaultToken(t, suite, func() { server.AgentToken(true) })
}

func TestDefaultTokenOnConsul(t *testing.T) {
	server := consultestserver.Start(t, consultestserver.WithACL())
	c := server.Client(t)
	for id, service := range map[string]string{"1": "open", "2": "secret"} {
		_, err := c.Catalog().Register(catalogReg(service, "token-node", id, "passing"), nil)
		must(t, err)
	}
	policy, _, err := c.ACL().PolicyCreate(&api.ACLPolicy{
		Name: "open", Rules: `service "open" { policy = "read" } service "consul" { policy = "read" }
			node_prefix "" { policy = "read" } agent_prefix "" { policy = "read" }`,
	}, nil)
	must(t, err)
	token, _, err := c.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	must(t, err)
	suite := &suite{base: "http://" + server.Addr, http: newHTTP(t)}
	testDefaultToken(t, suite, func() {
		_, err := c.Agent().UpdateDefaultACLToken(token.SecretID, nil)
		must(t, err)
	})
}

// testDefaultToken reads as an anonymous client and then with the agent's default token, which sees a part.
func testDefaultToken(t *testing.T, s *suite, give func()) {
	const list, self = "/v1/catalog/services", "/v1/acl/token/self"
	resp, _ := s.do(t, "GET", list, "")
	equal(t, "an anonymous client is told", headersOf(resp.Header.Get), []string{"deny", ""})
	resp, body := s.do(t, "GET", self, "")
	equal(t, "its own token", []any{resp.StatusCode, body}, []any{403, "token does not exist: ACL not found"})
	give()
	resp, _ = s.do(t, "GET", list, "")
	equal(t, "with the agent's token it is told", headersOf(resp.Header.Get), []string{"deny", "true"})
	resp, _ = s.do(t, "GET", self, "")
	equal(t, "the agent's token", resp.StatusCode, 200)
}

func headersOf(get func(string) string) []string {
	return []string{get("X-Consul-Default-ACL-Policy"), get("X-Consul-Results-Filtered-By-ACLs")}
}
