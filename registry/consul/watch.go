package consul

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"swallowkeeper/upstream"
)

// watch is one run of Registry.Watch: what is known so far, and the loops that keep it.
type watch struct {
	*Registry
	client  *client
	limit   int
	files   bool // the limit of open files is what sets it
	publish func(upstream.Set)
	hosts   *hosts
	dirty   note // something may have to be published
	// replaced says that the servers' state may not be the one that is waited on.
	replaced note
	queue    *queue
	seed     maphash.Seed
	loops    sync.WaitGroup
	ctx      context.Context //nolint:containedctx // the life of the run, for loops that begin later
	// listIndex is that of the last list that was believed. A lower one comes from a server that has not read
	// all of its log yet, or began anew: the leader must confirm it. Only the list's loop uses it.
	listIndex uint64

	mu        sync.Mutex
	listed    bool
	changes   int // how often something to publish has changed
	published int // how many of the changes are published
	services  map[string]*service
	order     []*service // by name
	gone      departed   // services that left the list after they were known
	refused   []upstream.Out
	stopSweep context.CancelFunc // nil while every service has its own watch
	unwell    *unwell            // nil until it was read
}

// service is what is known of one selected service. The watch's mutex guards it, but for
// index and turn.
type service struct {
	name    string
	loop    string
	known   bool
	back    bool // it left the list, and is listed again
	set     upstream.Set
	changed time.Time
	// hosted are the instances as they came, kept where some have host names.
	hosted []*api.ServiceEntry
	// stop ends the service's own watch; nil means that it is covered by sweeping.
	stop context.CancelFunc
	// index is that of the last answer that was believed, as listIndex is. Only who has the turn uses it.
	index uint64
	// turn is held by whoever reads the service, so that no older answer overtakes a newer.
	turn chan struct{}
	cover
}

func newWatch(r *Registry, c *client, limit int, publish func(upstream.Set)) *watch {
	return &watch{
		Registry: r, client: c, limit: limit, publish: publish,
		hosts:    &hosts{resolve: r.resolve, known: map[string]addresses{}},
		dirty:    make(note, 1),
		replaced: make(note, 1),
		queue:    newQueue(),
		seed:     maphash.MakeSeed(),
		services: map[string]*service{},
	}
}

// run returns when the context has ended and all loops with it.
func (w *watch) run(ctx context.Context) {
	w.ctx = ctx
	w.loops.Go(func() { w.publisher(ctx) })
	w.loops.Go(func() { w.watchList(ctx) })
	w.loops.Go(func() { w.startOver(ctx) })
	if w.cfg.HostNames {
		w.loops.Go(func() { w.watchHosts(ctx) })
	}
	w.loops.Wait()
}

// touch says that something has changed. Locked.
func (w *watch) touch() {
	w.changes++
	w.dirty.say()
}

// note holds one message for whoever waits for it.
type note chan struct{}

func (n note) say() {
	select {
	case n <- struct{}{}:
	default:
	}
}

// heard waits for the message; false means that the context has ended.
func (n note) heard(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-n:
		return true
	}
}

// publisher is the only one to publish. What changes while it is at work goes out together
// in its next round; a change that comes alone goes out at once.
func (w *watch) publisher(ctx context.Context) {
	for w.dirty.heard(ctx) {
		if set, ok := w.assemble(); ok && ctx.Err() == nil {
			w.publish(set)
		}
	}
}

// assemble makes the set of all that is known, where that is news. Until every service was read once it is not
// complete. Later a service that is new and not read yet is simply not there yet, but one that is back must be read
// first: after a list that was wrongly empty, those read first would be taken for all there are.
func (w *watch) assemble() (upstream.Set, bool) {
	w.mu.Lock()
	missing := func(s *service) bool { return !s.known && (w.published == 0 || s.back) }
	if w.published == w.changes || !w.listed || slices.ContainsFunc(w.order, missing) {
		w.mu.Unlock()
		return upstream.Set{}, false
	}
	w.published = w.changes
	parts := make([]upstream.Set, 0, len(w.order)+1)
	for _, s := range w.order {
		if s.known {
			parts = append(parts, s.set)
		}
	}
	parts = append(parts, upstream.NewSet(nil, w.refused...))
	w.mu.Unlock()
	return upstream.Join(parts...), true
}

// reorder keeps the order of a set, so that assembling sorts next to nothing. Locked.
func (w *watch) reorder() {
	w.order = w.order[:0]
	for _, s := range w.services {
		w.order = append(w.order, s)
	}
	slices.SortFunc(w.order, func(a, b *service) int {
		if c := strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
}

// arrange gives services their own watches as far as the connections reach, and has the
// others swept. Which has one is decided by what changed last. Locked.
func (w *watch) arrange() {
	watches, readers := share(w.limit, len(w.services))
	if readers > 0 && w.files {
		w.files = false // said
		w.log.WithFields(logrus.Fields{"connections": w.limit, "services": len(w.services)}).
			Warn("the limit of open files leaves too few connections to watch every service: some are read again and again " +
				"instead, which is slower; raise it (LimitNOFILE, ulimit -n)")
	}
	var own, swept []*service
	for _, s := range w.order {
		if s.stop != nil {
			own = append(own, s)
		} else {
			swept = append(swept, s)
		}
	}
	latest := func(a, b *service) int { return b.changed.Compare(a.changed) }
	if len(own) > watches {
		slices.SortStableFunc(own, latest)
		for _, s := range own[watches:] {
			w.demote(s)
		}
	} else if free := min(watches-len(own), len(swept)); free > 0 {
		slices.SortStableFunc(swept, latest)
		for _, s := range swept[:free] {
			w.watchService(s)
		}
	}
	switch {
	case readers > 0 && w.stopSweep == nil:
		w.sweep(readers)
	case readers == 0 && w.stopSweep != nil:
		w.stopSweep()
		w.stopSweep = nil
	}
	if readers > 0 {
		for _, s := range w.order {
			if s.stop == nil && !s.known {
				w.queue.add(s)
			}
		}
	}
}

// demote leaves a service to the sweep. It counts as swept first and is read again then,
// so that what happens in between is seen by one or the other. Locked.
func (w *watch) demote(s *service) {
	stop := s.stop
	s.stop = nil
	stop()
	w.queue.add(s)
}

// promote gives a swept service that just changed its own watch, in place of the one that
// is unchanged for longest: changes come in series. Where many change at once most stay
// where they are, for each move costs a connection and a read. Locked.
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
