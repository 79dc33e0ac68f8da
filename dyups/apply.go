package dyups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	err   error
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
	sends       = 2        // of a change, where connections break
	lockTries   = 12       // of a change while another call holds the lock
	longestWait = 50 * time.Millisecond
)

// asks is how often a worker that shows the old state is asked again, after waits
// that double from one millisecond. Only one that finds the queue locked each time
// is still behind then, or one that the change never reached.
const asks = 9

// Apply makes the changes: additions and updates, then removals. It returns nil once
// every worker that can be asked has shown them. The trouble of one upstream does
// not keep it from the others; when nginx is not there it ends at once.
func (g *Gateway) Apply(ctx context.Context, c upstream.Changes) error {
	changes := changesOf(c)
	if len(changes) == 0 {
		return nil
	}
	if err := g.workers.meet(ctx, false); err != nil {
		return err
	}
	arrived := g.workers.arrived
	if err := g.push(ctx, changes); err != nil {
		return errors.Join(summary(changes), err)
	}
	if err := g.confirm(ctx, changes); err != nil {
		g.doubt(changes)
		return errors.Join(summary(changes), err)
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
	err := summary(changes)
	if g.workers.arrived != arrived {
		g.doubt(changes) // what is changed during a reload can be lost
		err = errors.Join(err, errors.New("nginx workers started meanwhile: all that they have must be compared"))
	}
	return err
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

// push sends each change to one worker. Its error ends all; that of one change is kept there.
func (g *Gateway) push(ctx context.Context, changes []*change) error {
	stuck := false // the queue does not drain: some worker hangs
	var last *change
	for _, c := range changes {
		if c.err != nil {
			continue
		}
		if g.pace.full(len(c.name), len(c.body)) {
			if err := g.drain(ctx, c, last); err != nil {
				return err
			}
		}
		err := g.sendToOne(ctx, c)
		for try := 1; partly(err) && !stuck && try < tries; try++ {
			if drained := g.drain(ctx, c, last); drained != nil {
				return drained
			}
			err = g.sendToOne(ctx, c)
			stuck = partly(err) && try == tries-1
		}
		switch {
		case err == nil:
			last = c
		case partly(err) && !g.workers.plain:
			c.unsynced = true // confirm tells each worker by itself
		case isAnswer(err):
			c.err = err
			if partly(err) {
				g.memory.doubt(c.name)
			}
		default:
			g.memory.doubt(c.name)
			return err
		}
	}
	return nil
}

func partly(err error) bool {
	e := answerOf(err)
	return e != nil && e.PartlyApplied()
}

// sendToOne sends a change to one worker, or where its connection breaks to another: all
// calls may be repeated. A post goes no further, as one that kills workers must not be
// sent to all of them. A deletion does: where it finds the lock taken (dyups_trylock),
// Tengine stumbles over its own answer and closes the connection instead.
func (g *Gateway) sendToOne(ctx context.Context, c *change) error {
	most := sends
	if c.deletes() {
		most = lockTries
	}
	pause := time.Millisecond
	for try := 1; ; try++ {
		w, err := g.workers.one(ctx)
		if err != nil {
			return err
		}
		err = g.send(ctx, w, c)
		if err == nil || isAnswer(err) || ctx.Err() != nil || try == most || try == sends && !closedByPeer(err) {
			return err
		}
		w.link.close()
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestWait)
	}
}

// send sends a change to one worker. A call that finds the lock taken (dyups_trylock) is
// repeated, a deletion of what is gone already is done.
func (g *Gateway) send(ctx context.Context, w *worker, c *change) error {
	pause := time.Millisecond
	for try := 1; ; try++ {
		err := g.call(ctx, func(ctx context.Context) error {
			if c.deletes() {
				return w.client.Delete(ctx, c.name)
			}
			return w.client.Post(ctx, c.name, c.body)
		})
		e := answerOf(err)
		switch {
		case err == nil:
			g.pace.charge(len(c.name), len(c.body))
			return nil
		case e != nil && c.deletes() && e.NotFound():
			return nil
		case e == nil || !e.Temporary() || try == lockTries:
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestWait)
	}
}

// drain empties the shared queue: every worker that is asked reads it. Where they can't be
// asked one by one, only their timer does. last is what the queue took last, if anything.
func (g *Gateway) drain(ctx context.Context, next, last *change) error {
	defer g.pace.drained()
	if g.workers.plain {
		return wait(ctx, g.config.ReadMsgTimeout+g.config.ReadMsgTimeout/5)
	}
	if last == nil {
		last = &change{name: next.name, show: nowhere, probe: true}
	}
	if err := g.workers.meet(ctx, false); err != nil {
		return err
	}
	_, err := g.await(ctx, slices.Clone(g.workers.list), []*change{last})
	return err
}

// confirm has every worker show the changes. One that does not is sent them on its own
// connection, and asked again.
func (g *Gateway) confirm(ctx context.Context, changes []*change) error {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c *change) bool { return c.err != nil })
	confirmed := map[string]bool{}
	for try := 1; len(changes) > 0; try++ {
		var ask []*worker
		for _, w := range slices.Backward(g.workers.list) { // the one that took the changes last
			if !confirmed[w.pid] {
				ask = append(ask, w)
			}
		}
		behind, err := g.await(ctx, ask, changes)
		if err != nil {
			return err
		}
		if err := g.repair(ctx, behind); err != nil {
			return err
		}
		broken := false
		for _, w := range ask {
			// A connection that served its last answer has shown what was asked.
			_, confirmed[w.pid] = behind[w]
			broken = broken || !confirmed[w.pid]
		}
		switch {
		case !broken:
			return nil
		case try == tries:
			return errors.New("nginx workers broke their connections before they had shown the changes")
		}
		if err := g.workers.meet(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// await asks the workers one after the other, and again those that are behind. It returns,
// for each worker that answered to the end, the changes that it does not show.
func (g *Gateway) await(ctx context.Context, ask []*worker, changes []*change) (map[*worker][]*change, error) {
	behind := make(map[*worker][]*change, len(ask))
	for _, w := range ask {
		behind[w] = changes
	}
	pause := time.Millisecond
	for try := 1; ; try++ {
		done := true
		for _, w := range ask {
			left, alive := behind[w]
			if !alive || try > 1 && len(left) == 0 {
				continue
			}
			left, err := g.unseen(ctx, w, left, try == 1)
			switch {
			case err == nil:
				behind[w] = left
				done = done && len(left) == 0
			case ctx.Err() != nil:
				return nil, err
			default:
				g.log.WithError(err).Debugf("%s did not answer", w)
				w.link.close()
				delete(behind, w)
			}
		}
		if done || try == asks {
			return behind, nil
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, longestWait)
	}
}

// repair sends workers what they lack, each on its own connection. Those that do not
// answer to the end are taken out of behind.
func (g *Gateway) repair(ctx context.Context, behind map[*worker][]*change) error {
	for asked, left := range behind {
		if len(left) == 0 {
			continue
		}
		w := asked
		g.log.WithField("upstreams", len(left)).Warnf("%s lacks changes, it is sent them by itself", w)
		for _, c := range left {
			if w = g.again(ctx, w); w == nil {
				break
			}
			// Whether others were told of it is of no interest here: each is asked.
			err := g.send(ctx, w, c)
			switch {
			case ctx.Err() != nil:
				return err
			case err == nil || partly(err):
			case isAnswer(err):
				c.err = fmt.Errorf("%s: %w", w, err)
			default:
				g.log.WithError(err).Debugf("%s did not answer", w)
				w.link.close()
			}
		}
		for _, c := range left {
			c.unsynced = false
		}
		if w == nil {
			delete(behind, asked)
			continue
		}
		still, err := g.await(ctx, []*worker{w}, left)
		if err != nil {
			return err
		}
		if _, alive := still[w]; !alive {
			delete(behind, asked)
		}
		for _, c := range still[w] {
			if c.err == nil {
				c.err = fmt.Errorf("%s still shows the state before", w)
			}
			g.memory.doubt(c.name)
		}
	}
	return nil
}

// again is the same worker, by another connection where nginx has closed the one there was:
// it does after keepalive_requests. It is nil where the worker is not found.
func (g *Gateway) again(ctx context.Context, w *worker) *worker {
	if w.link.usable() {
		return w
	}
	if err := g.workers.meet(ctx, false); err != nil {
		return nil
	}
	for _, o := range g.workers.list {
		if o.pid == w.pid {
			return o
		}
	}
	return nil
}

// unseen asks a worker and returns the changes that it does not show.
func (g *Gateway) unseen(ctx context.Context, w *worker, changes []*change, first bool) ([]*change, error) {
	var left []*change
	whole := len(changes) > askedByName
	for _, c := range changes {
		whole = whole || c.show == byOptions
	}
	if whole && !g.noDetail {
		if err := g.read(ctx, w); err != nil {
			return nil, err
		}
		for _, c := range changes {
			u, ok := w.copy.set.Get(c.name)
			if !c.matches(u, ok, w.copy.shows) || first && c.show == nowhere {
				left = append(left, c)
			}
		}
		return left, nil
	}
	for _, c := range changes {
		u, ok, err := g.readOne(ctx, w, c.name)
		if err != nil {
			return nil, err
		}
		if !c.matches(u, ok, addressesOnly) || first && c.show == nowhere {
			left = append(left, c)
		}
	}
	return left, nil
}

// matches reports whether a worker's copy is as the change wants it.
func (c *change) matches(u upstream.Upstream, ok bool, shows shown) bool {
	if c.unsynced || c.probe {
		return c.probe
	}
	if c.deletes() || !ok {
		return c.deletes() && !ok
	}
	if u.Name != c.name {
		return false
	}
	return slices.EqualFunc(u.Servers, c.want.Servers, func(a, b upstream.Server) bool {
		switch shows {
		case addressesOnly:
			return a.Addr == b.Addr
		case butMaxConns:
			a.MaxConns = b.MaxConns
		}
		return a.Same(b)
	})
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
