package dyups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// change is an upstream to post or delete.
type change struct {
	name string
	want upstream.Upstream // no servers: delete it
	body []byte
	show showing

	// unsynced reports that workers other than the one that answered were never notified.
	unsynced bool
	// probe marks a pseudo-change: its only purpose is to make each worker answer once.
	probe bool
	// unread says why the last answer about the upstream can't be read.
	unread string
	err    error
}

func (c *change) deletes() bool { return c.body == nil }

// showing is where a worker's answers show that it made a change.
type showing int

const (
	byAddresses showing = iota // in /upstream/NAME
	byOptions                  // only in /detail
	nowhere                    // not at all: asking the worker twice has to do
)

// Limits of one Apply call.
const (
	namedErrors = 10       // maximum number of upstreams named in an error
	maxByName   = 64       // with more changes than this, read each worker's whole copy
	safeBody    = 16 << 10 // nginx may truncate longer bodies and still report success
)

// Apply makes the changes: additions and updates first, then removals. It returns nil once every reachable worker has
// shown them. An error of one upstream does not affect the others. If nginx does not answer, Apply returns at once.
func (g *Gateway) Apply(ctx context.Context, c upstream.Changes) (gateway.Receipt, error) {
	g.remember()
	changes := changesOf(c)
	if len(changes) == 0 {
		return g.receipt(time.Time{}), nil
	}
	arrived := g.workers.arrived // read before meet: new workers that meet finds have not been compared
	if err := g.workers.meet(ctx, false); err != nil {
		return gateway.Receipt{}, err
	}
	g.spareTwins(changes)
	if err := g.push(ctx, changes); err != nil {
		g.doubt(changes) // some workers may have what was sent
		return gateway.Receipt{}, errors.Join(summary(changes), err)
	}
	posted := time.Now()
	if err := g.confirm(ctx, changes); err != nil {
		g.doubt(changes)
		return gateway.Receipt{}, errors.Join(summary(changes), err)
	}
	for _, c := range changes {
		switch {
		case c.err != nil:
		case c.deletes():
			g.memory.removed(c.name)
		default:
			g.memory.posted(c.want)
		}
	}
	g.agreed()
	err := summary(changes)
	if g.workers.arrived != arrived {
		g.doubt(changes) // changes made during a reload may be lost
		err = errors.Join(err, errors.New("nginx workers started meanwhile: all that they have must be compared"))
	}
	if err != nil {
		return gateway.Receipt{}, err
	}
	return g.receipt(posted), nil
}

func (g *Gateway) receipt(posted time.Time) gateway.Receipt {
	return gateway.Receipt{Posted: posted, Workers: g.crew, Unsettled: g.workers.unsettled()}
}

// spareTwins rejects changes to upstreams that nginx has several times under names that differ only in case: a post
// replaces the first match, which may come from nginx's own configuration.
func (g *Gateway) spareTwins(changes []*change) {
	for _, c := range changes {
		for _, w := range g.workers.list {
			if twins := w.copy.twins(c.name); twins != "" && c.err == nil {
				c.err = fmt.Errorf("%s: rename the one of nginx's own configuration", twins)
			}
		}
	}
}

func changesOf(c upstream.Changes) []*change {
	changes := make([]*change, 0, len(c.Added)+len(c.Updated)+len(c.Removed))
	post := func(u upstream.Upstream, show showing) {
		p := &change{name: u.Name, want: u, show: show}
		if p.err = nginxconf.Valid(u); p.err == nil {
			p.body = nginxconf.AppendBody(nil, u)
		}
		if len(p.body) > safeBody && show == byAddresses {
			p.show = byOptions
		}
		changes = append(changes, p)
	}
	for _, u := range c.Added {
		post(u, byAddresses)
	}
	for _, u := range c.Updated {
		post(u.New, showingOf(u))
	}
	for _, u := range c.Removed {
		changes = append(changes, &change{name: u.Name, show: byAddresses})
	}
	return changes
}

func showingOf(u upstream.Update) showing {
	sameAddr := func(a, b upstream.Server) bool { return a.Addr == b.Addr }
	switch {
	case len(u.Old.Servers) == 0: // the workers differ: some may already show the new addresses
		return byOptions
	case u.Old.Servers[0] == upstream.Server{}: // it could not be read; its addresses may still be readable
		return byOptions
	case u.Old.Name != u.New.Name: // another spelling; to nginx it is the same name
		return byOptions
	case !slices.EqualFunc(u.Old.Servers, u.New.Servers, sameAddr):
		return byAddresses
	case !slices.EqualFunc(u.Old.Servers, u.New.Servers, upstream.Server.Same):
		return byOptions
	default:
		return nowhere
	}
}

// doubt makes Live treat the upstreams as not updated if the answers can't tell.
func (g *Gateway) doubt(changes []*change) {
	for _, c := range changes {
		if !c.deletes() {
			g.memory.doubt(c.name)
		}
	}
}

// summary joins the errors of single upstreams; it names the first namedErrors of them.
func summary(changes []*change) error {
	var errs []error
	more := 0
	for _, c := range changes {
		switch {
		case c.err == nil:
		case len(errs) == namedErrors:
			more++
		case isAnswer(c.err): // the error names the upstream itself
			errs = append(errs, c.err)
		default:
			errs = append(errs, fmt.Errorf("%s: %w", what("upstream", c.name), c.err))
		}
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("and %d more upstreams", more))
	}
	return errors.Join(errs...)
}
