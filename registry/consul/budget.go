package consul

// sweepers is how many services are read again at the same time.
const sweepers = 8

// withReserve leaves a part of an agent's connections to others at this address.
func withReserve(limit int) int { return max(limit-max(limit/5, 8), 4) }

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
