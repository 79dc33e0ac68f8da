package guard

import (
	"maps"
	"time"

	"swallowkeeper/internal/sorted"
	"swallowkeeper/upstream"
)

// History is what the guard remembers between decisions. It is immutable: a decision returns a new one. The zero
// value remembers nothing. [History.Lines] and [ReadHistory] write and read it.
type History struct {
	// pin belongs to the holds on removals over all servers, pins to those of each service.
	pin  pin
	pins map[upstream.Key]pin
	// sizes are the numbers of servers over time, the first one at or before the start of the window.
	sizes []size
	// missing is since when each server that the guard keeps has been missing, back is when one of them last came
	// back, and returned has those that did, so that one server that flaps does not keep the others waiting.
	missing  map[ServerID]time.Time
	back     time.Time
	returned map[ServerID]bool
	// doubts is until when losses from a registry are in doubt. indexes are the indexes of the registries' last
	// answers.
	doubts  map[string]time.Time
	indexes map[string]uint64
	// left has the servers that left traffic, with the last time; spare the spare ones, with the time they came.
	left  ledger[departure]
	spare ledger[struct{}]
	// lost counts the entries of left that are lost, and sick lists those that are unhealthy.
	lost int
	sick sorted.List[ServerID]
	// routes is what is remembered of routes.
	routes routeAccount
	// holds is when each hold began, by its ID.
	holds map[string]time.Time
	// spent is until when nothing may be removed because the history could not be read.
	spent time.Time
	// explanation caches the notes of the last decision. It only saves work.
	explanation explanation
}

// size is the number of servers in traffic from a time on.
type size struct {
	count int
	at    time.Time
}

// departure records that a server left traffic.
type departure struct {
	server *upstream.Server // its parameters before it left
	times  int              // how many times it left, each less than a window after the previous
	until  time.Time        // damping keeps it out until then; the zero time means no damping
	lost   bool             // it is not back, and nothing replaced it
	// unhealthy means that it was registered but unusable, and is not back. Only then is server meaningful.
	unhealthy bool
	// line is its line in the conf file, "" if it is not written. It is cached: there are thousands, and few change
	// between writes.
	line string
}

// Held returns a history that only knows that removals are held and that there were base servers when the hold began.
// Conf files from before this package contain no more.
func Held(base int) History { return History{pin: pin{start: base, peak: base}} }

// clone returns a copy whose maps may be modified.
func (h History) clone() History {
	h.pins, h.missing, h.returned = cloned(h.pins), cloned(h.missing), cloned(h.returned)
	h.doubts, h.indexes, h.holds = cloned(h.doubts), cloned(h.indexes), cloned(h.holds)
	h.routes = h.routes.clone()
	return h
}

// leaves records that a server left traffic.
func (h *History) leaves(id ServerID, at time.Time, d departure) {
	if d.line = ""; d.lost || d.unhealthy || d.times > 1 {
		d.line = string(d.appendTo(make([]byte, 0, 160), id, at))
	}
	h.left.put(id, at, d)
}

// settle makes the history immutable.
func (h *History) settle() {
	var sick []sorted.Edit[ServerID]
	h.left = h.left.settled(func(id ServerID, before, now departure) {
		h.lost += btoi(now.lost) - btoi(before.lost)
		if now.unhealthy {
			sick = append(sick, sorted.Edit[ServerID]{At: id, Put: []ServerID{id}})
		} else if before.unhealthy {
			sick = append(sick, sorted.Edit[ServerID]{At: id})
		}
	})
	h.sick = h.sick.With(sick, func(a, b *ServerID) int { return a.compare(*b) })
	h.spare = h.spare.settled(func(ServerID, struct{}, struct{}) {})
}

func btoi(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}
