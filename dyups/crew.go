package dyups

import (
	"errors"
	"slices"
	"sync"
	"time"

	"swallowkeeper/upstream"
)

// crew is what is known of the workers, for whoever asks while the gateway is at work.
type crew struct {
	mu      sync.Mutex
	workers []upstream.Worker
}

// errOwnWay is why a worker counts as behind.
var errOwnWay = errors.New("its copy of the upstreams differs from that of most workers")

// Workers are the nginx workers that the gateway knows, in order of their process IDs: none
// where they can't be told apart. It may be called at any time.
func (g *Gateway) Workers() []upstream.Worker {
	g.crew.mu.Lock()
	defer g.crew.mu.Unlock()
	return slices.Clone(g.crew.workers)
}

// muster notes who is there. compared says that all copies were just read; else what is
// known of them stays.
func (g *Gateway) muster(compared bool) {
	var list []*worker
	if !g.workers.plain {
		list = g.workers.list
	}
	most := common(list)
	now := time.Now()
	g.crew.mu.Lock()
	defer g.crew.mu.Unlock()
	before := g.crew.workers
	g.crew.workers = make([]upstream.Worker, 0, len(list))
	for _, w := range list {
		known := upstream.Worker{ID: w.pid, Since: now}
		if i := slices.IndexFunc(before, func(o upstream.Worker) bool { return o.ID == w.pid }); i >= 0 {
			known = before[i]
		}
		if compared {
			known.Err = nil
			if w.copy != most {
				known.Err = errOwnWay
			}
		}
		g.crew.workers = append(g.crew.workers, known)
	}
}

// common is the copy that most workers have. Those that have the same share it.
func common(list []*worker) *copyOf {
	count := map[*copyOf]int{}
	var most *copyOf
	for _, w := range list {
		if count[w.copy]++; most == nil || count[w.copy] > count[most] {
			most = w.copy
		}
	}
	return most
}

// agreed notes that every worker has shown what it was told.
func (g *Gateway) agreed() {
	g.muster(false)
	g.crew.mu.Lock()
	defer g.crew.mu.Unlock()
	for i := range g.crew.workers {
		g.crew.workers[i].Err = nil
	}
}
