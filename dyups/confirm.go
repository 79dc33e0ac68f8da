package dyups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// maxAsks is how often a worker is asked until it shows the new state. The waits between double from one millisecond. A
// worker still behind after that has found the queue locked each time, or the change never reached it.
const maxAsks = 9

// confirm waits until every worker shows the changes. A worker that lacks some is sent them on its own connection, and
// asked again.
func (g *Gateway) confirm(ctx context.Context, changes []*change) error {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c *change) bool { return c.err != nil })
	confirmed := map[string]bool{}
	for try := 1; len(changes) > 0; try++ {
		var ask []*worker
		for _, w := range slices.Backward(g.workers.list) { // the one that received the changes comes last
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
			// A worker that answered to the end has shown what was asked.
			_, confirmed[w.pid] = behind[w]
			broken = broken || !confirmed[w.pid]
		}
		switch {
		case !broken:
			return nil
		case try == maxTries:
			return errors.New("nginx workers broke their connections before they had shown the changes")
		}
		if err := g.workers.meet(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// await asks the workers in turn, and those that are behind again. For each worker that answered to the end, it returns
// the changes that the worker does not show.
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
			left, err := g.lacking(ctx, w, left, try == 1)
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
		if done || try == maxAsks {
			return behind, nil
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, maxWait)
	}
}

// repair sends each worker the changes it lacks, on its own connection. Workers that do not answer to the end are
// removed from behind.
func (g *Gateway) repair(ctx context.Context, behind map[*worker][]*change) error {
	for asked, left := range behind {
		if len(left) == 0 {
			continue
		}
		w := asked
		g.log.WithField("upstreams", len(left)).Warnf("%s lacks changes, it is sent them by itself", w)
		for _, c := range left {
			if w = g.reconnect(ctx, w); w == nil {
				break
			}
			// Whether the change was queued for others does not matter here: each worker is asked.
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

// reconnect returns the same worker, with a new connection if nginx closed the old one, as it does after
// keepalive_requests. It returns nil if the worker is not found.
func (g *Gateway) reconnect(ctx context.Context, w *worker) *worker {
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

// lacking asks a worker and returns the changes it does not show.
func (g *Gateway) lacking(ctx context.Context, w *worker, changes []*change, first bool) ([]*change, error) {
	var left []*change
	shown, err := g.shown(ctx, w, changes)
	if err != nil {
		return nil, err
	}
	if shown != nil {
		for _, c := range changes {
			u, ok := shown.set.Get(c.name)
			c.unread = shown.why(c.name)
			if !c.matches(u, ok, shown.shows) || first && c.show == nowhere {
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

// shown reads a worker's view of the changes in one answer. It returns nil if each upstream must be asked by name.
func (g *Gateway) shown(ctx context.Context, w *worker, changes []*change) (*copyOf, error) {
	byOption := func(c *change) bool { return c.show == byOptions }
	switch {
	case g.noDetail:
		return nil, nil //nolint:nilnil // documented above
	case len(changes) > maxByName:
		err := g.read(ctx, w)
		return w.copy, err
	case len(changes) > 1 && g.workers.slow.limited() || slices.ContainsFunc(changes, byOption): // make as few calls as possible
		return g.glimpse(ctx, w, changes)
	}
	return nil, nil //nolint:nilnil // documented above
}

// matches reports whether the worker's copy has the change.
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
