package consultest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

func (s *Server) catalogDatacenters(http.ResponseWriter, *http.Request) (any, error) {
	return []string{s.opts.Datacenter}, nil
}

func (s *Server) catalogNodes(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := refuseParams(r.URL.Query(), "filter", "node-meta", "peer"); err != nil {
		return nil, err
	}
	return s.query(w, r, read{
		index:  func() uint64 { return s.st.indexes[nodesIndex] },
		topics: func() []string { return []string{nodesTopic} },
		answer: func(v *view) any {
			out := []*wireNode{}
			for _, key := range slices.Sorted(maps.Keys(s.st.nodes)) {
				if v.hides("") {
					break
				}
				out = append(out, s.st.nodes[key].rec)
			}
			return out
		},
		empty: []*wireNode{},
	})
}

func (s *Server) catalogServices(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := refuseParams(r.URL.Query(), "filter", "node-meta", "peer"); err != nil {
		return nil, err
	}
	return s.query(w, r, read{
		index:  func() uint64 { return s.st.indexes[servicesIndex] },
		topics: func() []string { return []string{servicesTopic} },
		answer: func(v *view) any {
			out := make(map[string][]string, len(s.st.byName))
			for name, instances := range s.st.byName {
				if v.hides(name) {
					continue
				}
				tags := []string{}
				for i := range instances {
					tags = append(tags, i.rec.Tags...)
				}
				slices.Sort(tags)
				out[name] = slices.Compact(tags)
			}
			return out
		},
		empty: map[string][]string{},
	})
}

func (s *Server) catalogService(w http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	name := after(r, "/v1/catalog/service/")
	if name == "" {
		return nil, badRequest("Missing service name")
	}
	if err := refuseParams(q, "filter", "node-meta", "peer"); err != nil {
		return nil, err
	}
	return s.query(w, r, read{
		index: func() uint64 { return s.st.indexOf(name, servicesIndex, nodesIndex) },
		topics: func() []string {
			if _, ok := s.st.byName[name]; ok {
				return []string{instancesTopic(name)}
			}
			return []string{servicesTopic}
		},
		answer: func(v *view) any {
			out := []wireCatalog{}
			for _, i := range s.st.instancesOf(name) {
				if hasTags(i.rec, q["tag"]) && !v.hides(name) {
					out = append(out, catalogEntry(i))
				}
			}
			return out
		},
		empty: []wireCatalog{},
	})
}

// catalogNodeServices lists what a node has. It has an index of its own, and wakes for that node's instances and for
// the node itself, not for checks.
func (s *Server) catalogNodeServices(w http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	name := after(r, "/v1/catalog/node-services/")
	if name == "" {
		return nil, badRequest("Missing node name")
	}
	if err := refuseParams(q, "merge-central-config", "peer"); err != nil {
		return nil, err
	}
	filter, err := parseIDFilter("ID", q.Get("filter"))
	if err != nil {
		return nil, err
	}
	return s.query(w, r, read{
		index: func() uint64 {
			if s.st.node(name) == nil {
				return s.st.indexes[nodeExtinctionIndex]
			}
			return s.st.indexes[nodeIndex(name)]
		},
		topics: func() []string { return []string{nodeTopic(name)} },
		answer: func(v *view) any {
			n := s.st.node(name)
			if n == nil || v.hides("") {
				return wireNodeServices{}
			}
			out := wireNodeServices{Node: n.rec, Services: []*wireService{}}
			for _, id := range slices.Sorted(maps.Keys(n.instances)) {
				if rec := n.instances[id].rec; !v.hides(rec.Service) && filter(rec.ID) {
					out.Services = append(out.Services, rec)
				}
			}
			return out
		},
		empty: wireNodeServices{},
	})
}

func catalogEntry(i *instance) wireCatalog {
	n, rec := i.node.rec, i.rec
	c := wireCatalog{
		ID: n.ID, Node: n.Node, Address: n.Address, Datacenter: n.Datacenter,
		TaggedAddresses: n.TaggedAddresses, NodeMeta: n.Meta,
		ServiceKind: rec.Kind, ServiceID: rec.ID, ServiceName: rec.Service, ServiceTags: rec.Tags,
		ServiceAddress: rec.Address, ServiceTaggedAddresses: rec.TaggedAddresses, ServiceWeights: rec.Weights,
		ServiceMeta: rec.Meta, ServicePort: rec.Port, ServiceSocketPath: rec.SocketPath,
		ServiceEnableTagOverride: rec.EnableTagOverride, ServiceProxy: rec.Proxy, ServiceLocality: rec.Locality,
		CreateIndex: rec.CreateIndex, ModifyIndex: rec.ModifyIndex,
	}
	if c.ServiceMeta == nil {
		c.ServiceMeta = map[string]string{}
	}
	return c
}

// registration is the body of /v1/catalog/register. Fields that it does not name are refused, as by Consul.
type registration struct {
	Datacenter      string
	ID              string
	Node            string
	Address         string
	TaggedAddresses map[string]string
	NodeMeta        map[string]string
	Service         *registeredService
	Check           *registeredCheck
	Checks          []*registeredCheck
	Locality        *api.Locality
	SkipNodeUpdate  bool
	PeerName        string
	Token           string
	CreateIndex     uint64
	ModifyIndex     uint64
}

type registeredService struct {
	Kind              string
	ID                string
	Service           string
	Tags              []string
	Address           string
	TaggedAddresses   map[string]api.ServiceAddress
	Meta              map[string]string
	Port              int
	Ports             api.ServicePorts
	SocketPath        string
	Weights           *api.AgentWeights
	EnableTagOverride bool
	Locality          *api.Locality
	Proxy             json.RawMessage
	Connect           json.RawMessage
	PeerName          string
	CreateIndex       uint64
	ModifyIndex       uint64
}

type registeredCheck struct {
	Node        string
	CheckID     string
	Name        string
	Status      string
	Notes       string
	Output      string
	ServiceID   string
	ServiceName string
	ServiceTags []string
	Type        string
	Interval    string
	Timeout     string
	ExposedPort int
	PeerName    string
	Definition  definition
	CreateIndex uint64
	ModifyIndex uint64
}

// deregistration is the body of /v1/catalog/deregister: of a service, else of a check, else of the whole node.
type deregistration struct {
	Datacenter string
	Node       string
	ServiceID  string
	CheckID    string
	PeerName   string
	Token      string
	Address    string // obsolete, yet taken
}

// decode reads a JSON body as strictly as Consul does: what it does not know, it refuses.
func decode(body io.Reader, v any) error {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return badRequest("Request decode failed: %v", err)
	}
	return nil
}

func (s *Server) catalogRegister(_ http.ResponseWriter, r *http.Request) (any, error) {
	var reg registration
	if err := decode(r.Body, &reg); err != nil {
		return nil, err
	}
	return true, s.register(reg)
}

func (s *Server) catalogDeregister(_ http.ResponseWriter, r *http.Request) (any, error) {
	var d deregistration
	if err := decode(r.Body, &d); err != nil {
		return nil, err
	}
	return true, s.deregister(d)
}

// register does all of a registration or nothing of it.
func (s *Server) register(reg registration) error {
	if err := s.checkWrite(reg.Datacenter, reg.PeerName); err != nil {
		return err
	}
	if reg.Node == "" {
		return serverError("Must provide node")
	}
	if reg.ID != "" && !uuidFormat.MatchString(reg.ID) {
		return serverError("Bad node ID: %q is no UUID", reg.ID)
	}
	if reg.Address == "" && !reg.SkipNodeUpdate {
		return serverError("Must provide address if SkipNodeUpdate is not set")
	}
	if reg.Service != nil {
		if err := reg.Service.validate(); err != nil {
			return err
		}
	}
	checks := reg.Checks
	if reg.Check != nil {
		checks = append(slices.Clone(checks), reg.Check)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.noLeader {
		return noLeader()
	}
	n := s.st.node(reg.Node)
	for _, c := range checks {
		setDefault(&c.CheckID, c.Name)
		if c.Node != "" && !strings.EqualFold(c.Node, reg.Node) {
			return serverError("Node '%s' for check '%s' doesn't match register request node '%s'",
				c.Node, c.CheckID, reg.Node)
		}
		known := n != nil && n.instances[c.ServiceID] != nil || reg.Service != nil && reg.Service.ID == c.ServiceID
		if c.ServiceID != "" && !known {
			return serverError("Unknown service ID '%s' for check ID '%s'", c.ServiceID, c.CheckID)
		}
	}

	idx := s.st.begin()
	if n == nil || !reg.SkipNodeUpdate {
		n = s.st.putNode(idx, wireNode{
			ID: reg.ID, Node: reg.Node, Address: reg.Address, Datacenter: s.opts.Datacenter,
			TaggedAddresses: reg.TaggedAddresses, Meta: reg.NodeMeta, Locality: reg.Locality,
		})
	}
	if reg.Service != nil {
		s.st.putInstance(idx, n, reg.Service.record())
	}
	for _, c := range checks {
		s.st.putCheck(idx, n, n.instances[c.ServiceID], c.record())
	}
	return nil
}

func (s *Server) checkWrite(dc, peer string) error {
	if dc != "" && dc != s.opts.Datacenter {
		return serverError("No path to datacenter")
	}
	if peer != "" {
		return serverError("cannot register requests with PeerName in them")
	}
	return nil
}

var uuidFormat = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)

// validate holds a service to Consul's rules and gives it its name for an ID if it has none.
func (b *registeredService) validate() error {
	switch {
	case b.ID == "" && b.Service == "":
		return serverError("service name (Service.Service) is required; " +
			"both Service ID (Service.ID) and Service Name cannot be empty")
	case b.Service == "":
		return serverError("Must provide service name (Service.Service) when service ID is provided")
	case isAnyAddress(b.Address):
		return serverError("Invalid service address")
	case len(b.Ports) > 0:
		return badRequest("Ports are not supported by the dev registry")
	}
	if b.ID == "" {
		b.ID = b.Service
	}
	if err := validateMeta(b.Meta); err != nil {
		return serverError("Invalid Service Meta: %v", err)
	}
	return nil
}

func (b *registeredService) record() wireService {
	rec := wireService{
		Kind: b.Kind, ID: b.ID, Service: b.Service, Tags: b.Tags, Address: b.Address,
		TaggedAddresses: b.TaggedAddresses, Meta: b.Meta, Port: b.Port, SocketPath: b.SocketPath,
		Weights: api.AgentWeights{Passing: 1, Warning: 1}, EnableTagOverride: b.EnableTagOverride,
		Locality: b.Locality,
	}
	if rec.Tags == nil {
		rec.Tags = []string{} // Consul takes null tags and answers with none
	}
	// Weights that cannot be are no error in the catalog: they are replaced. The client sends 0 for none.
	if b.Weights != nil && validateWeights(*b.Weights) == nil {
		rec.Weights = *b.Weights
	}
	return rec
}

func (b *registeredCheck) record() wireCheck {
	rec := wireCheck{
		CheckID: b.CheckID, Name: b.Name, Status: b.Status, Notes: b.Notes, Output: b.Output, Type: b.Type,
		Interval: b.Interval, Timeout: b.Timeout, ExposedPort: b.ExposedPort, Definition: b.Definition,
	}
	if rec.Type == "" {
		rec.Type = b.Definition.kind()
	}
	return rec
}

// deregister removes what a deregistration names; what is not there is no error.
func (s *Server) deregister(d deregistration) error {
	if err := s.checkWrite(d.Datacenter, d.PeerName); err != nil {
		return err
	}
	if d.Node == "" {
		return serverError("Must provide node")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.noLeader {
		return noLeader()
	}
	idx := s.st.begin()
	n := s.st.node(d.Node)
	switch {
	case n == nil:
	case d.ServiceID != "":
		if i := n.instances[d.ServiceID]; i != nil {
			s.stopChecks(i)
			s.st.deleteInstance(idx, i)
		}
	case d.CheckID != "":
		s.st.deleteCheck(idx, n, d.CheckID)
	default:
		for _, i := range n.instances {
			s.stopChecks(i)
		}
		s.st.deleteNode(idx, n)
	}
	return nil
}

func isAnyAddress(addr string) bool {
	return addr == "0.0.0.0" || addr == "::" || addr == "[::]"
}

var metaKeyFormat = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// validateMeta holds a service's meta to Consul's limits.
func validateMeta(meta map[string]string) error {
	if len(meta) > 64 {
		return serverError("Node metadata cannot contain more than 64 key/value pairs")
	}
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		var problem string
		switch {
		case k == "":
			problem = "Key cannot be blank"
		case !metaKeyFormat.MatchString(k):
			problem = "Key contains invalid characters"
		case len(k) > 128:
			problem = "Key is too long (limit: 128 characters)"
		case strings.HasPrefix(k, "consul-"):
			problem = "Key prefix 'consul-' is reserved for internal use"
		case len(meta[k]) > 512:
			problem = "Value is too long (limit: 512 characters)"
		default:
			continue
		}
		return serverError("Couldn't load metadata pair ('%s', '%s'): %s", k, meta[k], problem)
	}
	return nil
}

func validateWeights(w api.AgentWeights) error {
	switch {
	case w.Passing < 1:
		return serverError("Passing must be greater than 0")
	case w.Warning < 0:
		return serverError("Warning must be greater or equal than 0")
	case w.Passing > 65535, w.Warning > 65535:
		return serverError("DNS Weight must be between 0 and 65535")
	}
	return nil
}
