package dyups

import (
	"errors"
	"slices"
	"time"

	"swallowkeeper/gateway"
)

// errDiffers is the error for a worker that counts as behind.
var errDiffers = errors.New("its copy of the upstreams differs from that of most workers")

// noteWorkers updates the list of workers, sorted by pid. The list is empty if workers can't be distinguished. compared
// reports that all copies were just read; if not, the workers' errors stay. A list already returned is not modified.
func (g *Gateway) noteWorkers(compared bool) {
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
				known.Err = errDiffers
			}
		}
		crew = append(crew, known)
	}
	g.crew = crew
}

// common returns the copy that most workers have. Workers with equal copies share one.
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

// agreed clears the workers' errors after all have shown the changes.
func (g *Gateway) agreed() {
	g.noteWorkers(false)
	for i := range g.crew {
		g.crew[i].Err = nil
	}
}
