package dyups

import (
	"context"
	"slices"
	"time"
)

// Limits of sending one change.
const (
	sends       = 2  // where connections break
	lockTries   = 12 // while another call holds the lock
	longestWait = 50 * time.Millisecond
)

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
