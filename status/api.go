package status

import (
	"context"
	"errors"
	"iter"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/reason"
)

// Daemon is the running program, as the server shows and controls it. Its methods are safe for concurrent use. If
// something that a request names does not exist, the error is of kind [ErrNotFound]. If the order is impossible in the
// current state, it is [ErrConflict]; if it makes no sense, [ErrInvalid].
type Daemon interface {
	// Status returns the current status.
	Status() Status
	// Alive returns an error if one of the program's loops hangs.
	Alive() error
	// Upstreams yields the accepted upstreams in order of names, with their servers in and out, and then the services
	// that have no upstream.
	Upstreams() iter.Seq[Upstream]
	// Explain asks the registries about one upstream, and returns for each instance why it is in or out.
	Explain(ctx context.Context, upstream string) (Explanation, error)
	// Plan returns what the next pass would do and what has drifted, from fresh reads. It changes nothing.
	Plan(ctx context.Context) (Plan, error)
	// History returns the generations in the history, newest first.
	History() ([]Generation, error)
	// Diff returns the changes from one generation in the history to another.
	Diff(from, to int) (Changes, error)
	// Timeline returns up to most of the newest events, oldest first.
	Timeline(most int) []Event
	// Activity returns the counts of the last hours, oldest first.
	Activity() []Activity
	// Subscribe returns a channel of events from now on. The channel is closed when ctx ends. A slow reader loses the
	// oldest events.
	Subscribe(ctx context.Context) <-chan Event

	// The following methods are orders. by is who gives the order, and why.

	// Approve lets exactly the hold with this ID pass.
	Approve(ctx context.Context, id string, by generation.Signature) error
	// Freeze keeps an upstream, or everything, as it is written now.
	Freeze(ctx context.Context, f FreezeRequest, by generation.Signature) error
	// Unfreeze ends a freeze. The name "*" ends the freeze of everything.
	Unfreeze(ctx context.Context, name string, by generation.Signature) error
	// RollbackPlan returns what a rollback to a generation in the history would do. It changes nothing.
	RollbackPlan(ctx context.Context, generation int) (RollbackPlan, error)
	// Rollback writes a generation from the history again, pushes it, and freezes everything. It returns when each
	// gateway has shown it or failed to, or after some seconds. If that generation is already in place, nothing
	// changes.
	Rollback(ctx context.Context, generation int, by generation.Signature) (RollbackResult, error)
}

// Kinds of errors of a Daemon: see [As].
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("not possible now")
	ErrInvalid  = errors.New("not valid")
)

// As marks an error as one of these kinds. The text stays the same.
func As(kind, err error) error { return &known{err, kind} }

type known struct{ cause, kind error }

func (e *known) Error() string   { return e.cause.Error() }
func (e *known) Unwrap() []error { return []error{e.cause, e.kind} }

// Everything is the name of the freeze of all upstreams.
const Everything = generation.EverythingText

// Status is the current status.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Time    time.Time `json:"time"` // of this answer
	// Verdict is the result of [Judge].
	Verdict Verdict `json:"verdict"`
	// InSync reports whether every gateway has itself shown the newest generation.
	InSync bool `json:"in_step"`
	// Ready reports whether it is in sync and the registries are fresh. Reasons say why not.
	Ready      bool            `json:"ready"`
	Reasons    []reason.Reason `json:"reasons"`
	Generation Generation      `json:"generation"`
	// Upstreams and Servers count what is accepted. Out counts registered instances that receive no traffic.
	Upstreams int `json:"upstreams"`
	Servers   int `json:"servers"`
	Out       int `json:"out"`
	// Routes counts the routes of the accepted upstreams, RoutesOut those that are out.
	Routes    int `json:"routes"`
	RoutesOut int `json:"routes_out"`
	// Unserved are upstreams of registered services that keep their last servers, none of which is usable.
	Unserved []Unserved `json:"without_healthy_server"`
	// LeftOut are the upstreams with the most instances out. OutOf counts all upstreams with instances out.
	LeftOut    []LeftOut  `json:"left_out"`
	OutOf      int        `json:"out_of"`
	Holds      []Hold     `json:"holds"`
	Freezes    []Freeze   `json:"freezes"`
	Registries []Registry `json:"registries"`
	Gateways   []Gateway  `json:"gateways"`
	// File is the conf file's path. FileError is why it could not be written, or "".
	File      string `json:"file"`
	FileError string `json:"file_error,omitempty"`
	// FilePlain is FileError in a few plain words: see [Plain].
	FilePlain reason.Reason `json:"file_plain,omitzero"`
	// DamagedFile is the damaged conf file that was kept aside at startup and replaced from the history, as long as it
	// exists; else "".
	DamagedFile string `json:"damaged_file,omitempty"`
	// Alone reports that no daemon answers: the status is from the conf file and the gateways.
	Alone bool `json:"alone,omitempty"`
}

// Unserved is an upstream that receives traffic although none of its servers is usable.
type Unserved struct {
	Upstream string `json:"upstream"`
	Servers  int    `json:"servers"` // kept servers
	// Reasons are the most frequent reasons why they are not usable, most frequent first.
	Reasons []Reason `json:"reasons"`
}

// Reason is why a number of instances are in their state.
type Reason struct {
	Text  reason.Reason `json:"text"`
	Code  string        `json:"code,omitempty"` // of the text; "" if the text is not ours
	Count int           `json:"count"`
}

// LeftOut is how many instances of an upstream are out.
type LeftOut struct {
	Upstream string   `json:"upstream"`
	Out      int      `json:"out"`
	Reasons  []Reason `json:"reasons"`
}

// Generation is an accepted set as written.
type Generation struct {
	Number int       `json:"number"` // 0: none written yet
	Time   time.Time `json:"time"`
	Digest string    `json:"digest"`
	// Reason is why it was written.
	Reason reason.Reason `json:"reason"`
	// By is who ordered it, or "". Why is that person's reason.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// Upstreams and Servers count what it contains.
	Upstreams int `json:"upstreams"`
	Servers   int `json:"servers"`
	// Summary is what it changed; empty for the oldest generation in the history.
	Summary reason.Reason `json:"summary,omitzero"`
	// Damaged is why a generation in the history can't be used: its digest does not match.
	Damaged string `json:"damaged,omitempty"`
}

// Registry is the state of a registry.
type Registry struct {
	Name     string    `json:"name"`
	Answered time.Time `json:"answered"` // when its answer last changed; zero: never
	// Heard is when it last answered without an error, with or without changes; zero: never. If nothing changes, it
	// only answers at the end of a wait.
	Heard   time.Time `json:"heard"`
	Trouble string    `json:"trouble,omitempty"`
	// Plain is Trouble in a few plain words: see [Plain].
	Plain reason.Reason `json:"plain,omitzero"`
	// TroubleSince is when its trouble began; zero: no trouble.
	TroubleSince time.Time `json:"trouble_since"`
}

// Gateway is the state of a gateway.
type Gateway struct {
	Name       string    `json:"name"`
	InSync     bool      `json:"in_step"`
	Generation int       `json:"generation"` // last shown
	Checked    time.Time `json:"checked"`    // zero: not yet
	Since      time.Time `json:"since"`      // when InSync last changed
	Error      string    `json:"error,omitempty"`
	// Plain is Error in a few plain words: see [Plain].
	Plain reason.Reason `json:"plain,omitzero"`
	// Workers is empty if they can't be distinguished.
	Workers []Worker `json:"workers"`
}

// Worker is a worker process of a gateway.
type Worker struct {
	ID     string    `json:"id"` // process ID
	InSync bool      `json:"in_step"`
	Since  time.Time `json:"since"` // first seen
	Error  string    `json:"error,omitempty"`
}

// Hold is a change that the guard holds back.
type Hold struct {
	ID       string        `json:"id"`
	Rule     string        `json:"rule"`
	Upstream string        `json:"upstream,omitempty"` // set if the rule judged a single upstream; "": all together
	Reason   reason.Reason `json:"reason"`
	Code     string        `json:"code,omitempty"` // of the reason
	Since    time.Time     `json:"since"`
	Servers  []HeldServer  `json:"servers"`            // kept because of the hold
	Of       int           `json:"of"`                 // out of this many
	KeptOut  int           `json:"kept_out,omitempty"` // number kept out because of the hold
	Routes   []HeldRoute   `json:"routes,omitempty"`   // kept because of the hold
	// Causes are why those servers would be removed, largest first. Effects are what removing them would do to their
	// upstreams, worst first. Both are empty if unknown.
	Causes  []Cause  `json:"causes,omitempty"`
	Effects []Effect `json:"effects,omitempty"`
}

// HeldRoute is a route that stays although it is no longer registered.
type HeldRoute struct {
	Upstream string `json:"upstream"`
	Route    string `json:"route"` // as in the conf file
}

// HeldServer is a server that stays although its registry no longer lists it as usable.
type HeldServer struct {
	Upstream string `json:"upstream"`
	Addr     string `json:"addr"`
	// Registered reports whether its registry still lists it, as unusable. If not, it is deregistered.
	Registered bool `json:"registered,omitempty"`
	// Witness is [Alive] or [Dead] if the witness tried it, "" if that is unknown.
	Witness string `json:"witness,omitempty"`
}

// Results of the witness.
const (
	Alive = "alive" // accepts connections, or answers
	Dead  = "dead"  // does not
)

// Freeze keeps an upstream as it is.
type Freeze struct {
	Name  string    `json:"name"`  // Everything or the name of an upstream
	Until time.Time `json:"until"` // zero: no end
	// By is who ordered it, or "" if unknown. Why is that person's reason.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
}

// FreezeRequest asks for a freeze.
type FreezeRequest struct {
	Name string `json:"name"` // Everything or the name of an upstream
	// For is the duration in Go's syntax, such as "2h"; "" means no end.
	For string `json:"for,omitempty"`
}

// RollbackRequest asks for a rollback.
type RollbackRequest struct {
	Generation int `json:"generation"`
}

// RollbackPlan is what a rollback would do.
type RollbackPlan struct {
	Changes Changes `json:"changes"` // to the conf file
	// Opinion is what the guard would say about the change; empty if it has no objection.
	Opinion reason.Reason `json:"opinion,omitzero"`
	// Present reports that the generation is already in place: a rollback would change and freeze nothing.
	Present bool `json:"present,omitempty"`
}

// RollbackResult is the result of a rollback.
type RollbackResult struct {
	Generation Generation `json:"generation"` // the new one, with the old one's upstreams
	// Opinion is what the guard would have said about the change; empty if it had no objection.
	Opinion reason.Reason `json:"opinion,omitzero"`
	// Present reports that the generation was already in place: nothing was changed or frozen.
	Present bool `json:"present,omitempty"`
	// Gateways are the gateways afterwards: one out of sync does not have the generation yet.
	Gateways []Gateway `json:"gateways"`
}

// States of a server.
const (
	In     = "in"     // receives traffic
	Down   = "down"   // in its upstream, marked down
	Held   = "held"   // deregistered or unusable, kept by the guard
	Frozen = "frozen" // receives traffic, and its upstream is frozen
	Out    = "out"    // registered, receives no traffic
)

// Upstream is an upstream with its instances, in and out.
type Upstream struct {
	Name    string   `json:"name"`
	Canary  string   `json:"canary,omitempty"`
	Frozen  bool     `json:"frozen"`
	Options []string `json:"options"` // nginx directives other than servers
	Servers []Server `json:"servers"`
	// Routes are the routes to it, in and out.
	Routes []Route `json:"routes,omitempty"`
	// Trouble is the worst trouble of the upstream: see [Trouble]. "" if all of its servers simply serve.
	Trouble string `json:"trouble,omitempty"`
}

// Server is an instance.
type Server struct {
	Addr  string `json:"addr"`
	State string `json:"state"` // In, Down, Held, Frozen or Out
	// Reason is why it is in this state. Code names the reason; "" if its text is not ours.
	Reason reason.Reason `json:"reason"`
	Code   string        `json:"code,omitempty"`
	// Detail names the instance that is out, and the output of its check. Instances out for the same cause have equal
	// Reasons, which are without such details.
	Detail  reason.Reason `json:"detail,omitzero"`
	Options string        `json:"options,omitempty"` // as in nginx's syntax, such as weight=2
	Origin  string        `json:"origin,omitempty"`  // the registries it comes from
	Since   time.Time     `json:"since"`             // since when it is in the state; zero: since before startup, or unknown
}

// Because sets Reason and Code.
func (s *Server) Because(why reason.Reason) { s.Reason, s.Code = why, why.Code() }

// Explanation is an upstream with what the registries currently list.
type Explanation struct {
	Upstream
	Written   bool            `json:"written"`   // in the conf file
	Instances []Finding       `json:"instances"` // what the registries list
	Notes     []reason.Reason `json:"notes"`     // about the whole upstream: a collision, a hold
}

// Finding is what a registry says about an instance.
type Finding struct {
	Registry string        `json:"registry"`
	Addr     string        `json:"addr"`
	In       bool          `json:"in"`
	Reason   reason.Reason `json:"reason"`         // which check, tag or rule
	Code     string        `json:"code,omitempty"` // of the reason
	Index    uint64        `json:"index"`          // of the registry's answer
}

// Plan is what the next pass would do.
type Plan struct {
	File     Changes       `json:"file"`            // to the conf file
	Hold     *Hold         `json:"hold"`            // the first hold
	Holds    []Hold        `json:"holds,omitempty"` // all holds, if there are several
	Gateways []GatewayPlan `json:"gateways"`
}

// Held returns all holds.
func (p Plan) Held() []Hold {
	if p.Hold != nil && len(p.Holds) == 0 {
		return []Hold{*p.Hold}
	}
	return p.Holds
}

// GatewayPlan is what a gateway would need. If File has no changes, the gateway has drifted.
type GatewayPlan struct {
	Name string `json:"name"`
	// InSync reports whether the gateway can be read and needs nothing.
	InSync  bool    `json:"in_step"`
	Changes Changes `json:"changes"`
	Error   string  `json:"error,omitempty"` // why it can't be read
}

// Changes are the differences between two sets, in lines of nginx syntax.
type Changes struct {
	Summary reason.Reason    `json:"summary"`
	Added   []ChangedLines   `json:"added"`
	Updated []UpstreamChange `json:"updated"`
	Removed []ChangedLines   `json:"removed"`
}

// ChangedLines is a whole upstream.
type ChangedLines struct {
	Name  string   `json:"name"`
	Lines []string `json:"lines"`
}

// UpstreamChange has the lines that an update adds and removes.
type UpstreamChange struct {
	Name string   `json:"name"`
	In   []string `json:"in"`
	Out  []string `json:"out"`
}

// Event is something that happened.
type Event struct {
	ID         uint64    `json:"id"` // increasing
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"` // see syncer.Event
	Generation int       `json:"generation,omitempty"`
	Upstream   string    `json:"upstream,omitempty"`
	Addr       string    `json:"addr,omitempty"`
	Gateway    string    `json:"gateway,omitempty"`
	// Text describes it. Code names the text; "" if the text is not ours.
	Text reason.Reason `json:"text"`
	Code string        `json:"code,omitempty"`
	// Cause is the reason alone why a server is out. Text contains it too.
	Cause reason.Reason `json:"cause,omitzero"`
	// By is who ordered it, or "". Why is that person's reason.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// In and Out are how many servers began and stopped receiving traffic with a generation. If very many change at
	// once, not all have their own event.
	In  int `json:"in,omitempty"`
	Out int `json:"out,omitempty"`
	// TookMS is the time from the registry's answer until a gateway had the change, in milliseconds.
	TookMS float64 `json:"took_ms,omitempty"`
}
