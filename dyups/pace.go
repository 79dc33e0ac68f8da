package dyups

import "time"

// pace reckons how full nginx's shared queue may be. Every change waits there until
// each worker has read it, in nginx's slab memory; a change that finds no room reaches
// the answering worker alone. At most half of the queue is used, because the memory
// is shared with others and falls into pieces.
type pace struct {
	budget int
	forget time.Duration // after this time without a change all workers have read
	used   int
	last   time.Time
}

// What the module keeps of each change beside its name and body: a record, and the
// pids of the workers that have read it, here for as many as 32.
const (
	recordBytes = 72
	pidBytes    = 32 * 4
)

func newPace(queueBytes int, readTimeout time.Duration) *pace {
	return &pace{budget: queueBytes / 2, forget: 2 * readTimeout}
}

// full reports whether a change would go beyond the budget. A change that is bigger
// than all of it is let through to an empty queue.
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

// slab is what nginx's slab allocator takes for n bytes: a power of two up to half a
// page, whole pages beyond.
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
