package consul

// way is how changes of services without their own watch are noticed.
type way int

const (
	// each: every service has its own watch, a blocking query for its instances.
	each way = iota
	// byIndex: every service has a blocking query for its index alone, many on one HTTP/2 connection, and is then read.
	byIndex
	// byNode: a blocking query per node tells that something on it has changed, and its list of services tells what.
	byNode
	// bySearch: nothing tells what has changed, so services are asked for their indexes.
	bySearch
)

func (w way) String() string { return [...]string{"each", "bell", "node", "search"}[w] }

const (
	// sweepers is how many services are read concurrently.
	sweepers = 8
	// directly is how many services have full queries over HTTP/2, which saves a second request. They fit on one
	// connection. A waiting query takes 20 kB in Go's client; an index watch takes half of one.
	directly = 200
)

// plan tells how services are watched: how many have their own watch, how the others are noticed, and how many readers
// read what has changed.
type plan struct {
	way              way
	watches, readers int
}

// decide makes a plan for n services on a number of nodes, negative if unknown. Over plain HTTP each waiting query
// takes a connection: one for the list of services; beyond the limit also one for the checks, and if nodes are watched,
// one for each node and one for their list.
func decide(r room, n, nodes int) plan {
	limit := r.watches
	switch {
	case limit == 0 && r.http2 && n > directly:
		return plan{way: byIndex, readers: sweepers}
	case limit == 0 || n+1 <= limit:
		return plan{way: each, watches: n}
	}
	readers := min(max(limit/8, 1), sweepers)
	left := limit - 2 - readers
	if nodes > 0 && nodes <= left-1 {
		return plan{way: byNode, watches: left - 1 - nodes, readers: readers}
	}
	return plan{way: bySearch, watches: max(left, 0), readers: readers}
}
