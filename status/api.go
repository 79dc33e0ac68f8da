package status

import (
	"context"
	"errors"
	"iter"
	"time"

	"swallowkeeper/upstream"
)

// Daemon is what the server shows and steers: the program at work. Its methods may be called
// from any goroutine. What a request names and is not there is an error of the kind [ErrNotFound];
// what can't be done as things are is one of the kind [ErrConflict], and what makes no sense
// one of the kind [ErrInvalid].
type Daemon interface {
	// Status is what is true now.
	Status() Status
	// Alive says why the program does not work any more, nil where its loops come round.
	Alive() error
	// Upstreams yields what is accepted, in order of names, each with its servers in and out, and
	// then the services that have no upstream.
	Upstreams() iter.Seq[Upstream]
	// Explain says of every instance of one upstream why it is in or out, as the registries
	// answer now.
	Explain(ctx context.Context, upstream string) (Explanation, error)
	// Plan is what the next pass would do and what has drifted, read now; it changes nothing.
	Plan(ctx context.Context) (Plan, error)
	// History lists the generations that are kept, the newest first.
	History() ([]Generation, error)
	// Diff leads from one generation that is kept to another.
	Diff(from, to int) (Changes, error)
	// Timeline lists at most so many of the newest events, the oldest first.
	Timeline(most int) []Event
	// Activity counts what happened in the last hours, the oldest first.
	Activity() []Activity
	// Subscribe yields what happens from now on, until the context ends; a reader that is slow
	// loses the oldest. Its channel is closed at the end.
	Subscribe(ctx context.Context) <-chan Event

	// What follows are orders; by says who gives them, and why.

	// Approve lets exactly the hold with this ID through.
	Approve(ctx context.Context, id string, by upstream.Signature) error
	// Freeze leaves an upstream, or everything, as it is written now.
	Freeze(ctx context.Context, f FreezeRequest, by upstream.Signature) error
	// Unfreeze ends a freeze; name is "*" for that of everything.
	Unfreeze(ctx context.Context, name string, by upstream.Signature) error
	// RollbackPlan is what going back to a generation that is kept would do; it changes nothing.
	RollbackPlan(ctx context.Context, generation int) (RollbackPlan, error)
	// Rollback writes a generation that is kept again, pushes it, and freezes everything at it. It
	// returns when each gateway has shown it or has failed to, or after some seconds. What is written already
	// is left as it is.
	Rollback(ctx context.Context, generation int, by upstream.Signature) (RollbackResult, error)
}

// Kinds of a Daemon's errors: see [As].
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("not possible now")
	ErrInvalid  = errors.New("not valid")
)

// As says of what kind an error is, and leaves it its words.
func As(kind, err error) error { return &known{err, kind} }

type known struct{ cause, kind error }

func (e *known) Error() string   { return e.cause.Error() }
func (e *known) Unwrap() []error { return []error{e.cause, e.kind} }

// Everything names the freeze of all upstreams.
const Everything = upstream.EverythingText

// Status is what is true now.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Time    time.Time `json:"time"` // of this answer
	// Verdict is [Judge]'s on all of this.
	Verdict Verdict `json:"verdict"`
	// InSync says that every gateway's own answers show the newest generation.
	InSync bool `json:"in_step"`
	// Ready says that it is in sync and the registries are fresh; Reasons say why not, in words.
	Ready      bool       `json:"ready"`
	Reasons    []string   `json:"reasons"`
	Generation Generation `json:"generation"`
	// Upstreams and Servers are how many are accepted; Out is how many instances are registered
	// and get no traffic.
	Upstreams int `json:"upstreams"`
	Servers   int `json:"servers"`
	Out       int `json:"out"`
	// Unserved are the upstreams of registered services that keep their last servers, none of them usable.
	Unserved []Unserved `json:"without_healthy_server"`
	// LeftOut names the upstreams with the most instances out; OutOf is how many upstreams have any.
	LeftOut    []LeftOut  `json:"left_out"`
	OutOf      int        `json:"out_of"`
	Holds      []Hold     `json:"holds"`
	Freezes    []Freeze   `json:"freezes"`
	Registries []Registry `json:"registries"`
	Gateways   []Gateway  `json:"gateways"`
	// File is the conf file's path, FileError why it could not be written, "" where it could.
	File      string `json:"file"`
	FileError string `json:"file_error,omitempty"`
	// DamagedFile is the conf file as it was found damaged at a start and gave way to the history, for as long
	// as it is kept; "" where there is none.
	DamagedFile string `json:"damaged_file,omitempty"`
	// Alone says that no daemon answers: this is what the conf file and the gateways show.
	Alone bool `json:"alone,omitempty"`
}

// Unserved is an upstream that gets traffic although none of its servers is usable.
type Unserved struct {
	Upstream string `json:"upstream"`
	Servers  int    `json:"servers"` // those that are kept
	// Reasons say why they are not usable, a few of them, the most frequent first.
	Reasons []Reason `json:"reasons"`
}

// Reason is why so many instances are as they are.
type Reason struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// LeftOut is how many instances of one upstream are out.
type LeftOut struct {
	Upstream string   `json:"upstream"`
	Out      int      `json:"out"`
	Reasons  []Reason `json:"reasons"`
}

// Generation is one accepted set as it was written.
type Generation struct {
	Number int       `json:"number"` // 0: nothing was written yet
	Time   time.Time `json:"time"`
	Digest string    `json:"digest"`
	// Reason is why it was written, in words.
	Reason string `json:"reason"`
	// By is whose order led to it, "" where none did, and Why is that person's reason.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// Upstreams and Servers are how many it has.
	Upstreams int `json:"upstreams"`
	Servers   int `json:"servers"`
	// Summary is what it changed, in words; "" for the oldest that is kept.
	Summary string `json:"summary,omitempty"`
	// Damaged is why a generation in the history can't be used: its digest is wrong.
	Damaged string `json:"damaged,omitempty"`
}

// Registry is one registry.
type Registry struct {
	Name     string    `json:"name"`
	Answered time.Time `json:"answered"` // when its answer changed last; zero: never
	// Heard is when it gave its last good answer, news or not; zero: never. Where nothing changes it
	// answers when the wait is over only.
	Heard   time.Time `json:"heard"`
	Trouble string    `json:"trouble,omitempty"`
	// TroubleSince is since when it is in trouble; zero: it is in none.
	TroubleSince time.Time `json:"trouble_since"`
}

// Gateway is one gateway.
type Gateway struct {
	Name       string    `json:"name"`
	InSync     bool      `json:"in_step"`
	Generation int       `json:"generation"` // what it showed last
	Checked    time.Time `json:"checked"`    // zero: not yet
	Since      time.Time `json:"since"`      // since when it is, or is not, in sync
	Error      string    `json:"error,omitempty"`
	// Workers is empty where they can't be told apart.
	Workers []Worker `json:"workers"`
}

// Worker is one worker process of a gateway.
type Worker struct {
	ID     string    `json:"id"` // its process ID
	InSync bool      `json:"in_step"`
	Since  time.Time `json:"since"` // since when it is known
	Error  string    `json:"error,omitempty"`
}

// Hold is a change that the guard does not let through.
type Hold struct {
	ID       string       `json:"id"`
	Rule     string       `json:"rule"`
	Upstream string       `json:"upstream,omitempty"` // the one that the rule judged by itself; "": all together
	Reason   string       `json:"reason"`
	Since    time.Time    `json:"since"`
	Servers  []HeldServer `json:"servers"`            // those that stay because of it
	Of       int          `json:"of"`                 // of so many
	KeptOut  int          `json:"kept_out,omitempty"` // how many stay out because of it
}

// HeldServer stays although its registry does not list it as usable any more.
type HeldServer struct {
	Upstream string `json:"upstream"`
	Addr     string `json:"addr"`
	// Registered says that its registry lists it, and not as usable; else it is deregistered.
	Registered bool `json:"registered,omitempty"`
	// Witness is [Alive] or [Dead] where the witness tried it, "" where it tells nothing.
	Witness string `json:"witness,omitempty"`
}

// What the witness finds out of a server.
const (
	Alive = "alive" // it accepts connections, or answers
	Dead  = "dead"  // it does not
)

// Freeze leaves an upstream as it is.
type Freeze struct {
	Name  string    `json:"name"`  // Everything or one upstream's
	Until time.Time `json:"until"` // zero: until it is released
	// By is whose order it was, "" where that was not noted, and Why is that person's reason.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
}

// FreezeRequest asks for a freeze.
type FreezeRequest struct {
	Name string `json:"name"` // Everything or one upstream's
	// For is how long, as Go writes durations, e.g. "2h"; "" is until it is released.
	For string `json:"for,omitempty"`
}

// RollbackRequest asks for a rollback.
type RollbackRequest struct {
	Generation int `json:"generation"`
}

// RollbackPlan is what a rollback would do.
type RollbackPlan struct {
	Changes Changes `json:"changes"` // to the conf file
	// Opinion is what the guard would say of the step: "" where nothing speaks against it.
	Opinion string `json:"opinion,omitempty"`
	// Present says that it is what is written now: a rollback changes nothing and freezes nothing.
	Present bool `json:"present,omitempty"`
}

// RollbackResult is what a rollback led to.
type RollbackResult struct {
	Generation Generation `json:"generation"` // the new one, with the old one's upstreams
	// Opinion is what the guard would have said of the step: "" where nothing speaks against it.
	Opinion string `json:"opinion,omitempty"`
	// Present says that it was written already: nothing was changed and nothing frozen.
	Present bool `json:"present,omitempty"`
	// Gateways are as they are then: one that is out of sync does not have the generation yet.
	Gateways []Gateway `json:"gateways"`
}

// States of a server.
const (
	In     = "in"     // gets traffic
	Down   = "down"   // is in its upstream, marked down
	Held   = "held"   // is deregistered or not usable, and the guard keeps it
	Frozen = "frozen" // is in, and its upstream is frozen
	Out    = "out"    // is registered and gets no traffic
)

// Upstream is an upstream and its instances, in traffic or out.
type Upstream struct {
	Name    string   `json:"name"`
	Canary  string   `json:"canary,omitempty"`
	Frozen  bool     `json:"frozen"`
	Options []string `json:"options"` // nginx directives beside the servers
	Servers []Server `json:"servers"`
	// Trouble is the worst that is so of it: see [Trouble]. "": all of its servers simply serve.
	Trouble string `json:"trouble,omitempty"`
}

// Server is one instance.
type Server struct {
	Addr  string `json:"addr"`
	State string `json:"state"` // In, Down, Held, Frozen or Out
	// Reason is why, in words. It may hold text from a registry.
	Reason string `json:"reason"`
	// Detail is which instance is out, and what its check said. What is out alike has the same Reason without it.
	Detail  string    `json:"detail,omitempty"`
	Options string    `json:"options,omitempty"` // as nginx reads them, e.g. weight=2
	Origin  string    `json:"origin,omitempty"`  // the registries it comes from
	Since   time.Time `json:"since"`             // of its state; zero: since before the start, or not known
}

// Explanation is one upstream with what the registries say of it now.
type Explanation struct {
	Upstream
	Written   bool      `json:"written"`   // it is in the conf file
	Instances []Finding `json:"instances"` // what the registries say
	Notes     []string  `json:"notes"`     // what speaks of the whole upstream: a collision, a hold
}

// Finding is what a registry says of one instance.
type Finding struct {
	Registry string `json:"registry"`
	Addr     string `json:"addr"`
	In       bool   `json:"in"`
	Reason   string `json:"reason"` // which check, tag or rule
	Index    uint64 `json:"index"`  // of the registry's answer
}

// Plan is what the next pass would do.
type Plan struct {
	File     Changes       `json:"file"`            // to the conf file
	Hold     *Hold         `json:"hold"`            // what the guard would hold, the first of several
	Holds    []Hold        `json:"holds,omitempty"` // all of them where there are several
	Gateways []GatewayPlan `json:"gateways"`
}

// Held is all that the guard holds, or would hold.
func (p Plan) Held() []Hold {
	if p.Hold != nil && len(p.Holds) == 0 {
		return []Hold{*p.Hold}
	}
	return p.Holds
}

// GatewayPlan is what a gateway would need: it has drifted where File has no changes.
type GatewayPlan struct {
	Name string `json:"name"`
	// InSync says that it can be read and needs nothing more.
	InSync  bool    `json:"in_step"`
	Changes Changes `json:"changes"`
	Error   string  `json:"error,omitempty"` // it can't be read
}

// Changes lead from one set to another, in lines of nginx syntax.
type Changes struct {
	Summary string           `json:"summary"`
	Added   []ChangedLines   `json:"added"`
	Updated []UpstreamChange `json:"updated"`
	Removed []ChangedLines   `json:"removed"`
}

// ChangedLines is a whole upstream.
type ChangedLines struct {
	Name  string   `json:"name"`
	Lines []string `json:"lines"`
}

// UpstreamChange is what an update puts in and takes out.
type UpstreamChange struct {
	Name string   `json:"name"`
	In   []string `json:"in"`
	Out  []string `json:"out"`
}

// Event is something that happened.
type Event struct {
	ID         uint64    `json:"id"` // counts up
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"` // see syncer.Event
	Generation int       `json:"generation,omitempty"`
	Upstream   string    `json:"upstream,omitempty"`
	Addr       string    `json:"addr,omitempty"`
	Gateway    string    `json:"gateway,omitempty"`
	// Text says it in words.
	Text string `json:"text"`
	// By is whose order it came of, "" where it came of none, and Why is that person's reason.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// In and Out are, of a generation, how many servers began and ceased to get traffic. Of very many at
	// once not each has an event of its own.
	In  int `json:"in,omitempty"`
	Out int `json:"out,omitempty"`
	// TookMS is, where a gateway took a change, how long from the registry's answer, in milliseconds.
	TookMS float64 `json:"took_ms,omitempty"`
}
