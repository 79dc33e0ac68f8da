package consul

// sweepers is how many services are read again at the same time.
const sweepers = 8

// withReserve leaves a part of an agent's connections to others at this address.
func withReserve(limit int) int { return max(limit-max(limit/5, 8), 4) }

// besides is the most that a command takes beside a daemon: both are one address to the agent.
const besides = 20

// withinReserve is a part of what withReserve leaves to others.
func withinReserve(limit int) int { return max(min((limit-withReserve(limit))/2, besides), 4) }

// ramp bounds the connections on which HTTP/2 carries all queries, some 250 each: without it every query that starts
// while there is none yet opens one.
const ramp = 64

// room is how many connections there may be.
type room struct {
	// connections is the most, 0 any number.
	connections int
	// watches is how many of them may wait for news, one query each; 0 any number, as where one connection carries many.
	watches int
	// files says that it is the limit of open files that leaves no more.
	files bool
}

// within bounds a room by what the limit of open files leaves; 0 is any number.
func (r room) within(descriptors int) room {
	if descriptors > 0 && (r.connections == 0 || descriptors < r.connections) {
		r.connections = descriptors
		if r.watches > 0 {
			r.watches, r.files = min(r.watches, descriptors), true
		}
	}
	return r
}

// share says how many of n services get a watch of their own, and how many readers
// share what is left. A connection goes to the list of services, and where there are
// readers one more to the checks. A limit of 0 is none.
func share(limit, n int) (watches, readers int) {
	if limit == 0 || n+1 <= limit {
		return n, 0
	}
	readers = min(max(limit/8, 1), sweepers)
	return max(limit-2-readers, 0), readers
}
