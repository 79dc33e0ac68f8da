// Package gateway defines the contract for whatever carries the traffic. A kind of gateway is a package that implements
// it, such as dyups, and a line in package kinds. No other code names it.
package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"swallowkeeper/upstream"
)

// Gateway is what carries the traffic, such as an nginx whose upstreams can be changed while it runs.
//
// A gateway reports what it really uses, and applies changes. It decides nothing: the caller decides which upstreams
// are wanted, which of the live ones are ours, and when to retry. Package gatewaytest tests each gateway against this
// contract.
//
// Methods are not called concurrently. Results belong to the caller and do not change afterwards. Nothing that a call
// starts outlives it, except connections that Close closes.
//
// Unknown is not empty. If a gateway can't be read, it returns an error, never a smaller set.
//
// A gateway keeps no plan and retries only briefly: after an error, the caller reads Live again and sends the remaining
// differences. So a change may be sent twice, and the second time must have no effect.
type Gateway interface {
	// Abilities returns what the gateway can do. It makes no request and always returns the same.
	Abilities() Abilities

	// Live returns what the gateway really uses, on all of its workers: from its own answers, never from what it was
	// sent.
	//
	// An upstream has no servers in the result if the workers disagree about it, or if some worker may lack it although
	// all show it. It then differs from any wanted upstream and is sent again. Upstreams that others configured are
	// included.
	//
	// Options that the gateway does not show are as last applied, or as in [Deps.Written].
	//
	// A worker that no longer answers is omitted. Before that, Live returns an error or an unsettled result until one
	// result was unsettled and the gateway considers the worker gone. Live returns soon after ctx ends.
	Live(ctx context.Context) (Live, error)

	// Apply makes the changes: additions and updates first, then removals, so that no request fails in between.
	// Changes.Want is the complete set, for gateways that render all of it. It has nothing that the gateway does not
	// support: see [Admit]. Upstreams that are not in the changes stay as they are, whoever configured them.
	//
	// It returns nil only after the gateway's own answers, from every worker that can be asked, showed the changes. A
	// successful response to a change is no proof. Without changes, it does nothing.
	//
	// After an error, some changes may have been made; Live shows which. A failure of one upstream does not affect the
	// others, and the error names it. Removing an upstream that does not exist is not an error. If workers started
	// meanwhile, Apply returns an error, because they may lack changes.
	//
	// It returns soon after ctx ends.
	Apply(ctx context.Context, c upstream.Changes) (Receipt, error)

	// Close closes the kept connections. It may be called again.
	Close() error
}

// Abilities is what is known about a gateway without asking it.
type Abilities struct {
	// Endpoint is the host and port where it receives changes, or "". No registration may point there.
	Endpoint string
	// NginxConf is the nginx.conf of a gateway that is an nginx; [FindNginxConf] finds it through the running workers,
	// and "" means none. Names used in the file are reserved.
	NginxConf string
	// Folder is where it writes files that nginx includes, or "". Their content is ours.
	Folder string
	// Interval is the minimum time between changes. Changes in between are sent together.
	Interval time.Duration
	// Methods are the supported balancing methods; nil means all: see [Admit].
	Methods []Method
	// LoneBackups reports whether an upstream may have only backups.
	LoneBackups bool
	// NoBackups reports that it does not support backup servers.
	NoBackups bool
	// Routes describes its support of routes. The zero value means none.
	Routes Routes
}

// Live is what a gateway showed.
type Live struct {
	// Set is everything that it uses.
	Set upstream.Set
	// Reserved are the names in its own configuration, in any order: no upstream of ours may use them. If a gateway
	// can't tell who configured an upstream, it is empty.
	Reserved []string
	// Workers are its workers, sorted by ID; none if they can't be distinguished.
	Workers []Worker
	// Unsettled reports that the state may soon change by itself, so Live should be called again: a worker is gone and
	// its replacement has not answered yet, or all workers were new recently.
	Unsettled bool
}

// Receipt is the result of applying changes.
type Receipt struct {
	// Posted is when the gateway had accepted all changes; its workers follow. It is zero if there were none.
	Posted time.Time
	// Workers and Unsettled are as in [Live], after the changes.
	Workers   []Worker
	Unsettled bool
}

// Worker is a worker process of a gateway.
type Worker struct {
	// ID identifies it: the process ID, if it is a process.
	ID string
	// Since is when it was first seen.
	Since time.Time
	// Err is why it lacks something that it should have, or nil.
	Err error
}

// Written is the content of the conf file at startup. A gateway that can't show everything it uses assumes that the
// rest is as in that file, because nginx loaded it. Written is safe for concurrent use.
type Written struct{ set atomic.Pointer[upstream.Set] }

// Set stores the content. It is called before the gateway's first call.
func (w *Written) Set(s upstream.Set) {
	if w != nil {
		w.set.Store(&s)
	}
}

// Get returns the content, or the empty set if none was stored.
func (w *Written) Get() upstream.Set {
	if w == nil || w.set.Load() == nil {
		return upstream.Set{}
	}
	return *w.set.Load()
}

const (
	// FindNginxConf means the nginx.conf that nginx was started with.
	FindNginxConf = "auto"
	// DefaultNginxConf is the path used by distributions.
	DefaultNginxConf = "/etc/nginx/nginx.conf"
)
