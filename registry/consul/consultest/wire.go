package consultest

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/consul/api"
)

// The types of this file are the JSON of Consul's answers, field by field. The client's own types will not do:
// they leave out or add fields when they are encoded (Port, Proxy, Connect, Interval). A record that is in the
// store is never changed, only replaced, so that answers may be encoded without the lock.

type wireNode struct {
	ID              string
	Node            string
	Address         string
	Datacenter      string
	TaggedAddresses map[string]string
	Meta            map[string]string
	Locality        *api.Locality `json:",omitempty"`
	CreateIndex     uint64
	ModifyIndex     uint64
}

// wireProxy is what Consul shows as the proxy of a service that is none.
type wireProxy struct {
	Mode        string
	MeshGateway struct{}
	Expose      struct{}
}

type wireService struct {
	Kind              string `json:",omitempty"`
	ID                string
	Service           string
	Tags              []string
	Address           string
	TaggedAddresses   map[string]api.ServiceAddress `json:",omitempty"`
	Meta              map[string]string
	Port              int    `json:",omitempty"`
	SocketPath        string `json:",omitempty"`
	Weights           api.AgentWeights
	EnableTagOverride bool
	Locality          *api.Locality `json:",omitempty"`
	Proxy             wireProxy
	Connect           struct{}
	PeerName          string
	CreateIndex       uint64
	ModifyIndex       uint64
}

type wireCheck struct {
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
	Definition  definition
	CreateIndex uint64
	ModifyIndex uint64
}

// wireHealth is one instance in the answer of /v1/health/service.
type wireHealth struct {
	Node    *wireNode
	Service *wireService
	Checks  []*wireCheck
}

// wireNodeServices is the answer of /v1/catalog/node-services; both are null where there is no such node.
type wireNodeServices struct {
	Node     *wireNode
	Services []*wireService
}

// wireCatalog is one instance in the answer of /v1/catalog/service.
type wireCatalog struct {
	ID                       string
	Node                     string
	Address                  string
	Datacenter               string
	TaggedAddresses          map[string]string
	NodeMeta                 map[string]string
	ServiceKind              string
	ServiceID                string
	ServiceName              string
	ServiceTags              []string
	ServiceAddress           string
	ServiceTaggedAddresses   map[string]api.ServiceAddress `json:",omitempty"`
	ServiceWeights           api.AgentWeights
	ServiceMeta              map[string]string
	ServicePort              int
	ServicePorts             api.ServicePorts
	ServiceSocketPath        string
	ServiceEnableTagOverride bool
	ServiceProxy             wireProxy
	ServiceConnect           struct{}
	ServiceLocality          *api.Locality
	CreateIndex              uint64
	ModifyIndex              uint64
}

// definition is how a check is run, as the catalog keeps it. Consul leaves it empty for an agent's checks.
type definition struct {
	HTTP                           string              `json:",omitempty"`
	TLSServerName                  string              `json:",omitempty"`
	TLSSkipVerify                  bool                `json:",omitempty"`
	Header                         map[string][]string `json:",omitempty"`
	Method                         string              `json:",omitempty"`
	Body                           string              `json:",omitempty"`
	TCP                            string              `json:",omitempty"`
	TCPUseTLS                      bool                `json:",omitempty"`
	UDP                            string              `json:",omitempty"`
	GRPC                           string              `json:",omitempty"`
	GRPCUseTLS                     bool                `json:",omitempty"`
	OSService                      string              `json:",omitempty"`
	Interval                       duration            `json:",omitzero"`
	Timeout                        duration            `json:",omitzero"`
	DeregisterCriticalServiceAfter duration            `json:",omitzero"`
	TTL                            duration            `json:",omitzero"`
}

// UnmarshalJSON reads a definition without minding unknown fields: here, and only here, Consul does not.
func (d *definition) UnmarshalJSON(data []byte) error {
	type plain definition
	return json.Unmarshal(data, (*plain)(d))
}

// kind is the type that Consul derives from a definition.
func (d definition) kind() string {
	switch {
	case d.GRPC != "" && d.Interval > 0:
		return "grpc"
	case d.HTTP != "" && d.Interval > 0:
		return "http"
	case d.TTL > 0:
		return "ttl"
	case d.TCP != "" && d.Interval > 0:
		return "tcp"
	case d.UDP != "" && d.Interval > 0:
		return "udp"
	}
	return ""
}

// duration is a time.Duration that JSON gives as "10s" or, in nanoseconds, as a number.
type duration time.Duration

// UnmarshalJSON takes a string or a number. As in Consul any other kind of value counts as none.
func (d *duration) UnmarshalJSON(data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		parsed, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		*d = duration(parsed)
	case float64:
		*d = duration(v)
	}
	return nil
}

// MarshalJSON writes a duration as Consul does: "1m0s".
func (d duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// text is a duration as checks show it: empty when there is none.
func (d duration) text() string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}
