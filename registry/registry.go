// Package registry is the contract of the places where instances are registered. A kind of registry is a
// package that fulfils it, such as registry/consul, and a line in package kinds; nothing else knows its name.
package registry

import (
	"context"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/budget"
	"swallowkeeper/upstream"
)

// Kind is one sort of registry.
type Kind struct {
	// Name is the type in [[registry]].
	Name string
	// Config makes a configuration with its defaults.
	Config func() Config
	// Metrics registers what registries of the kind measure; nil where they measure nothing. They share the Meter,
	// which outlives a reload of the configuration.
	Metrics func(prometheus.Registerer) (Meter, error)
	// Example is a [[registry]] table that loads.
	Example string
	// Environment names, in the manual page's Markdown, the variables that the kind's own client reads; "" for none.
	Environment string
}

// Meter is what a kind measures its registries with; only the kind knows its type.
type Meter any

// Config is the keys of one [[registry]] table that belong to its kind: a pointer to a struct whose fields carry
// the tag toml, secret:"true" where nobody may be shown the value, and file:"true" where it names a file that
// must be there. A field without the tag toml is part of the struct around it; toml:"-" is no key.
type Config interface {
	// Validate returns a *setting.Error for the first key whose value is not allowed.
	Validate() error
	// Identity says what is read, as a [ValidName]. It is the name of a registry that has none, so it is the same after
	// a restart. getenv reads the environment.
	Identity(getenv func(string) string) string
	// New makes the registry. It asks nobody yet: an error means that the configuration is wrong.
	New(Deps) (Registry, error)
}

var allowedName = regexp.MustCompile(`^[A-Za-z0-9@_./\[\]:-]+$`)

// AllowedName says what the name of a registry may be.
const AllowedName = "up to 200 letters, digits and @ _ . / : [ ] -"

// ValidName holds for what can stand in a comment of the conf file, where commas part one name from the next.
func ValidName(s string) bool { return len(s) <= 200 && allowedName.MatchString(s) }

// Waiter is a Config whose registry may be silent for so long and still be about to tell news.
type Waiter interface{ Silence() time.Duration }

// Deps are what a registry is given.
type Deps struct {
	// Name is the Origin of each of its servers.
	Name string
	// Log says which registry it is.
	Log logrus.FieldLogger
	// Defaults are the options of upstreams and servers about which the registry says nothing.
	Defaults upstream.Defaults
	// Meter is what Kind.Metrics made, nil where nothing is measured.
	Meter Meter
	// Budget bounds what the answers of all peers take of memory; nil bounds each by itself.
	Budget *budget.Budget
	// Descriptors is how many connections the limit of open files leaves, 0 any number.
	Descriptors int
	// Beside says that a command asks, beside a daemon whose connections matter more.
	Beside bool
}

// Registry is a place where instances are registered.
//
// Watch publishes the complete set as soon as it is known, and the complete set
// again after each change, until the context ends. What it can't read it does not
// know, and what it does not know it does not publish: a read that fails, is cut
// short or comes from a server without a leader publishes nothing, and an empty set
// is published only when the registry said that it is empty. An upstream without a
// server says that its service is registered and none of its instances is usable.
// Every server's Origin is the registry's name.
//
// publish never blocks and may be called from any goroutine; the receiver keeps the
// latest. Watch retries by itself what can be retried and tells its trouble to the
// log; it returns when the context ends, after all that it started has ended, or
// with an error that needs the caller: it is started again, after a wait.
//
// Condition may be called at any time.
type Registry interface {
	Watch(ctx context.Context, publish func(upstream.Set)) error
	Condition() Condition
}

// Condition is how a registry can be read just now. The zero time stands for never.
type Condition struct {
	// Trouble is why something can't be read, nil where all can.
	Trouble error
	// Since is from when there has been trouble without a pause.
	Since time.Time
	// Heard is when the last good answer came, news or not.
	Heard time.Time
	// Lapsed is when the answers were last broken off: the registry could not be read, or gave an older state than
	// before. What goes missing for a while after that may be there all the same.
	Lapsed time.Time
	// Index counts the registry's states, where it does: that of the last one read.
	Index uint64
}

// Explainer is a registry that can say why an instance is in or out.
type Explainer interface {
	// Explain reads now what is registered for an upstream and judges each instance. No finding means that nothing
	// of this name is registered.
	Explain(ctx context.Context, name string) ([]upstream.Finding, error)
}

// Examiner is a registry that can be looked at for what is set up wrong.
type Examiner interface {
	// Examine reads everything once. What can be read in part is no error but a finding.
	Examine(ctx context.Context) (Examination, error)
}

// Examination is what one look at a registry shows.
type Examination struct {
	// Set is what it lists.
	Set upstream.Set
	// Ahead is how far its clock is before ours, to a second.
	Ahead time.Duration
	// Findings are what is wrong with it, without their place.
	Findings []finding.Finding
}

// Located is a registry that answers at a host and port, "" for none. No registration may lead there.
type Located interface{ Endpoint() string }
