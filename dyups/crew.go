package dyups

import (
	"errors"
	"slices"
	"time"

	"swallowkeeper/gateway"
)

// errOwnWay is why a worker counts as behind.
var errOwnWay = errors.New("its copy of the upstreams differs from that of most workers")

// muster notes who is there, in order of their process IDs: nobody where workers can't be told apart. compared says
// that all copies were just read; else what is known of them stays. A list that was handed out is not changed.
func (g *Gateway) muster(compared bool) {
	var list []*worker
	if !g.workers.plain {
		list = g.workers.list
	}
	most := common(list)
	now := time.Now()
	crew := make([]gateway.Worker, 0, len(list))
	for _, w := range list {
		known := gateway.Worker{ID: w.pid, Since: now}
		if i := slices.IndexFunc(g.crew, func(o gateway.Worker) bool { return o.ID == w.pid }); i >= 0 {
			known = g.crew[i]
		}
		if compared {
			known.Err = nil
			if w.copy != most {
				known.Err = errOwnWay
			}
		}
		crew = append(crew, known)
	}
	g.crew = crew
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
	for i := range g.crew {
		g.crew[i].Err = nil
	}
}
