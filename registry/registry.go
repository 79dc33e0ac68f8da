// Package registry defines the contract for the places where instances are registered. A kind of registry is a package
// that implements it, such as registry/consul, and a line in package kinds. No other code names it.
package registry

import (
	"context"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/budget"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Kind is a kind of registry.
type Kind struct {
	// Name is the type in [[registry]].
	Name string
	// Config returns a configuration with default values.
	Config func() Config
	// Metrics registers the metrics that registries of this kind share; nil if there are none. The Meter survives a
	// reload of the configuration.
	Metrics func(prometheus.Registerer) (Meter, error)
	// Example is a valid [[registry]] table.
	Example string
	// Environment names the variables that the kind's client reads, in the manual page's Markdown; "" if it reads none.
	Environment string
}

// Meter holds a kind's metrics. Only the kind knows its type.
type Meter any

// Config holds the keys of a [[registry]] table that belong to its kind. It is a pointer to a struct whose fields have
// the tag toml, secret:"true" if the value must never be shown, and file:"true" if it names a file that must exist. The
// fields of a field without the tag toml belong to the table itself; toml:"-" is not a key. A field of type
// map[string]*T is a set of named tables, [registry.KEY.NAME]: T is a struct whose fields may have the tag default, and
// *T has a Validate method. An optional method Lacks(key string) string explains why the kind does not have a key.
type Config interface {
	// Validate returns a *setting.Error for the first key with an invalid value.
	Validate() error
	// Identity describes what is read, as a [ValidName]. It is the default name of the registry, so it must not change
	// with a restart. getenv reads the environment.
	Identity(getenv func(string) string) string
	// New creates the registry without contacting anything. An error means that the configuration is wrong.
	New(Deps) (Registry, error)
}

var allowedName = regexp.MustCompile(`^[A-Za-z0-9@_./\[\]:-]+$`)

// AllowedName describes a valid name of a registry.
const AllowedName = "up to 200 letters, digits and @ _ . / : [ ] -"

// ValidName reports whether a name can be written into a comment of the conf file, where names are separated by commas.
func ValidName(s string) bool { return len(s) <= 200 && allowedName.MatchString(s) }

// Waiter is implemented by a Config whose registry may be silent for this long before it sends news.
type Waiter interface{ Silence() time.Duration }

// Deps are the dependencies of a registry.
type Deps struct {
	// Name is the Origin of each of its servers.
	Name string
	// Log has the registry's name as a field.
	Log logrus.FieldLogger
	// Defaults are the options of upstreams and servers that the registry does not set.
	Defaults upstream.Defaults
	// Meter is the result of Kind.Metrics, or nil.
	Meter Meter
	// Budget limits the memory for the answers of all peers together; with nil, each answer only has its own limit.
	Budget *budget.Budget
	// Descriptors is how many connections the limit on open files allows; 0 means any number.
	Descriptors int
	// Beside reports that the registry is used by a command, beside a daemon whose connections matter more.
	Beside bool
}

// Registry is a place where instances are registered.
//
// Watch publishes the complete set as soon as it is known, and again after each change, until ctx ends. Unknown is not
// empty: a read that fails, is truncated or comes from a server without a leader publishes nothing, and an empty set is
// published only if the registry said that it is empty. An upstream without servers means that its service is
// registered and none of its instances is usable. The Origin of every server is the registry's name.
//
// publish never blocks and may be called from any goroutine; the receiver keeps the latest set. Watch retries what can
// be retried, and logs its trouble. It returns when ctx ends, after all its goroutines have ended, or with an error
// that the caller must handle. The caller then starts it again after a wait.
//
// Condition may be called at any time.
type Registry interface {
	Watch(ctx context.Context, publish func(upstream.Set)) error
	Condition() Condition
}

// Condition is the current state of reading a registry. A zero time means never.
type Condition struct {
	// Trouble is why something can't be read, or nil. It is [Lasting] if retrying does not solve it.
	Trouble error
	// Since is when the current trouble began.
	Since time.Time
	// Heard is when the last good answer arrived, with or without changes.
	Heard time.Time
	// Lapsed is when answers were last interrupted: the registry could not be read, or returned an older state than
	// before. What disappears shortly after that may still exist.
	Lapsed time.Time
	// Index is the index of the last state read, if the registry has one.
	Index uint64
}

// Explainer is implemented by a registry that can explain why an instance is in or out.
type Explainer interface {
	// Explain reads what is registered for an upstream and returns a finding for each instance. No finding means that
	// nothing has this name.
	Explain(ctx context.Context, name string) ([]upstream.Finding, error)
}

// Noticer is implemented by a registry that can describe how it notices changes while it is watched.
type Noticer interface {
	// Noticed describes how changes of an upstream's instances are currently noticed. It returns zero if the registry
	// is not watched or has nothing of that name. It makes no request.
	Noticed(name string) reason.Reason
}

// Examiner is implemented by a registry that can be checked for a wrong setup.
type Examiner interface {
	// Examine reads everything once. What can only be read in part is a finding, not an error.
	Examine(ctx context.Context) (Examination, error)
}

// Examination is the result of one look at a registry.
type Examination struct {
	// Set is the complete set.
	Set upstream.Set
	// Ahead is how far its clock is ahead of ours, to a second.
	Ahead time.Duration
	// Findings are the problems found, without their place.
	Findings []finding.Finding
}

// Located is implemented by a registry at a host and port; Endpoint may return "". No registration may point there.
type Located interface{ Endpoint() string }
