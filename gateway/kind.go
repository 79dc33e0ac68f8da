package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/budget"
)

// Kind is a kind of gateway.
type Kind struct {
	// Name is the type in [[gateway]].
	Name string
	// Config returns a configuration with default values.
	Config func() Config
	// Metrics registers the metrics that gateways of this kind share; nil if there are none. The Meter survives a
	// reload of the configuration.
	Metrics func(prometheus.Registerer) (Meter, error)
	// Example is a valid [[gateway]] table.
	Example string
}

// Meter holds a kind's metrics. Only the kind knows its type.
type Meter any

// Config holds the keys of a [[gateway]] table that belong to its kind. It is a pointer to a struct with the same tags
// as a registry's.
type Config interface {
	// Validate returns a *setting.Error for the first key with an invalid value.
	Validate() error
	// Identity returns the key that locates the gateway, and its value, which must be unique among all tables. The
	// value is the gateway's default name.
	Identity() (key, value string)
	// New creates the gateway without contacting anything. An error means that the configuration is wrong.
	New(Deps) (Gateway, error)
}

// Deps are the dependencies of a gateway.
type Deps struct {
	// Name is the gateway's name in metrics.
	Name string
	// Log has the gateway's name as a field.
	Log logrus.FieldLogger
	// Timeout limits one call.
	Timeout time.Duration
	// Meter is the result of Kind.Metrics, or nil.
	Meter Meter
	// Budget limits the memory for the answers of all peers together; with nil, each answer only has its own limit.
	Budget *budget.Budget
	// Written is the content of the conf file at startup; nil if there is no such file.
	Written *Written
}

// Examiner is implemented by a gateway that can be checked for a wrong setup.
type Examiner interface {
	// Examine asks the gateway once, over its own connection. With an error, the result still describes the
	// configuration.
	Examine(ctx context.Context) (Examination, error)
}

// Examination is the result of one look at a gateway.
type Examination struct {
	// Upstreams are the names of its upstreams.
	Upstreams []string
	// Ahead is how far its clock is ahead of ours, to a second.
	Ahead time.Duration
	// Findings are the problems found, without their place.
	Findings []finding.Finding
	// Ask is the command to query it, and Remove the command to remove an upstream that was added by hand.
	Ask    string
	Remove func(upstream string) string
	// Folder is where it writes files that nginx includes, or "".
	Folder string
	// API is how an nginx receives changes, for doctor to find in nginx's configuration; nil for other gateways.
	API *API
}

// API is an HTTP interface in nginx, with the shared memory where changes wait for the workers.
type API struct {
	Address string
	// Queue is that memory as configured here, and Usual as nginx has it by default.
	Queue, Usual Queue
	// Cost returns how much memory a change takes, for a name and a body of these sizes.
	Cost func(name, body int) int
}

// Queue is memory where changes wait until every worker has read them.
type Queue struct {
	Bytes       int
	ReadTimeout time.Duration
}
