package guard

import (
	"maps"
	"time"

	"swallowkeeper/upstream"
)

// History is what the guard remembers from one decision to the next. It never changes: a decision returns
// another one. The zero value remembers nothing. [History.Lines] and [ReadHistory] write and read it.
type History struct {
	// pin and pins are of the holds on removals, over all and of each service.
	pin  pin
	pins map[upstream.Key]pin
	// sizes are how many servers there were at times, the first at the window's start or before.
	sizes []size
	// missing is since when servers are missing that the guard keeps, back when one of them came back last,
	// and returned which did: one that goes again and again does not keep the others.
	missing  map[ServerID]time.Time
	back     time.Time
	returned map[ServerID]bool
	// doubts is until when what goes missing from a registry is doubted, indexes those of their last answers.
	doubts  map[string]time.Time
	indexes map[string]uint64
	// left is what left traffic within the window, and spare since when what is spare is there.
	left  map[ServerID]departure
	spare map[ServerID]time.Time
	// holds is since when holds are, by their IDs.
	holds map[string]time.Time
	// spent is until when nothing may be removed, because the account could not be read.
	spent time.Time
}

// size is how many servers were in traffic at a time.
type size struct {
	count int
	at    time.Time
}

// departure is a server that left traffic.
type departure struct {
	server upstream.Server // as it was
	at     time.Time       // when it left last
	times  int             // how often it did, each less than a window after the one before
	until  time.Time       // damping keeps it out; zero where it does not
	lost   bool            // it is not back, and nobody took its place
	// unhealthy says that it was registered still, and not usable: what server is counts only then.
	unhealthy bool
}

// Held is a history that remembers nothing but that removals are held, since which there were base servers.
// Conf files of before this package say no more.
func Held(base int) History { return History{pin: pin{start: base, peak: base}} }

// clone is a copy whose maps may be changed.
func (h History) clone() History {
	h.pins, h.missing, h.returned, h.spare = cloned(h.pins), cloned(h.missing), cloned(h.returned), cloned(h.spare)
	h.doubts, h.indexes, h.left, h.holds = cloned(h.doubts), cloned(h.indexes), cloned(h.left), cloned(h.holds)
	return h
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}
