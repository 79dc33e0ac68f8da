package dyups

import (
	"context"
	"slices"
	"time"
)

// Limits for sending one change.
const (
	maxSends  = 2  // if connections break
	lockTries = 12 // while another call holds the lock
	maxWait   = 50 * time.Millisecond
)

// push sends each change to one worker. It returns errors that end the whole push; the error of a single change is
// stored in it.
func (g *Gateway) push(ctx context.Context, changes []*change) error {
	stuck := false // the queue does not drain, because a worker hangs
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
		for try := 1; partly(err) && !stuck && try < maxTries; try++ {
			if drained := g.drain(ctx, c, last); drained != nil {
				return drained
			}
			err = g.sendToOne(ctx, c)
			stuck = partly(err) && try == maxTries-1
		}
		switch {
		case err == nil:
			last = c
		case partly(err) && !g.workers.plain:
			c.unsynced = true // confirm sends it to each worker
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

// sendToOne sends a change to one worker, and if its connection breaks, to another: all calls may be repeated. A post
// is sent to at most two workers, because one that kills workers must not reach all of them. A deletion is tried more
// often: if the lock is taken (dyups_trylock), Tengine fails to write its answer and closes the connection.
func (g *Gateway) sendToOne(ctx context.Context, c *change) error {
	most := maxSends
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
		if err == nil || isAnswer(err) || ctx.Err() != nil || try == most || try == maxSends && !closedByPeer(err) {
			return err
		}
		w.link.close()
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, maxWait)
	}
}

// send sends a change to one worker. If the lock is taken (dyups_trylock), it repeats the call. Deleting an upstream
// that does not exist counts as success.
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
		pause = min(2*pause, maxWait)
	}
}

// drain empties the shared queue by asking every worker, which makes it read the queue. If workers can't be asked one
// by one, it waits for their timer. last is the last change queued, if any.
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
