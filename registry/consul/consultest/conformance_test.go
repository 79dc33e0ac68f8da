package consultest_test

import (
	"context"
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
	"sync"
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

// reader is a blocking read in short.
type reader struct {
	name string
	read func(*api.QueryOptions) (*api.QueryMeta, error)
}

func (s *suite) readers(service string) []reader {
	return []reader{
		{"services", func(o *api.QueryOptions) (*api.QueryMeta, error) {
			_, m, err := s.Catalog().Services(o)
			return m, err
		}},
		{"health", func(o *api.QueryOptions) (*api.QueryMeta, error) {
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
		{"check flips", reg(func(r *api.CatalogRegistration) { r.Check.Status = "critical" }), "health state filtered"},
		{"check flips back", reg(plain), "health state filtered"},
		{"output alone", reg(func(r *api.CatalogRegistration) { r.Check.Output = "new" }), "health state filtered"},
		{"tag is set", reg(func(r *api.CatalogRegistration) {
			r.Service.Tags = []string{"new"}
			r.Check = nil
		}), "services health"},
		{"another instance without a check", func() {
			r := catalogReg(service, service+"-node", "2", "")
			r.Check = nil
			s.catalogRegister(t, r)
		}, "services health"},
		{"another instance with a check", func() {
			s.catalogRegister(t, catalogReg(service, service+"-node", "3", "passing"))
		}, "services health state filtered"},
		{"a check of the node", func() {
			s.catalogRegister(t, &api.CatalogRegistration{
				Node: service + "-node", SkipNodeUpdate: true,
				Check: &api.AgentCheck{CheckID: "disk", Name: "disk", Status: "passing"},
			})
		}, "health state filtered"},
		{"the node's address", func() {
			s.catalogRegister(t, &api.CatalogRegistration{Node: service + "-node", Address: "127.0.0.11"})
		}, "health"},
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
		}, "services health state filtered"},
		{"nothing is deregistered", func() {
			s.catalogDeregister(t, &api.CatalogDeregistration{Node: service + "-node", ServiceID: "3"})
		}, ""},
		{"all is gone", func() {
			s.catalogDeregister(t, &api.CatalogDeregistration{Node: service + "-node"})
		}, "services health state filtered"},
	}
}

// testIndexes asks, after each event, whether there is something beyond the index from before.
func testIndexes(t *testing.T, s *suite) {
	s.catalogRegister(t, catalogReg("idx", "idx-node", "1", "passing"))
	readers := s.readers("idx")
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
		results := make(chan result, 4)
		want := strings.Fields(e.changes)
		for _, r := range s.readers("wake") {
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
	for _, r := range s.readers("waits") {
		m, err := r.read(&api.QueryOptions{})
		must(t, err)
		begin := time.Now()
		got, err := r.read(&api.QueryOptions{WaitIndex: m.LastIndex, WaitTime: wait})
		must(t, err)
		if took := time.Since(begin); took < wait || took > wait+wait/16+5*time.Second {
			t.Errorf("%s waited %v of %v", r.name, took, wait)
		}
		equal(t, r.name+" index after waiting for nothing", got.LastIndex, m.LastIndex)
	}
	// An index from the past is answered at once.
	for _, r := range s.readers("waits") {
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
