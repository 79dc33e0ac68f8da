package dyups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// asks is how often a worker that shows the old state is asked again, after waits
// that double from one millisecond. Only one that finds the queue locked each time
// is still behind then, or one that the change never reached.
const asks = 9

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
			if c.err == nil && c.unread != "" {
				c.err = fmt.Errorf("%s took it, and what it shows can't be read: %s", w, c.unread)
			} else if c.err == nil {
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
	whole := len(changes) > askedByName || len(changes) > 1 && g.workers.slow.limited() // the fewer calls the better
	for _, c := range changes {
		whole = whole || c.show == byOptions
	}
	if whole && !g.noDetail {
		if err := g.read(ctx, w); err != nil {
			return nil, err
		}
		for _, c := range changes {
			u, ok := w.copy.set.Get(c.name)
			c.unread = w.copy.why(c.name)
			if !c.matches(u, ok, w.copy.shows) || first && c.show == nowhere {
				left = append(left, c)
			}
		}
		return left, nil
	}
	for _, c := range changes {
		u, ok, why, err := g.readOne(ctx, w, c.name)
		if err != nil {
			return nil, err
		}
		c.unread = why
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
