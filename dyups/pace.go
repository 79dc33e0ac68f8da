package dyups

import "time"

// pace estimates how full nginx's shared queue is. Each change stays in the queue's slab memory until every worker has
// read it. If there is no room, a change reaches only the answering worker. At most half of the queue is used, because
// the memory is shared and becomes fragmented.
type pace struct {
	budget int
	forget time.Duration // after this time without changes, all workers have read the queue
	used   int
	last   time.Time
}

// Besides name and body, the module stores a record for each change, and the pids of the workers that have read it,
// assumed to be up to 32.
const (
	recordBytes = 72
	pidBytes    = 32 * 4
)

func newPace(queueBytes int, readTimeout time.Duration) *pace {
	return &pace{budget: queueBytes / 2, forget: 2 * readTimeout}
}

// full reports whether a change would exceed the budget. A change larger than the whole budget is allowed if the queue
// is empty.
func (p *pace) full(name, body int) bool {
	if time.Since(p.last) > p.forget {
		p.used = 0
	}
	return p.used > 0 && p.used+cost(name, body) > p.budget
}

func (p *pace) charge(name, body int) {
	p.used += cost(name, body)
	p.last = time.Now()
}

func (p *pace) drained() { p.used = 0 }

func cost(name, body int) int {
	return slab(recordBytes) + slab(pidBytes) + slab(name) + slab(body)
}

// slab returns the size of an nginx slab allocation for n bytes: a power of two up to half a page, else whole pages.
func slab(n int) int {
	const smallest, page = 8, 4096
	if n == 0 {
		return 0
	}
	if n > page/2 {
		return (n + page - 1) / page * page
	}
	size := smallest
	for size < n {
		size *= 2
	}
	return size
}
