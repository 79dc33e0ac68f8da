package consultest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/registry/consul/consultest"
)

// limit is how long a test waits for what must happen.
const limit = 20 * time.Second

func TestDouble(t *testing.T) {
	_, addr := start(t, consultest.Options{})
	testRegistry(t, addr)
}

func TestRealConsul(t *testing.T) {
	testRegistry(t, consultestserver.Start(t).Addr)
}

// testRegistry holds a registry to what a Consul 1.22 does. It is run on the double and on the real one, so
// what passes here is true of both. Each subtest has services and nodes of its own, named after it.
func testRegistry(t *testing.T, addr string) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"itself", testItself},
		{"agent registration", testAgentRegistration},
		{"defaults", testDefaults},
		{"keys", testKeys},
		{"TTL checks", testTTL},
		{"probes", testProbes},
		{"maintenance", testMaintenance},
		{"catalog", testCatalog},
		{"tags and passing", testTagsAndPassing},
		{"check lists", testCheckLists},
		{"what a node has", testNodeServices},
		{"what changes which index", testIndexes},
		{"waking", testWaking},
		{"waiting", testWaiting},
		{"headers", testHeaders},
		{"errors", testErrors},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newSuite(t, addr)) })
	}
}

type suite struct {
	*api.Client
	base string
	http *http.Client
	node string // the agent's
}

func newSuite(t *testing.T, addr string) *suite {
	t.Helper()
	s := &suite{base: "http://" + addr, http: newHTTP(t)}
	var err error
	s.Client, err = api.NewClient(&api.Config{Address: addr, Scheme: "http", HttpClient: s.http})
	must(t, err)
	s.node, err = s.Agent().NodeName()
	must(t, err)
	return s
}

func newHTTP(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition, for what an agent tells its servers a moment later.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !cond(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// do sends a request without the official client and returns the answer with its body read.
func (s *suite) do(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	must(t, err)
	resp, err := s.http.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(text)
}

func (s *suite) register(t *testing.T, reg api.AgentServiceRegistration) {
	t.Helper()
	must(t, s.Agent().ServiceRegister(&reg))
}

// health reads a service's instances, by ID.
func (s *suite) health(t *testing.T, service string) map[string]*api.ServiceEntry {
	t.Helper()
	entries, _, err := s.Health().Service(service, "", false, nil)
	must(t, err)
	out := make(map[string]*api.ServiceEntry)
	for _, e := range entries {
		out[e.Service.ID] = e
	}
	return out
}

// status is the worst of an instance's checks, "" where it is not there.
func (s *suite) status(t *testing.T, service, id string) string {
	t.Helper()
	e := s.health(t, service)[id]
	if e == nil {
		return ""
	}
	return e.Checks.AggregatedStatus()
}

func testItself(t *testing.T, s *suite) {
	services, _, err := s.Catalog().Services(nil)
	must(t, err)
	if tags, ok := services["consul"]; !ok || len(tags) != 0 {
		t.Errorf("services have consul with tags %v, %v", tags, ok)
	}
	dcs, err := s.Catalog().Datacenters()
	must(t, err)
	equal(t, "datacenters", dcs, []string{"dc1"})
	leader, err := s.Status().Leader()
	must(t, err)
	peers, err := s.Status().Peers()
	must(t, err)
	equal(t, "peers", peers, []string{leader})
	nodes, _, err := s.Catalog().Nodes(nil)
	must(t, err)
	if len(nodes) == 0 || !slices.ContainsFunc(nodes, func(n *api.Node) bool { return n.Node == s.node }) {
		t.Errorf("nodes are without %s: %v", s.node, nodes)
	}
	self, err := s.Agent().Self()
	must(t, err)
	if got := self["DebugConfig"]["HTTPMaxConnsPerClient"]; got != float64(200) {
		t.Errorf("HTTPMaxConnsPerClient is %v", got)
	}
	if got := self["Config"]["Datacenter"]; got != "dc1" {
		t.Errorf("Config.Datacenter is %v", got)
	}
	local, err := s.Agent().Services()
	must(t, err)
	if _, ok := local["consul"]; ok {
		t.Error("the agent lists consul as a service of its own")
	}
	e := s.health(t, "consul")["consul"]
	equal(t, "consul is", e.Checks.AggregatedStatus(), "passing")
	equal(t, "its check", e.Checks[0].CheckID, "serfHealth")
}

func testAgentRegistration(t *testing.T, s *suite) {
	s.register(t, api.AgentServiceRegistration{
		ID: "reg-1", Name: "reg", Tags: []string{"a", "gray=b"}, Address: "127.0.0.7", Port: 8080,
		Meta: map[string]string{"nginx-weight": "3"}, Weights: &api.AgentWeights{Passing: 5, Warning: 2},
		EnableTagOverride: true,
		Check:             &api.AgentServiceCheck{TTL: "1h", Status: "passing", Notes: "note", DeregisterCriticalServiceAfter: "1h"},
	})
	e := s.health(t, "reg")["reg-1"]
	svc := *e.Service
	svc.CreateIndex, svc.ModifyIndex, svc.Proxy, svc.Connect = 0, 0, nil, nil
	addr := api.ServiceAddress{Address: "127.0.0.7", Port: 8080}
	equal(t, "service", svc, api.AgentService{
		ID: "reg-1", Service: "reg", Tags: []string{"a", "gray=b"}, Address: "127.0.0.7", Port: 8080,
		TaggedAddresses: map[string]api.ServiceAddress{"lan_ipv4": addr, "wan_ipv4": addr},
		Meta:            map[string]string{"nginx-weight": "3"}, Weights: api.AgentWeights{Passing: 5, Warning: 2},
		EnableTagOverride: true,
	})
	equal(t, "node", e.Node.Node, s.node)
	var ids []string
	for _, c := range e.Checks {
		ids = append(ids, c.CheckID)
	}
	equal(t, "checks, the node's first", ids, []string{"serfHealth", "service:reg-1"})
	check := *e.Checks[1]
	check.CreateIndex, check.ModifyIndex = 0, 0
	equal(t, "check", check, api.HealthCheck{
		Node: s.node, CheckID: "service:reg-1", Name: "Service 'reg' check", Status: "passing", Notes: "note",
		ServiceID: "reg-1", ServiceName: "reg", ServiceTags: []string{"a", "gray=b"}, Type: "ttl",
	})

	local, err := s.Agent().Services()
	must(t, err)
	equal(t, "agent's service", *local["reg-1"], api.AgentService{
		ID: "reg-1", Service: "reg", Tags: []string{"a", "gray=b"}, Address: "127.0.0.7", Port: 8080,
		TaggedAddresses: map[string]api.ServiceAddress{"lan_ipv4": addr, "wan_ipv4": addr},
		Meta:            map[string]string{"nginx-weight": "3"}, Weights: api.AgentWeights{Passing: 5, Warning: 2},
		EnableTagOverride: true, Datacenter: "dc1",
	})
	checks, err := s.Agent().Checks()
	must(t, err)
	if c := checks["service:reg-1"]; c == nil || c.Status != "passing" || c.ServiceName != "reg" {
		t.Errorf("agent's check is %+v", c)
	}

	// Registered again it keeps the state of its check, whatever the registration says.
	must(t, s.Agent().UpdateTTL("service:reg-1", "so so", "warning"))
	s.register(t, api.AgentServiceRegistration{
		ID: "reg-1", Name: "reg", Check: &api.AgentServiceCheck{TTL: "1h", Status: "passing"},
	})
	e = s.health(t, "reg")["reg-1"]
	equal(t, "status after a second registration", e.Checks.AggregatedStatus(), "warning")
	equal(t, "address after a second registration", e.Service.Address, "")

	// A check that is left out stays, unless asked to go.
	s.register(t, api.AgentServiceRegistration{ID: "reg-1", Name: "reg"})
	equal(t, "status without its check", s.status(t, "reg", "reg-1"), "warning")
	must(t, s.Agent().ServiceRegisterOpts(&api.AgentServiceRegistration{ID: "reg-1", Name: "reg"},
		api.ServiceRegisterOpts{ReplaceExistingChecks: true}))
	eventually(t, "the check goes", func() bool { return s.status(t, "reg", "reg-1") == "passing" })

	must(t, s.Agent().ServiceDeregister("reg-1"))
	eventually(t, "the instance goes", func() bool { return len(s.health(t, "reg")) == 0 })
	services, _, err := s.Catalog().Services(nil)
	must(t, err)
	if _, ok := services["reg"]; ok {
		t.Error("the service is still listed")
	}
}

func testDefaults(t *testing.T, s *suite) {
	resp, body := s.do(t, "PUT", "/v1/agent/service/register",
		`{"name": "def", "tags": null, "checks": [{"ttl": "1h"}, {"TTL": 3600000000000}], "enable_tag_override": true}`)
	equal(t, "answer", fmt.Sprint(resp.StatusCode, " ", body), "200 ")
	e := s.health(t, "def")["def"]
	if e == nil {
		t.Fatal("the name is not the ID")
	}
	if e.Service.Tags == nil || len(e.Service.Tags) != 0 {
		t.Errorf("tags are %#v", e.Service.Tags)
	}
	equal(t, "weights", e.Service.Weights, api.AgentWeights{Passing: 1, Warning: 1})
	equal(t, "tag override", e.Service.EnableTagOverride, true)
	equal(t, "status", e.Checks.AggregatedStatus(), "critical")
	var ids []string
	for _, c := range e.Checks[1:] {
		ids = append(ids, c.CheckID)
	}
	equal(t, "check IDs", ids, []string{"service:def:1", "service:def:2"})
	services, _, err := s.Catalog().Services(nil)
	must(t, err)
	if services["def"] == nil {
		t.Error("a service with null tags is listed with null")
	}
	must(t, s.Agent().ServiceDeregister("def"))
}

// testKeys compares the JSON itself, for the client's types hide what is left out.
func testKeys(t *testing.T, s *suite) {
	s.register(t, api.AgentServiceRegistration{
		Name: "keys", Port: 80, Address: "::1", Check: &api.AgentServiceCheck{TTL: "1h"},
	})
	node := "Address CreateIndex Datacenter ID Meta ModifyIndex Node TaggedAddresses"
	check := "CheckID CreateIndex Definition ExposedPort Interval ModifyIndex Name Node Notes Output " +
		"ServiceID ServiceName ServiceTags Status Timeout Type"
	for _, tt := range []struct{ path, at, keys string }{
		{"/v1/catalog/nodes", "0", node},
		{"/v1/health/service/keys", "0", "Checks Node Service"},
		{"/v1/health/service/keys", "0.Node", node},
		{"/v1/health/service/keys", "0.Checks.1", check},
		{"/v1/health/service/keys", "0.Service", "Address Connect CreateIndex EnableTagOverride ID Meta ModifyIndex " +
			"PeerName Port Proxy Service TaggedAddresses Tags Weights"},
		{"/v1/health/service/keys", "0.Service.Proxy", "Expose MeshGateway Mode"},
		{"/v1/health/service/keys", "0.Service.TaggedAddresses", "lan_ipv6 wan_ipv6"},
		{"/v1/health/checks/keys", "0", check},
		{"/v1/health/state/critical", "0", check},
		{"/v1/agent/checks", "service:keys", check},
		{"/v1/agent/services", "keys", "Address Datacenter EnableTagOverride ID Meta Port Service TaggedAddresses Tags Weights"},
		{"/v1/catalog/service/keys", "0", "Address CreateIndex Datacenter ID ModifyIndex Node NodeMeta ServiceAddress " +
			"ServiceConnect ServiceEnableTagOverride ServiceID ServiceKind ServiceLocality ServiceMeta ServiceName " +
			"ServicePort ServicePorts ServiceProxy ServiceSocketPath ServiceTaggedAddresses ServiceTags ServiceWeights " +
			"TaggedAddresses"},
	} {
		resp, body := s.do(t, "GET", tt.path, "")
		equal(t, tt.path+" content type", resp.Header.Get("Content-Type"), "application/json")
		var v any
		must(t, json.Unmarshal([]byte(body), &v))
		for _, step := range strings.Split(tt.at, ".") {
			if list, ok := v.([]any); ok {
				i, err := strconv.Atoi(step)
				must(t, err)
				v = list[i]
			} else {
				v = v.(map[string]any)[step]
			}
		}
		keys := slices.Sorted(maps.Keys(v.(map[string]any)))
		equal(t, "keys of "+tt.path+" at "+tt.at, strings.Join(keys, " "), tt.keys)
	}
	must(t, s.Agent().ServiceDeregister("keys"))
}

func testTTL(t *testing.T, s *suite) {
	s.register(t, api.AgentServiceRegistration{
		Name: "ttl", Check: &api.AgentServiceCheck{CheckID: "ttl-check", Name: "alive", TTL: "1h"},
	})
	equal(t, "before any report", s.status(t, "ttl", "ttl"), "critical")
	for _, status := range []string{"passing", "warning", "critical", "passing"} {
		must(t, s.Agent().UpdateTTL("ttl-check", "it is "+status, status))
		eventually(t, "it is "+status, func() bool { return s.status(t, "ttl", "ttl") == status })
	}
	for _, tt := range []struct{ verb, status string }{{"warn", "warning"}, {"fail", "critical"}, {"pass", "passing"}} {
		resp, body := s.do(t, "PUT", "/v1/agent/check/"+tt.verb+"/ttl-check?note=by+hand", "")
		equal(t, tt.verb, fmt.Sprint(resp.StatusCode, body), "200")
		e := s.health(t, "ttl")["ttl"]
		equal(t, tt.verb, e.Checks.AggregatedStatus(), tt.status)
		equal(t, tt.verb+" output", e.Checks[1].Output, "by hand")
	}
	// A check whose time is over.
	s.register(t, api.AgentServiceRegistration{
		Name: "ttl", Check: &api.AgentServiceCheck{CheckID: "ttl-check", Name: "alive", TTL: "50ms"},
	})
	must(t, s.Agent().UpdateTTL("ttl-check", "last words", "passing"))
	eventually(t, "it expires", func() bool { return s.status(t, "ttl", "ttl") == "critical" })
	equal(t, "output", s.health(t, "ttl")["ttl"].Checks[1].Output,
		"TTL expired (last output before timeout follows): last words")
	must(t, s.Agent().ServiceDeregister("ttl"))
}

func testProbes(t *testing.T, s *suite) {
	answer := make(chan int, 1)
	answer <- http.StatusOK
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := <-answer
		answer <- status
		w.WriteHeader(status)
		fmt.Fprint(w, r.Method, r.UserAgent())
	}))
	defer backend.Close()
	s.register(t, api.AgentServiceRegistration{Name: "probed", Checks: api.AgentServiceChecks{
		{CheckID: "probed-http", HTTP: backend.URL + "/up", Interval: "1s", Timeout: "5s"},
		{CheckID: "probed-tcp", TCP: backend.Listener.Addr().String(), Interval: "1s"},
	}})
	check := func(id string) *api.HealthCheck {
		for _, c := range s.health(t, "probed")["probed"].Checks {
			if c.CheckID == id {
				return c
			}
		}
		t.Fatalf("no check %s", id)
		return nil
	}
	eventually(t, "both pass", func() bool { return s.status(t, "probed", "probed") == "passing" })
	equal(t, "HTTP output", check("probed-http").Output,
		"HTTP GET "+backend.URL+"/up: 200 OK Output: GETConsul Health Check")
	equal(t, "HTTP type", check("probed-http").Type, "http")
	equal(t, "TCP output", check("probed-tcp").Output, "TCP connect "+backend.Listener.Addr().String()+": Success")
	equal(t, "TCP type", check("probed-tcp").Type, "tcp")
	<-answer
	answer <- http.StatusTooManyRequests
	eventually(t, "429 is a warning", func() bool { return check("probed-http").Status == "warning" })
	<-answer
	answer <- http.StatusServiceUnavailable
	eventually(t, "503 is critical", func() bool { return check("probed-http").Status == "critical" })
	backend.Close()
	eventually(t, "a refused connection is critical", func() bool { return check("probed-tcp").Status == "critical" })
	must(t, s.Agent().ServiceDeregister("probed"))
}

func testMaintenance(t *testing.T, s *suite) {
	s.register(t, api.AgentServiceRegistration{ID: "m1", Name: "maint"})
	equal(t, "before", s.status(t, "maint", "m1"), "passing")
	for range 2 { // twice is as good as once
		must(t, s.Agent().EnableServiceMaintenance("m1", "new disk"))
		e := s.health(t, "maint")["m1"]
		equal(t, "in maintenance", e.Checks.AggregatedStatus(), "maintenance")
		c := e.Checks[len(e.Checks)-1]
		equal(t, "check", []string{c.CheckID, c.Name, c.Status, c.Notes, c.Type},
			[]string{"_service_maintenance:m1", "Service Maintenance Mode", "critical", "new disk", "maintenance"})
	}
	for range 2 {
		must(t, s.Agent().DisableServiceMaintenance("m1"))
		equal(t, "after", s.status(t, "maint", "m1"), "passing")
	}
	must(t, s.Agent().ServiceDeregister("m1"))
}

// catalogReg is a registration of instance id of a service on a node of its own with one check.
func catalogReg(service, node, id, status string) *api.CatalogRegistration {
	return &api.CatalogRegistration{
		Node: node, Address: "127.0.0.9", SkipNodeUpdate: true,
		Service: &api.AgentService{ID: id, Service: service, Port: 80},
		Check: &api.AgentCheck{
			Node: node, CheckID: "check-" + id, Name: "check of " + id, ServiceID: id, Status: status,
		},
	}
}

func (s *suite) catalogRegister(t *testing.T, reg *api.CatalogRegistration) {
	t.Helper()
	_, err := s.Catalog().Register(reg, nil)
	must(t, err)
}

func (s *suite) catalogDeregister(t *testing.T, d *api.CatalogDeregistration) {
	t.Helper()
	_, err := s.Catalog().Deregister(d, nil)
	must(t, err)
}

func testCatalog(t *testing.T, s *suite) {
	// The same service ID on two nodes is two instances. Node names ignore case.
	s.catalogRegister(t, catalogReg("cat", "cat-b", "same", "passing"))
	s.catalogRegister(t, catalogReg("cat", "cat-a", "same", "critical"))
	s.catalogRegister(t, &api.CatalogRegistration{
		Node: "CAT-B", Address: "127.0.0.9", SkipNodeUpdate: true,
		Check: &api.AgentCheck{CheckID: "disk", Name: "disk", Status: "warning"},
	})
	entries, _, err := s.Health().Service("cat", "", false, nil)
	must(t, err)
	var got []string
	for _, e := range entries {
		row := e.Node.Node + " " + e.Node.Address + " " + e.Service.ID
		for _, c := range e.Checks {
			row += " " + c.CheckID + "=" + c.Status
		}
		got = append(got, row)
	}
	equal(t, "health", got, []string{
		"cat-a 127.0.0.9 same check-same=critical",
		"cat-b 127.0.0.9 same disk=warning check-same=passing",
	})
	list, _, err := s.Catalog().Service("cat", "", nil)
	must(t, err)
	got = nil
	for _, e := range list {
		got = append(got, fmt.Sprint(e.Node, " ", e.Address, " ", e.ServiceID, " ", e.ServicePort, " ", e.ServiceWeights.Passing))
	}
	equal(t, "catalog", got, []string{"cat-a 127.0.0.9 same 80 1", "cat-b 127.0.0.9 same 80 1"})

	// A node's address is that of an instance without its own.
	s.catalogRegister(t, &api.CatalogRegistration{Node: "cat-a", Address: "127.0.0.10"})
	entries, _, err = s.Health().Service("cat", "", false, nil)
	must(t, err)
	equal(t, "new address of a node", entries[0].Node.Address, "127.0.0.10")

	local, err := s.Agent().Services()
	must(t, err)
	if _, ok := local["same"]; ok {
		t.Error("the agent lists what is on other nodes")
	}

	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "cat-b", CheckID: "disk"})
	checks, _, err := s.Health().Node("cat-b", nil)
	must(t, err)
	equal(t, "checks left on the node", len(checks), 1)
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "cat-b", ServiceID: "same"})
	checks, _, err = s.Health().Node("cat-b", nil)
	must(t, err)
	equal(t, "checks left after the service", len(checks), 0)
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "cat-a"})
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "cat-b"})
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "never-was"})
	equal(t, "instances left", len(s.health(t, "cat")), 0)
	nodes, _, err := s.Catalog().Nodes(nil)
	must(t, err)
	if slices.ContainsFunc(nodes, func(n *api.Node) bool { return strings.HasPrefix(n.Node, "cat-") }) {
		t.Error("a deregistered node is still there")
	}
}

func testTagsAndPassing(t *testing.T, s *suite) {
	for id, status := range map[string]string{"1": "critical", "2": "warning", "3": "passing", "4": "passing"} {
		reg := catalogReg("tagged", "tag-node", id, status)
		if id != "3" {
			reg.Service.Tags = []string{"Blue", "v" + id}
		}
		s.catalogRegister(t, reg)
	}
	for _, tt := range []struct {
		name    string
		tags    []string
		passing bool
		want    string
	}{
		{name: "all", want: "1 2 3 4"},
		{name: "one tag, whatever its case", tags: []string{"blue"}, want: "1 2 4"},
		{name: "two tags", tags: []string{"blue", "v4"}, want: "4"},
		{name: "no such tag", tags: []string{"red"}},
		{name: "passing, in the order that swapping leaves", passing: true, want: "4 3"},
		{name: "passing with a tag", passing: true, tags: []string{"blue"}, want: "4"},
	} {
		entries, _, err := s.Health().ServiceMultipleTags("tagged", tt.tags, tt.passing, nil)
		must(t, err)
		var got []string
		for _, e := range entries {
			got = append(got, e.Service.ID)
		}
		equal(t, tt.name, strings.Join(got, " "), tt.want)
		if tt.passing {
			continue
		}
		list, _, err := s.Catalog().ServiceMultipleTags("tagged", tt.tags, nil)
		must(t, err)
		got = nil
		for _, e := range list {
			got = append(got, e.ServiceID)
		}
		equal(t, tt.name+" in the catalog", strings.Join(got, " "), tt.want)
	}
	services, _, err := s.Catalog().Services(nil)
	must(t, err)
	tags := services["tagged"]
	slices.Sort(tags)
	equal(t, "tags of the service", tags, []string{"Blue", "v1", "v2", "v4"})
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "tag-node"})
}

func testCheckLists(t *testing.T, s *suite) {
	for id, status := range map[string]string{"s1": "critical", "s2": "warning", "s3": "passing"} {
		s.catalogRegister(t, catalogReg("stated", "state-node", id, status))
	}
	for _, tt := range []struct{ path, want string }{
		{"/v1/health/state/any", "check-s1 check-s2 check-s3"},
		{"/v1/health/state/warning", "check-s2"},
		{"/v1/health/state/any?filter=Status!=passing", "check-s1 check-s2"},
		{`/v1/health/state/any?filter=Status+!%3D+"passing"`, "check-s1 check-s2"},
		{`/v1/health/state/any?filter=Status+==+"critical"`, "check-s1"},
		{"/v1/health/checks/stated", "check-s1 check-s2 check-s3"},
		{"/v1/health/checks/stated?filter=Status!=passing", "check-s1 check-s2"},
		{"/v1/health/node/state-node", "check-s1 check-s2 check-s3"},
		{"/v1/health/node/no-such-node", ""},
	} {
		_, body := s.do(t, "GET", strings.ReplaceAll(tt.path, `"`, "%22"), "")
		var checks []api.HealthCheck
		if err := json.Unmarshal([]byte(body), &checks); err != nil || checks == nil {
			t.Fatalf("%s: %v: %s", tt.path, err, body)
		}
		var got []string
		for _, c := range checks {
			if c.Node == "state-node" {
				got = append(got, c.CheckID)
			}
		}
		equal(t, tt.path, strings.Join(got, " "), tt.want)
	}
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "state-node"})
}

// start serves a double until the test ends.
func start(t *testing.T, opts consultest.Options) (*consultest.Server, string) {
	t.Helper()
	s := consultest.New(opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	web := &http.Server{Handler: s, ReadHeaderTimeout: limit}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(s.Listener(l))
	}()
	t.Cleanup(func() {
		s.Close()
		_ = web.Close()
		<-done
	})
	return s, l.Addr().String()
}
