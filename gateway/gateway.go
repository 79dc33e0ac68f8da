// Package gateway is the contract of what carries the traffic. A kind of gateway is a package that fulfils it,
// such as dyups, and a line in package kinds; nothing else knows its name.
package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"swallowkeeper/upstream"
)

// Gateway is what carries the traffic, such as an nginx that can be told other upstreams while it runs.
//
// A gateway reports what it really uses and changes that when it is told to. It decides nothing: which upstreams are
// wanted, which of the live ones are ours, and when to try again is up to its caller. Package gatewaytest holds each
// gateway to what follows.
//
// Its methods are called one after the other, never two at once. What they return is the caller's, and does not
// change afterwards. Nothing that a call started outlives it, but for connections that Close closes.
//
// Unknown is not empty. A gateway that can't be read returns an error, never a smaller set.
//
// A gateway keeps no plan and does not retry by itself for long: after an error the caller reads Live again and sends
// what still differs. So each change may be sent twice, and must be as good as sent once.
type Gateway interface {
	// Abilities says what the gateway can do. It asks nobody, and returns the same each time.
	Abilities() Abilities

	// Live reads what the gateway really uses, on all of its workers: its own answers, never what it was sent.
	//
	// An upstream about which the workers disagree has no servers in the answer, and so has one that some worker may
	// lack although all show it: it counts as different from any that is wanted, and is sent again. Upstreams that
	// others configured are in the answer as well.
	//
	// Where the gateway does not show an option, the answer has it as it was applied last, or as [Deps.Written] has it.
	//
	// A worker that does not answer any more is left out of it: then the answer is unsettled, or it is an error. It
	// returns soon after the context ends.
	Live(ctx context.Context) (Live, error)

	// Apply makes the changes: additions and updates first, removals after them, so that no request meets a gap.
	// Changes.Want is the whole set, for gateways that render all of it. Upstreams that are not in the changes stay as
	// they are, whoever configured them.
	//
	// It returns nil only after the gateway's own answers, from every worker that can be asked, showed the changes. That
	// a call was answered by success is no proof. Without changes it does nothing.
	//
	// After an error some of the changes may have been made, and Live shows which. The trouble of one upstream does not
	// keep it from the others, and the error names it. A removal of what is gone already is no error. Where workers
	// started meanwhile it returns an error, for they may lack what the others have.
	//
	// It returns soon after the context ends.
	Apply(ctx context.Context, c upstream.Changes) (Receipt, error)

	// Close closes the connections that are kept. It may be called again.
	Close() error
}

// Abilities is what is known of a gateway without asking it.
type Abilities struct {
	// Endpoint is the host and port at which it is told changes, "" for none. No registration may lead there.
	Endpoint string
	// NginxConf is the nginx.conf that it runs with where it is an nginx, [FindNginxConf] for the one that its workers
	// lead to, "" for none. The names that the file uses are taken.
	NginxConf string
}

// Live is what a gateway showed when it was asked.
type Live struct {
	// Set is all that it uses.
	Set upstream.Set
	// Reserved are names that its own configuration is known to have, in any order: nothing of ours may be called that.
	// A gateway that can't tell who configured an upstream names none.
	Reserved []string
	// Workers are its workers in order of their IDs, none where they can't be told apart.
	Workers []Worker
	// Unsettled says that it may be about to change by itself, and is to be asked again soon: a worker is gone and the
	// one that takes its place has not answered yet, or all of them were new a moment ago.
	Unsettled bool
}

// Receipt is what a gateway reports of changes that it has made.
type Receipt struct {
	// Posted is when it had accepted all of them; its workers follow. It is the zero time where there were none.
	Posted time.Time
	// Workers and Unsettled are as in [Live], after the changes.
	Workers   []Worker
	Unsettled bool
}

// Worker is one worker process of a gateway.
type Worker struct {
	// ID tells it from the others: its process ID, where it is a process.
	ID string
	// Since is since when it is known.
	Since time.Time
	// Err is why it does not have what it should, nil where it has.
	Err error
}

// Written is what the conf file held at the start. A gateway that can't show all that it uses takes what it does not
// show to be as it stands there, for nginx loaded that file. Its methods may be called from anywhere.
type Written struct{ set atomic.Pointer[upstream.Set] }

// Set notes what the file held. It is called before the gateway is asked for the first time.
func (w *Written) Set(s upstream.Set) {
	if w != nil {
		w.set.Store(&s)
	}
}

// Get is what the file held, the empty set where nobody noted it.
func (w *Written) Get() upstream.Set {
	if w == nil || w.set.Load() == nil {
		return upstream.Set{}
	}
	return *w.set.Load()
}

const (
	// FindNginxConf has the nginx.conf found that an nginx was started with.
	FindNginxConf = "auto"
	// DefaultNginxConf is where distributions put it.
	DefaultNginxConf = "/etc/nginx/nginx.conf"
)
