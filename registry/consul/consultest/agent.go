package consultest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// version is the Consul whose behaviour this is.
const version = "1.22.0"

// nodeID is the ID of the agent's own node. A real one is random; this registry has nobody to be confused with.
const nodeID = "5a1a0d0e-0000-4000-8000-000000000001"

// registerSelf puts in what a Consul server always has: its node, alive, with the service "consul".
func (s *Server) registerSelf() {
	s.mu.Lock()
	defer s.mu.Unlock()
	idx := s.st.begin()
	addr := s.opts.NodeAddress
	n := s.st.putNode(idx, wireNode{
		ID: nodeID, Node: s.opts.NodeName, Address: addr, Datacenter: s.opts.Datacenter,
		TaggedAddresses: map[string]string{"lan": addr, "lan_ipv4": addr, "wan": addr, "wan_ipv4": addr},
		Meta:            map[string]string{"consul-network-segment": "", "consul-version": version},
	})
	s.st.putInstance(idx, n, wireService{
		ID: "consul", Service: "consul", Tags: []string{}, Port: 8300,
		Weights: api.AgentWeights{Passing: 1, Warning: 1}, Meta: map[string]string{"version": version},
	})
	s.st.putCheck(idx, n, nil, wireCheck{
		CheckID: "serfHealth", Name: "Serf Health Status", Status: "passing", Output: "Agent alive and reachable",
	})
}

// self is the agent's own node.
func (s *Server) self() *node { return s.st.node(s.opts.NodeName) }

func (s *Server) agentSelf(_ http.ResponseWriter, r *http.Request) (any, error) {
	o := s.opts
	return map[string]any{
		"Config": map[string]any{
			"Datacenter": o.Datacenter, "PrimaryDatacenter": o.Datacenter, "NodeName": o.NodeName, "NodeID": nodeID,
			"Revision": "", "Server": true, "Version": version, "BuildDate": "1970-01-01T00:00:01Z",
			"BindAddr": o.NodeAddress,
		},
		"DebugConfig": map[string]any{
			"HTTPMaxConnsPerClient": s.maxConns(), "Datacenter": o.Datacenter, "NodeName": o.NodeName,
		},
		"Coord": nil,
		"Member": map[string]any{
			"Name": o.NodeName, "Addr": o.NodeAddress, "Port": 8301, "Status": 1, "Tags": map[string]string{},
		},
		"Stats": map[string]map[string]string{},
		"Meta":  map[string]string{},
	}, nil
}

func (s *Server) agentServices(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := refuseParams(r.URL.Query(), "filter"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]api.AgentService{}
	if n := s.self(); n != nil {
		for id, i := range n.instances {
			if i.local {
				out[id] = s.agentService(i.rec)
			}
		}
	}
	return out, nil
}

func (s *Server) agentService(rec *wireService) api.AgentService {
	a := api.AgentService{
		ID: rec.ID, Service: rec.Service, Tags: rec.Tags, Meta: rec.Meta, Port: rec.Port, Address: rec.Address,
		SocketPath: rec.SocketPath, TaggedAddresses: rec.TaggedAddresses, Weights: rec.Weights,
		EnableTagOverride: rec.EnableTagOverride, Datacenter: s.opts.Datacenter, Locality: rec.Locality,
	}
	if a.Meta == nil {
		a.Meta = map[string]string{}
	}
	return a
}

func (s *Server) agentChecks(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := refuseParams(r.URL.Query(), "filter"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]*wireCheck{}
	if n := s.self(); n != nil {
		for _, i := range n.instances {
			if !i.local {
				continue
			}
			for id, c := range i.checks {
				own := *c
				own.CreateIndex, own.ModifyIndex = 0, 0 // an agent does not know the catalog's indexes
				out[id] = &own
			}
		}
	}
	return out, nil
}

// agentRegistration is the body of /v1/agent/service/register. Both spellings of a key are taken where Consul
// takes both; what is not named here is refused.
type agentRegistration struct {
	Kind                   string
	ID                     string
	Name                   string
	Tags                   []string
	Address                string
	TaggedAddresses        map[string]api.ServiceAddress
	TaggedAddressesSnake   map[string]api.ServiceAddress `json:"tagged_addresses"`
	Meta                   map[string]string
	Port                   int
	Ports                  api.ServicePorts
	SocketPath             string
	Check                  *checkType
	Checks                 []*checkType
	Weights                *api.AgentWeights
	Token                  string
	EnableTagOverride      bool
	EnableTagOverrideSnake bool `json:"enable_tag_override"`
	Locality               *api.Locality
	Proxy                  json.RawMessage
	Connect                json.RawMessage
}

// unsupported names what a registration asks for and this registry does not have.
func (reg *agentRegistration) unsupported() string {
	set := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	switch {
	case reg.Kind != "":
		return "Kind"
	case len(reg.Ports) > 0:
		return "Ports"
	case set(reg.Proxy):
		return "Proxy"
	case set(reg.Connect):
		return "Connect"
	}
	return ""
}

func (reg *agentRegistration) record() wireService {
	rec := wireService{
		ID: reg.ID, Service: reg.Name, Tags: reg.Tags, Address: reg.Address, Meta: reg.Meta, Port: reg.Port,
		SocketPath: reg.SocketPath, Weights: api.AgentWeights{Passing: 1, Warning: 1},
		EnableTagOverride: reg.EnableTagOverride || reg.EnableTagOverrideSnake, Locality: reg.Locality,
	}
	if rec.ID == "" {
		rec.ID = reg.Name
	}
	if rec.Tags == nil {
		rec.Tags = []string{} // null tags are taken, and answered as none
	}
	if reg.Weights != nil {
		rec.Weights = *reg.Weights
	}
	rec.TaggedAddresses = reg.TaggedAddresses
	if len(rec.TaggedAddresses) == 0 {
		rec.TaggedAddresses = reg.TaggedAddressesSnake
	}
	rec.TaggedAddresses = withDefaultAddresses(rec.TaggedAddresses, reg.Address, reg.Port)
	return rec
}

// withDefaultAddresses adds the tagged addresses that an agent gives to every service whose address is an IP.
func withDefaultAddresses(
	tagged map[string]api.ServiceAddress, addr string, port int,
) map[string]api.ServiceAddress {
	ip := net.ParseIP(addr)
	if ip == nil {
		return tagged
	}
	keys := []string{"lan_ipv4", "wan_ipv4"}
	if ip.To4() == nil {
		keys = []string{"lan_ipv6", "wan_ipv6"}
	}
	out := maps.Clone(tagged)
	if out == nil {
		out = make(map[string]api.ServiceAddress)
	}
	for _, k := range keys {
		if _, ok := out[k]; !ok {
			out[k] = api.ServiceAddress{Address: addr, Port: port}
		}
	}
	return out
}

func (s *Server) agentRegister(_ http.ResponseWriter, r *http.Request) (any, error) {
	var reg agentRegistration
	if err := decode(r.Body, &reg); err != nil {
		return nil, err
	}
	if reg.Name == "" {
		return nil, badRequest("Missing service name")
	}
	if isAnyAddress(reg.Address) {
		return nil, badRequest("Invalid service address")
	}
	if what := reg.unsupported(); what != "" {
		return nil, badRequest("%s is not supported by the dev registry", what)
	}
	if reg.Weights != nil {
		if err := validateWeights(*reg.Weights); err != nil {
			return nil, badRequest("Invalid Weights: %v", err)
		}
	}
	if err := validateMeta(reg.Meta); err != nil {
		return nil, badRequest("Invalid Service Meta: %v", err)
	}
	checks := make([]*checkType, 0, len(reg.Checks)+1)
	for _, c := range append([]*checkType{reg.Check}, reg.Checks...) {
		if c != nil && !c.empty() {
			checks = append(checks, c)
		}
	}
	for _, c := range checks {
		if err := c.validate(); err != nil {
			return nil, err
		}
	}
	q := r.URL.Query()
	const param = "replace-existing-checks"
	replace := q.Has(param) && (q.Get(param) == "" || q.Get(param) == "true")

	s.mu.Lock()
	defer s.mu.Unlock()
	s.addService(reg.record(), checks, replace)
	return nil, nil
}

// addService registers an instance with its checks as one change, so that nobody sees it without them.
func (s *Server) addService(rec wireService, checks []*checkType, replace bool) {
	idx := s.st.begin()
	n := s.self()
	if n == nil { // somebody deregistered the agent's node: it comes back with its next registration
		n = s.st.putNode(idx, wireNode{
			ID: nodeID, Node: s.opts.NodeName, Address: s.opts.NodeAddress, Datacenter: s.opts.Datacenter,
		})
	}
	i := s.st.putInstance(idx, n, rec)
	i.local = true
	kept := make(map[string]bool)
	for k, c := range checks {
		id := c.id(rec.ID, k, len(checks))
		kept[id] = true
		cr := c.record(id, rec.Service)
		// A service that is registered again keeps what is known of its health.
		if old := n.check(id); old != nil {
			cr.Status, cr.Output = old.Status, old.Output
		}
		s.st.putCheck(idx, n, i, cr)
		s.startCheck(id, c)
	}
	if !replace {
		return
	}
	for id := range i.checks {
		if !kept[id] {
			s.stopCheck(id)
			s.st.deleteCheck(idx, n, id)
		}
	}
}

// localService finds a service of the agent, or says what Consul says where there is none.
func (s *Server) localService(id string) (*instance, error) {
	if n := s.self(); n != nil {
		if i := n.instances[id]; i != nil && i.local {
			return i, nil
		}
	}
	return nil, httpError{
		http.StatusNotFound,
		fmt.Sprintf("Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id),
	}
}

func (s *Server) agentDeregister(_ http.ResponseWriter, r *http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.localService(after(r, "/v1/agent/service/deregister/"))
	if err != nil {
		return nil, err
	}
	s.removeService(i)
	return nil, nil
}

func (s *Server) removeService(i *instance) {
	s.stopChecks(i)
	s.st.deleteInstance(s.st.begin(), i)
}

func (s *Server) agentMaintenance(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	id := after(r, "/v1/agent/service/maintenance/")
	if id == "" {
		return nil, badRequest("Missing service ID")
	}
	if !q.Has("enable") {
		return nil, badRequest("Missing value for enable")
	}
	enable, err := strconv.ParseBool(q.Get("enable"))
	if err != nil {
		return nil, badRequest("Invalid value for enable: %q", q.Get("enable"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.localService(id)
	if err != nil {
		return nil, err
	}
	checkID := "_service_maintenance:" + id
	_, enabled := i.checks[checkID]
	switch {
	case enable == enabled:
	case enable:
		notes := q.Get("reason")
		if notes == "" {
			notes = "Maintenance mode is enabled for this service, " +
				"but no reason was provided. This is a default message."
		}
		s.st.putCheck(s.st.begin(), i.node, i, wireCheck{
			CheckID: checkID, Name: "Service Maintenance Mode", Status: "critical", Notes: notes, Type: "maintenance",
		})
	default:
		s.st.deleteCheck(s.st.begin(), i.node, checkID)
	}
	return nil, nil
}

func (s *Server) agentCheckPass(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.updateTTL(after(r, "/v1/agent/check/pass/"), "passing", r.URL.Query().Get("note"))
}

func (s *Server) agentCheckWarn(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.updateTTL(after(r, "/v1/agent/check/warn/"), "warning", r.URL.Query().Get("note"))
}

func (s *Server) agentCheckFail(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.updateTTL(after(r, "/v1/agent/check/fail/"), "critical", r.URL.Query().Get("note"))
}

func (s *Server) agentCheckUpdate(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct{ Status, Output string }
	if err := decode(r.Body, &body); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"passing", "warning", "critical"}, body.Status) {
		return nil, badRequest("Invalid check status: '%s'", body.Status)
	}
	return nil, s.updateTTL(after(r, "/v1/agent/check/update/"), body.Status, body.Output)
}

func (s *Server) updateTTL(id, status, output string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.self()
	if n == nil || n.check(id) == nil {
		return httpError{
			http.StatusNotFound,
			fmt.Sprintf("Unknown check ID %q. Ensure that the check ID is passed, not the check name.", id),
		}
	}
	run := s.runners[id]
	if run == nil || run.def.TTL == 0 {
		return serverError("CheckID %q does not have associated TTL", id)
	}
	if len(output) > maxOutput {
		output = fmt.Sprintf("%s ... (captured %d of %d bytes)", output[:maxOutput], maxOutput, len(output))
	}
	run.lastOutput = output
	run.deadline = time.Now().Add(time.Duration(run.def.TTL))
	s.setStatus(id, status, output)
	return nil
}

func (s *Server) statusLeader(http.ResponseWriter, *http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.noLeader {
		return "", nil
	}
	return s.raftAddress(), nil
}

func (s *Server) statusPeers(http.ResponseWriter, *http.Request) (any, error) {
	return []string{s.raftAddress()}, nil
}

func (s *Server) raftAddress() string {
	return net.JoinHostPort(strings.Trim(s.opts.NodeAddress, "[]"), "8300")
}
