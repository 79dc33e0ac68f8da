package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/budget"
)

// Kind is one sort of gateway.
type Kind struct {
	// Name is the type in [[gateway]].
	Name string
	// Config makes a configuration with its defaults.
	Config func() Config
	// Metrics registers what gateways of the kind measure; nil where they measure nothing. They share the Meter,
	// which outlives a reload of the configuration.
	Metrics func(prometheus.Registerer) (Meter, error)
	// Example is a [[gateway]] table that loads.
	Example string
}

// Meter is what a kind measures its gateways with; only the kind knows its type.
type Meter any

// Config is the keys of one [[gateway]] table that belong to its kind: a pointer to a struct with the same tags as
// a registry's.
type Config interface {
	// Validate returns a *setting.Error for the first key whose value is not allowed.
	Validate() error
	// Identity is the key that says where the gateway is, and its value: no two tables may have the same. The value is
	// the name of a gateway that has none.
	Identity() (key, value string)
	// New makes the gateway. It asks nobody yet: an error means that the configuration is wrong.
	New(Deps) (Gateway, error)
}

// Deps are what a gateway is given.
type Deps struct {
	// Name is the gateway's in metrics.
	Name string
	// Log says which gateway it is.
	Log logrus.FieldLogger
	// Timeout is how long one call may take.
	Timeout time.Duration
	// Meter is what Kind.Metrics made, nil where nothing is measured.
	Meter Meter
	// Budget bounds what the answers of all peers take of memory; nil bounds each by itself.
	Budget *budget.Budget
	// Written is what the conf file held at the start; nil where there is no such file.
	Written *Written
}

// Examiner is a gateway that can be looked at for what is set up wrong.
type Examiner interface {
	// Examine asks the gateway once, over a connection of its own. Beside an error the answer has what is configured.
	Examine(ctx context.Context) (Examination, error)
}

// Examination is what one look at a gateway shows.
type Examination struct {
	// Upstreams are the names of those that it has.
	Upstreams []string
	// Ahead is how far its clock is before ours, to a second.
	Ahead time.Duration
	// Findings are what is wrong with it, without their place.
	Findings []finding.Finding
	// Ask is how a person asks it, and Remove how he takes an upstream out that was put in by hand.
	Ask    string
	Remove func(upstream string) string
	// API is how an nginx is told changes: doctor looks for it in nginx's configuration. nil for what is no such nginx.
	API *API
}

// API is an HTTP interface within nginx, and the memory in which changes wait for the workers.
type API struct {
	Address string
	// Queue is that memory as it is configured here, and Usual as nginx has it where its configuration is silent.
	Queue, Usual Queue
	// Cost is what a change takes of it, for a name and a body of so many bytes.
	Cost func(name, body int) int
}

// Queue is memory in which changes wait until each worker has read them.
type Queue struct {
	Bytes       int
	ReadTimeout time.Duration
}
