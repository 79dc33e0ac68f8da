package consultest_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// reader is a blocking read in short.
type reader struct {
	name string
	read func(*api.QueryOptions) (*api.QueryMeta, error)
}

func (s *suite) readers(service, node string) []reader {
	return []reader{
		{"services", func(o *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := s.Catalog().Services(o)
			return m, err
		}},
		{"health", func(o *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := s.Health().Service(service, "", false, o)
			return m, err
		}},
		{"tag", func(o *api.QueryOptions) (*api.QueryMeta, error) { // that nothing has
			_, m, err := s.Health().Service(service, "nobody's", false, o)
			return m, err
		}},
		{"id", func(o *api.QueryOptions) (*api.QueryMeta, error) { // that nothing has
			o.Filter = `Service.ID == "-"`
			_, m, err := s.Health().Service(service, "", false, o)
			return m, err
		}},
		{"state", func(o *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := s.Health().State("any", o)
			return m, err
		}},
		{"filtered", func(o *api.QueryOptions) (*api.QueryMeta, error) {
			o.Filter = "Status!=passing"
			_, m, err := s.Health().State("any", o)
			return m, err
		}},
		{"node", func(o *api.QueryOptions) (*api.QueryMeta, error) {
			o.Filter = `ID == "-"`
			_, m, err := s.Catalog().NodeServiceList(node, o)
			return m, err
		}},
	}
}

// event is a change and, in the words of readers, what it changes.
type event struct {
	name    string
	happen  func()
	changes string
}

func (s *suite) events(t *testing.T, service string) []event {
	reg := func(change func(*api.CatalogRegistration)) func() {
		return func() {
			r := catalogReg(service, service+"-node", "1", "passing")
			change(r)
			s.catalogRegister(t, r)
		}
	}
	plain := func(*api.CatalogRegistration) {}
	return []event{
		{"the same again", reg(plain), ""},
		{"check flips", reg(func(r *api.CatalogRegistration) { r.Check.Status = "critical" }), "health tag id state filtered"},
		{"check flips back", reg(plain), "health tag id state filtered"},
		{"output alone", reg(func(r *api.CatalogRegistration) { r.Check.Output = "new" }), "health tag id state filtered"},
		{"tag is set", reg(func(r *api.CatalogRegistration) {
			r.Service.Tags = []string{"new"}
			r.Check = nil
		}), "services health tag id node"},
		{"another instance without a check", func() {
			r := catalogReg(service, service+"-node", "2", "")
			r.Check = nil
			s.catalogRegister(t, r)
		}, "services health tag id node"},
		{"another instance with a check", func() {
			s.catalogRegister(t, catalogReg(service, service+"-node", "3", "passing"))
		}, "services health tag id state filtered node"},
		{"a check of the node", func() {
			s.catalogRegister(t, &api.CatalogRegistration{
				Node: service + "-node", SkipNodeUpdate: true,
				Check: &api.AgentCheck{CheckID: "disk", Name: "disk", Status: "passing"},
			})
		}, "health tag id state filtered"},
		{"the node's address", func() {
			s.catalogRegister(t, &api.CatalogRegistration{Node: service + "-node", Address: "127.0.0.11"})
		}, "health tag id node"},
		{"the node just as it was", func() {
			s.catalogRegister(t, &api.CatalogRegistration{Node: service + "-node", Address: "127.0.0.11"})
		}, ""},
		{"another service appears", func() {
			r := catalogReg(service+"-other", service+"-other-node", "1", "")
			r.Check = nil
			s.catalogRegister(t, r)
		}, "services"},
		{"another service's check", func() {
			s.catalogRegister(t, catalogReg(service+"-other", service+"-other-node", "1", "critical"))
		}, "state filtered"},
		{"another service goes", func() {
			s.catalogDeregister(t, &api.CatalogDeregistration{Node: service + "-other-node"})
		}, "services state filtered"},
		{"an instance goes", func() {
			s.catalogDeregister(t, &api.CatalogDeregistration{Node: service + "-node", ServiceID: "3"})
		}, "services health tag id state filtered node"},
		{"nothing is deregistered", func() {
			s.catalogDeregister(t, &api.CatalogDeregistration{Node: service + "-node", ServiceID: "3"})
		}, ""},
		{"all is gone", func() {
			s.catalogDeregister(t, &api.CatalogDeregistration{Node: service + "-node"})
		}, "services health tag id state filtered node"},
	}
}

// testIndexes asks, after each event, whether there is something beyond the index from before.
func testIndexes(t *testing.T, s *suite) {
	s.catalogRegister(t, catalogReg("idx", "idx-node", "1", "passing"))
	readers := s.readers("idx", "idx"+"-node")
	for _, e := range s.events(t, "idx") {
		before := make(map[string]uint64)
		for _, r := range readers {
			m, err := r.read(&api.QueryOptions{})
			must(t, err)
			before[r.name] = m.LastIndex
		}
		e.happen()
		after := make([]uint64, len(readers))
		var wg sync.WaitGroup
		for i, r := range readers {
			wg.Go(func() {
				// Long enough for an agent's stream to bring what there is.
				m, err := r.read(&api.QueryOptions{WaitIndex: before[r.name], WaitTime: 150 * time.Millisecond})
				if err != nil {
					t.Errorf("%s: %s: %v", e.name, r.name, err)
					return
				}
				after[i] = m.LastIndex
			})
		}
		wg.Wait()
		var changed []string
		for i, r := range readers {
			if after[i] < before[r.name] {
				t.Errorf("%s: index of %s went back from %d to %d", e.name, r.name, before[r.name], after[i])
			}
			if after[i] > before[r.name] {
				changed = append(changed, r.name)
			}
		}
		if got := strings.Join(changed, " "); got != e.changes {
			t.Errorf("%s changes %q, not %q", e.name, got, e.changes)
		}
	}
}

// testWaking has queries wait while things happen, and wants those woken that have to be.
func testWaking(t *testing.T, s *suite) {
	s.catalogRegister(t, catalogReg("wake", "wake-node", "1", "passing"))
	for _, e := range s.events(t, "wake") {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		type result struct {
			name string
			err  error
		}
		results := make(chan result, 7)
		want := strings.Fields(e.changes)
		for _, r := range s.readers("wake", "wake"+"-node") {
			if !slices.Contains(want, r.name) {
				continue
			}
			m, err := r.read(&api.QueryOptions{})
			must(t, err)
			go func() {
				o := (&api.QueryOptions{WaitIndex: m.LastIndex, WaitTime: time.Minute}).WithContext(ctx)
				_, err := r.read(o)
				results <- result{r.name, err}
			}()
		}
		e.happen()
		for range want {
			if r := <-results; r.err != nil {
				t.Errorf("%s does not wake %s: %v", e.name, r.name, r.err)
			}
		}
		cancel()
	}
}

func testWaiting(t *testing.T, s *suite) {
	s.catalogRegister(t, catalogReg("waits", "wait-node", "1", "passing"))
	const wait = 320 * time.Millisecond
	for _, r := range s.readers("waits", "waits"+"-node") {
		m, err := r.read(&api.QueryOptions{})
		must(t, err)
		begin := time.Now()
		got, err := r.read(&api.QueryOptions{WaitIndex: m.LastIndex, WaitTime: wait})
		must(t, err)
		if took := time.Since(begin); took < wait || took > wait+wait/16+limit {
			t.Errorf("%s waited %v of %v", r.name, took, wait)
		}
		equal(t, r.name+" index after waiting for nothing", got.LastIndex, m.LastIndex)
	}
	// An index from the past is answered at once.
	for _, r := range s.readers("waits", "waits"+"-node") {
		begin := time.Now()
		_, err := r.read(&api.QueryOptions{WaitIndex: 1, WaitTime: time.Minute})
		must(t, err)
		if took := time.Since(begin); took > limit {
			t.Errorf("%s: index 1 waited %v", r.name, took)
		}
	}
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "wait-node"})
}

func testHeaders(t *testing.T, s *suite) {
	s.catalogRegister(t, catalogReg("heads", "head-node", "1", "passing"))
	for _, tt := range []struct{ path, consistency, known, backend string }{
		{"/v1/health/service/heads", "leader", "true", "blocking-query"},
		{"/v1/health/service/heads?stale", "stale", "true", "blocking-query"},
		{"/v1/health/service/heads?consistent", "consistent", "true", "blocking-query"},
		// From here on an agent's stream answers, which does not know of leaders.
		{"/v1/health/service/heads?index=1", "leader", "false", "streaming"},
		{"/v1/health/service/heads?index=1&stale", "stale", "false", "streaming"},
		{"/v1/health/service/heads?cached", "leader", "false", "streaming"},
		{"/v1/catalog/services?index=1", "leader", "true", "blocking-query"},
		{"/v1/catalog/services?stale", "stale", "true", "blocking-query"},
		{"/v1/catalog/services?cached", "leader", "true", "blocking-query"},
		{"/v1/catalog/service/heads?index=1", "leader", "true", "blocking-query"},
		{"/v1/health/state/any?index=1", "leader", "true", "blocking-query"},
	} {
		resp, _ := s.do(t, "GET", tt.path, "")
		h := resp.Header
		equal(t, tt.path, []string{
			h.Get("X-Consul-Effective-Consistency"), h.Get("X-Consul-KnownLeader"), h.Get("X-Consul-Query-Backend"),
			h.Get("X-Consul-LastContact"), h.Get("X-Consul-Default-ACL-Policy"), h.Get("X-Consul-Results-Filtered-By-ACLs"),
		}, []string{tt.consistency, tt.known, tt.backend, "0", "allow", ""})
		if n, err := strconv.Atoi(h.Get("X-Consul-Index")); err != nil || n < 1 {
			t.Errorf("%s: index is %q", tt.path, h.Get("X-Consul-Index"))
		}
		if cached := strings.Contains(tt.path, "cached"); cached != (h.Get("X-Cache") != "") {
			t.Errorf("%s: X-Cache is %q", tt.path, h.Get("X-Cache"))
		}
	}
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "head-node"})
}

func testErrors(t *testing.T, s *suite) {
	const (
		reg    = "PUT /v1/agent/service/register"
		catReg = "PUT /v1/catalog/register"
	)
	for _, tt := range []struct {
		call, body string
		status     int
		text       string
	}{
		{reg, `{}`, 400, "Missing service name"},
		{reg, ``, 400, "Request decode failed: EOF"},
		{reg, `{"Name": `, 400, "Request decode failed: unexpected EOF"},
		{reg, `{"Name": "x", "Foo": 1}`, 400, `Request decode failed: json: unknown field "Foo"`},
		{reg, `{"Name": "x", "Namespace": "n"}`, 400, `Request decode failed: json: unknown field "Namespace"`},
		{reg, `{"Name": "x", "Check": {"TTL": "1s", "ID": "n"}}`, 400, `Request decode failed: json: unknown field "ID"`},
		{reg, `{"Name": "x", "Check": {"TTL": "5x"}}`, 400, `Request decode failed: time: unknown unit "x" in duration "5x"`},
		{reg, `{"Name": 1}`, 400, "Request decode failed: json: cannot unmarshal number into Go struct field "},
		{reg, `{"Name": "x", "Address": "0.0.0.0"}`, 400, "Invalid service address"},
		{reg, `{"Name": "x", "Weights": {"Passing": 0}}`, 400, "Invalid Weights: Passing must be greater than 0"},
		{
			reg, `{"Name": "x", "Meta": {"a b": "c"}}`, 400,
			"Invalid Service Meta: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
		},
		{reg, `{"Name": "x", "Check": {"HTTP": "http://127.0.0.1:1"}}`, 400, "Invalid check: Interval must be > 0"},
		{reg, `{"Name": "x", "Check": {"Name": "c"}}`, 400, "Invalid check: TTL must be > 0 for TTL checks"},
		{
			reg, `{"Name": "x", "Check": {"TTL": "1s", "Interval": "1s"}}`, 400,
			"Invalid check: Interval and TTL cannot both be specified",
		},
		{reg, `{"Name": "x", "Check": {"TTL": "1s", "Status": "bad"}}`, 400, "Status for checks must 'passing', 'warning', 'critical'"},
		{reg, `{"Name": "x", "Check": {"ScriptArgs": ["true"], "Interval": "1s"}}`, 500, "Scripts are disabled on this agent"},
		{"GET /v1/agent/service/register", ``, 405, "method GET not allowed"},
		{"PUT /v1/agent/service/deregister/nix", ``, 404, `Unknown service ID "nix". Ensure that the service ID is passed`},
		{"PUT /v1/agent/service/deregister/", ``, 404, `Unknown service ID ""`},
		{"PUT /v1/agent/service/maintenance/", ``, 400, "Missing service ID"},
		{"PUT /v1/agent/service/maintenance/nix", ``, 400, "Missing value for enable"},
		{"PUT /v1/agent/service/maintenance/nix?enable=x", ``, 400, `Invalid value for enable: "x"`},
		{"PUT /v1/agent/service/maintenance/nix?enable=true", ``, 404, `Unknown service ID "nix"`},
		{"PUT /v1/agent/check/pass/nix", ``, 404, `Unknown check ID "nix". Ensure that the check ID is passed`},
		{"PUT /v1/agent/check/update/nix", `{"Status": "bad"}`, 400, "Invalid check status: 'bad'"},
		{catReg, `{}`, 500, "Must provide node"},
		{catReg, `{"Node": "n"}`, 500, "Must provide address if SkipNodeUpdate is not set"},
		{catReg, `{"Node": "n", "Address": "127.0.0.1", "X": 1}`, 400, `Request decode failed: json: unknown field "X"`},
		{catReg, `{"Node": "n", "Address": "127.0.0.1", "ID": "x"}`, 500, "Bad node ID"},
		{catReg, `{"Node": "n", "Address": "127.0.0.1", "Service": {}}`, 500, "service name (Service.Service) is required"},
		{catReg, `{"Node": "n", "Address": "127.0.0.1", "Service": {"ID": "x"}}`, 500, "Must provide service name"},
		{catReg, `{"Node": "n", "Address": "127.0.0.1", "Datacenter": "x"}`, 500, "No path to datacenter"},
		{
			catReg, `{"Node": "n", "Address": "127.0.0.1", "Check": {"Name": "c", "ServiceID": "z"}}`, 500,
			"Unknown service ID 'z' for check ID 'c'",
		},
		{
			catReg, `{"Node": "n", "Address": "127.0.0.1", "Check": {"Name": "c", "Node": "m"}}`, 500,
			"Node 'm' for check 'c' doesn't match register request node 'n'",
		},
		{"PUT /v1/catalog/deregister", `{}`, 500, "Must provide node"},
		{"GET /v1/health/service/", ``, 400, "Missing service name"},
		{"GET /v1/health/state/", ``, 400, "Missing check state"},
		{"GET /v1/health/node/", ``, 400, "Missing node name"},
		{"GET /v1/catalog/service/", ``, 400, "Missing service name"},
		{"GET /v1/health/service/x?wait=1", ``, 400, "Invalid wait time"},
		{"GET /v1/health/service/x?index=-1", ``, 400, "Invalid index"},
		{"GET /v1/health/service/x?passing=maybe", ``, 400, "Invalid value for ?passing"},
		{"GET /v1/health/service/x?stale&consistent", ``, 400, "Cannot specify ?stale with ?consistent"},
		{"GET /v1/health/service/x?cached&consistent", ``, 400, "Cannot specify ?cached with ?consistent"},
		{"GET /v1/health/service/x?dc=other", ``, 500, "No path to datacenter"},
		{"GET /v1/health/service/x?ns=n", ``, 400, `Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature`},
		{"POST /v1/catalog/services", ``, 405, "method POST not allowed"},
		{"GET /v1/acl/token/self", ``, 401, "ACL support disabled"},
		{"GET /v1/nix", ``, 404, "Invalid URL path: not a recognized HTTP API endpoint"},
		{"GET /nix", ``, 404, "Invalid URL path: if attempting to use the HTTP API"},
	} {
		method, path, _ := strings.Cut(tt.call, " ")
		resp, body := s.do(t, method, path, tt.body)
		if resp.StatusCode != tt.status || !strings.HasPrefix(body, tt.text) {
			t.Errorf("%s %s:\ngot  %d %s\nwant %d %s", tt.call, tt.body, resp.StatusCode, body, tt.status, tt.text)
		}
		if tt.status == 405 && !strings.HasPrefix(resp.Header.Get("Allow"), "OPTIONS,") {
			t.Errorf("%s: Allow is %q", tt.call, resp.Header.Get("Allow"))
		}
	}
	// None of these has left a trace.
	nodes, _, err := s.Catalog().Nodes(nil)
	must(t, err)
	if slices.ContainsFunc(nodes, func(n *api.Node) bool { return n.Node == "n" }) {
		t.Error("a refused registration has left a node")
	}
}
