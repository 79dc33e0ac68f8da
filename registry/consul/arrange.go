package consul

import (
	"context"
	"slices"

	"github.com/sirupsen/logrus"
)

// arrange gives services their own watches as far as connections allow, and covers the others according to the plan.
// Services that changed last have precedence. The mutex is held.
func (w *watch) arrange() {
	p := decide(w.room, len(w.services), w.nodeCount)
	if w.only != nil {
		p = *w.only
	}
	w.tell(p)
	old := w.plan.way
	w.plan = p
	var own, swept []*service
	for _, s := range w.order {
		if s.stop != nil {
			own = append(own, s)
		} else {
			swept = append(swept, s)
		}
	}
	latest := func(a, b *service) int { return b.changed.Compare(a.changed) }
	if len(own) > p.watches {
		slices.SortStableFunc(own, latest)
		for _, s := range own[p.watches:] {
			w.demote(s)
		}
	} else if free := min(p.watches-len(own), len(swept)); free > 0 {
		slices.SortStableFunc(swept, latest)
		for _, s := range swept[:free] {
			w.watchService(s)
		}
	}
	if w.stopSweep != nil && (p.way == each || p.way == byIndex != (old == byIndex)) {
		w.stopSweep()
		w.stopSweep = nil
		clear(w.nodes)
	}
	if p.way == each {
		return
	}
	if w.stopSweep == nil {
		w.sweep(p)
	}
	w.arrangeNodes()
	for _, s := range w.order {
		if s.stop == nil && !s.known {
			w.queue.add(s)
		}
	}
}

// tell logs how services are watched if that has changed.
func (w *watch) tell(p plan) {
	w.endpoint.metrics.watched(w.name, p.watches, len(w.services)-p.watches, p.way)
	if p.way == w.toldWay || p.way == bySearch && w.nodeCount < 0 {
		return
	}
	w.toldWay = p.way
	log := w.log.WithFields(logrus.Fields{
		"way": p.way.String(), "services": len(w.services), "own": p.watches, "connections": w.room.watches,
	})
	switch {
	case p.way != bySearch && p.way != byNode:
		log.Info("each service is watched by a query")
	case w.room.files && !w.saidFiles:
		w.saidFiles = true
		log.Warn("the limit of open files leaves too few connections to watch every service: changes of some are found " +
			"in other ways, which is slower; raise it (LimitNOFILE, ulimit -n)")
	default:
		log.Info("more services than connections: changes of those without a query are found " + map[way]string{
			byNode: "by a query for each node", bySearch: "by asking for their indexes",
		}[p.way])
	}
}

// demote leaves a service to the sweep. It is marked as swept before it is read again, so no change in between is
// missed. The mutex is held.
func (w *watch) demote(s *service) {
	stop := s.stop
	s.stop = nil
	stop()
	w.queue.add(s)
}

// promote gives a swept service that just changed its own watch, replacing the one that has been unchanged for longest,
// as changes come in series. If many change at once, most stay where they are, as each move costs a connection and a
// read. The mutex is held.
func (w *watch) promote(s *service) {
	var oldest *service
	for _, o := range w.order {
		if o.stop != nil && (oldest == nil || o.changed.Before(oldest.changed)) {
			oldest = o
		}
	}
	if oldest == nil || s.changed.Sub(oldest.changed) < w.calm {
		return
	}
	w.demote(oldest)
	w.watchService(s)
}

// sweep covers the services without their own watch: readers read those that may have changed, and occasionally all of
// them to be safe. The mutex is held.
func (w *watch) sweep(p plan) {
	ctx, stop := context.WithCancel(w.ctx)
	w.sweeping, w.stopSweep = ctx, stop
	w.unwell = nil
	for _, s := range w.order {
		if s.stop == nil {
			w.queue.add(s)
		}
	}
	for range p.readers {
		w.loops.Go(func() { w.sweeper(ctx) })
	}
	for range min(p.readers, askers) {
		w.loops.Go(func() { w.asker(ctx) })
	}
	w.loops.Go(func() { w.rotate(ctx) })
	if p.way == byIndex {
		w.watchIndexes(ctx)
		return
	}
	w.loops.Go(func() {
		w.supervise(ctx, unwellLoop, "read the checks that are not passing", func(ctx context.Context) error {
			return w.follow(ctx, unwellLoop, w.readUnwell)
		})
	})
	if !w.nodeLoop {
		w.nodeLoop = true
		w.loops.Go(func() { w.watchNodes(w.ctx) })
	}
}
