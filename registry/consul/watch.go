package consul

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/upstream"
)

// watch is one run of Registry.Watch: what is known so far, and the loops that update it.
type watch struct {
	*Registry
	client  *client
	room    room
	publish func(upstream.Set)
	hosts   *hosts
	dirty   note // something may have to be published
	// replaced signals that the servers' state may have been replaced.
	replaced note
	byNodes  note // nodes are now watched
	queue    *queue
	search   search
	mux      *mux // nil unless there are index watches
	seed     maphash.Seed
	loops    sync.WaitGroup
	ctx      context.Context //nolint:containedctx // the lifetime of the run, for loops that start later
	// listIndex is the index of the last trusted list. A lower one comes from a server that has not read all of its
	// log, or started over: the leader must confirm it. Only the list's loop uses it.
	listIndex uint64
	// listSum is its checksum, 0 before the first one.
	listSum uint64

	mu        sync.Mutex
	listed    bool
	changes   int // number of changes to publish
	published int // number of published changes
	services  map[string]*service
	order     []*service // by name
	unread    int        // services that are not known yet
	all       upstream.Union
	gone      departed // services that left the list after they were known
	refused   []upstream.Out
	plan      plan
	nextDue   time.Time          // the earliest due time; zero: none
	lastNews  heard              // the latest indexes from the services' own answers
	sweeping  context.Context    //nolint:containedctx // the lifetime of the sweep
	stopSweep context.CancelFunc // nil if every service has its own watch
	unwell    *unwell            // nil until first read
	nodes     map[string]*node   // the watched ones
	nodeCount int                // number of nodes, negative if unknown
	nodeNames []string           // if they are few enough to be watched
	nodeLoop  bool               // the list of nodes is being read
	toldWay   way                // last logged
	saidFiles bool               // logged that the limit of open files leaves too few connections
}

// service is a selected service. The watch's mutex guards it, except for index and turn.
type service struct {
	name    string
	loop    string
	known   bool
	back    bool // it left the list and is listed again
	set     upstream.Set
	changed time.Time
	// hosted are the instances as received, kept if some have host names.
	hosted []*api.ServiceEntry
	// stop ends the service's own watch; nil if the sweep covers it.
	stop context.CancelFunc
	// index is the index of the last trusted answer, with the rules of listIndex. The caller must hold the turn.
	index uint64
	// turn is held by whoever reads the service, so that no older answer overtakes a newer one.
	turn chan struct{}
	cover
	indexWatch
}

func newWatch(r *Registry, c *client, most room, publish func(upstream.Set)) *watch {
	return &watch{
		Registry: r, client: c, room: most, publish: publish, nodeCount: -1, nodes: map[string]*node{},
		hosts:    &hosts{resolve: r.resolve, known: map[string]addresses{}},
		dirty:    make(note, 1),
		replaced: make(note, 1),
		byNodes:  make(note, 1),
		queue:    newQueue(),
		search:   search{ready: make(note, 1)},
		seed:     maphash.MakeSeed(),
		services: map[string]*service{},
	}
}

// run returns once the context and all loops have ended.
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

// touch records a change. The mutex is held.
func (w *watch) touch() {
	w.changes++
	w.dirty.say()
}

// note holds one message for its receiver.
type note chan struct{}

func (n note) say() {
	select {
	case n <- struct{}{}:
	default:
	}
}

// heard waits for the message. It returns false if the context has ended.
func (n note) heard(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-n:
		return true
	}
}

// publisher is the only publisher. Changes while it works are published together in the next round; a single change is
// published at once.
func (w *watch) publisher(ctx context.Context) {
	for w.dirty.heard(ctx) {
		if set, ok := w.assemble(); ok && ctx.Err() == nil {
			w.publish(set)
		}
	}
}

// assemble returns the set of everything known, if it has changed. It is not complete until every service was read
// once. Later, a new service that was not read yet is simply not in the set, but one that is back must be read first:
// after a list that was wrongly empty, the first ones read would look like everything.
func (w *watch) assemble() (upstream.Set, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := func(s *service) bool { return !s.known && (w.published == 0 || s.back) }
	if w.published == w.changes || !w.listed || w.unread > 0 && slices.ContainsFunc(w.order, missing) {
		return upstream.Set{}, false
	}
	w.published = w.changes
	return w.all.Set(), true
}

// refusedPart is the part of the union that belongs to no service. No service has this name.
const refusedPart = "\x00refused"

// reorder keeps the order of a set, so that assembling hardly needs to sort. The mutex is held.
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
