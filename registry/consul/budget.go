package consul

// withReserve leaves some of an agent's connections to others at this address.
func withReserve(limit int) int { return max(limit-max(limit/5, 8), 4) }

// besides is the maximum of a command beside a daemon: the agent counts both as one address.
const besides = 20

// withinReserve returns a part of what withReserve leaves to others.
func withinReserve(limit int) int { return max(min((limit-withReserve(limit))/2, besides), 4) }

// ramp limits the connections for HTTP/2, which carry some 250 queries each. Without a limit, each query that starts
// before the first connection is open would dial its own.
const ramp = 64

// room is how many connections are available.
type room struct {
	// connections is the maximum; 0 means any number.
	connections int
	// watches is how many of them may wait, with one query each; 0 means any number, as when one connection carries
	// many.
	watches int
	// http2 reports that we can carry queries for an index alone over HTTP/2 ourselves.
	http2 bool
	// files reports that the limit of open files is the tighter one.
	files bool
}

// within applies the limit of open files; 0 means any number.
func (r room) within(descriptors int) room {
	if descriptors > 0 && (r.connections == 0 || descriptors < r.connections) {
		r.connections = descriptors
		if r.watches > 0 {
			r.watches, r.files = min(r.watches, descriptors), true
		}
	}
	return r
}
