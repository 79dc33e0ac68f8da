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

// change is one upstream to post or to delete.
type change struct {
	name string
	want upstream.Upstream // without servers: delete it
	body []byte
	show showing

	// unsynced says that the workers which did not answer were never told.
	unsynced bool
	// probe is no change: asking is all that matters.
	probe bool
	// unread is why what the worker that was asked last shows of it can't be read.
	unread string
	err    error
}

func (c *change) deletes() bool { return c.body == nil }

// showing is where a worker shows that it has made a change.
type showing int

const (
	byAddresses showing = iota // in /upstream/NAME
	byOptions                  // in /detail alone
	nowhere                    // the worker's having been asked twice has to do
)

// Limits of one Apply.
const (
	namedErrors = 10       // so many upstreams are named in its error
	askedByName = 64       // from so many changes on each worker is asked for all at once
	sureBody    = 16 << 10 // nginx may cut longer bodies and say success
)

// Apply makes the changes: additions and updates, then removals. It returns nil once
// every worker that can be asked has shown them. The trouble of one upstream does
// not keep it from the others; when nginx is not there it ends at once.
func (g *Gateway) Apply(ctx context.Context, c upstream.Changes) (gateway.Receipt, error) {
	g.remember()
	changes := changesOf(c)
	if len(changes) == 0 {
		return g.receipt(time.Time{}), nil
	}
	arrived := g.workers.arrived // before meet: a worker that it finds was never compared
	if err := g.workers.meet(ctx, false); err != nil {
		return gateway.Receipt{}, err
	}
	g.spareTwins(changes)
	if err := g.push(ctx, changes); err != nil {
		g.doubt(changes) // some worker may have those that were sent
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
		g.doubt(changes) // what is changed during a reload can be lost
		err = errors.Join(err, errors.New("nginx workers started meanwhile: all that they have must be compared"))
	}
	if err != nil {
		return gateway.Receipt{}, err
	}
	return g.receipt(posted), nil
}

func (g *Gateway) receipt(posted time.Time) gateway.Receipt {
	return gateway.Receipt{Posted: posted, Workers: g.crew, Unsettled: g.workers.incomplete()}
}

// spareTwins refuses changes of upstreams of which nginx has several under names that differ in case
// alone: a post replaces the first that it finds, and that may be one of nginx's own configuration.
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
		if len(p.body) > sureBody && show == byAddresses {
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
	case len(u.Old.Servers) == 0: // the workers differ: some may show the new addresses already
		return byOptions
	case u.Old.Servers[0] == upstream.Server{}: // it could not be read, and its addresses alone may be readable
		return byOptions
	case u.Old.Name != u.New.Name: // another spelling, which nginx takes for the same name
		return byOptions
	case !slices.EqualFunc(u.Old.Servers, u.New.Servers, sameAddr):
		return byAddresses
	case !slices.EqualFunc(u.Old.Servers, u.New.Servers, upstream.Server.Same):
		return byOptions
	default:
		return nowhere
	}
}

// doubt has Live take the changes as not made, where it can't see.
func (g *Gateway) doubt(changes []*change) {
	for _, c := range changes {
		if !c.deletes() {
			g.memory.doubt(c.name)
		}
	}
}

// summary joins what is wrong with single upstreams, and names the first of them.
func summary(changes []*change) error {
	var errs []error
	more := 0
	for _, c := range changes {
		switch {
		case c.err == nil:
		case len(errs) == namedErrors:
			more++
		case isAnswer(c.err): // names the upstream itself
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
