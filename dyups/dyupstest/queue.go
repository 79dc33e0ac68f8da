package dyupstest

import (
	"slices"
	"sync"
	"time"
)

// queue is the shared memory in which the workers of one load tell each other what
// they changed. Its bookkeeping is the module's own, pids and all, so that its gaps are
// here too: a message leaves only when a worker finds that as many have read it
// as there are workers, and a new worker inherits what the one that was silent
// longest had read.
type queue struct {
	mu       sync.Mutex
	workers  int
	memory   *slab
	messages []*message // oldest first
	sent     int
	readers  []reader // by order of first reading
}

type reader struct {
	pid  int
	last time.Time
}

// message is one change. A nil block deletes the upstream.
type message struct {
	name   string
	block  *block
	readBy []int // pids
	pieces []piece
}

func newQueue(bytes, workers int) *queue {
	q := &queue{workers: workers, memory: newSlab(bytes), readers: make([]reader, workers)}
	q.memory.alloc(32)           // the head of the queue
	q.memory.alloc(16 * workers) // who has read when
	return q
}

// read has the worker take every message that it has not read yet. The queue is locked.
func (q *queue) read(w *worker) {
	for i := range q.readers {
		if r := &q.readers[i]; r.pid == 0 || r.pid == w.pid {
			*r = reader{w.pid, time.Now()}
			break
		}
	}
	kept := q.messages[:0]
	for _, m := range q.messages {
		if len(m.readBy) == q.workers {
			q.release(m.pieces)
			continue
		}
		kept = append(kept, m)
		if !slices.Contains(m.readBy, w.pid) {
			m.readBy = append(m.readBy, w.pid)
			w.take(m)
		}
	}
	clear(q.messages[len(kept):])
	q.messages = kept
}

// send puts a change into the queue, or reports that there is no room. The queue is locked.
func (q *queue) send(w *worker, name string, b *block) bool {
	sizes := []int{72, 4 * q.workers, len(name)} // the message's head, the pids that read it
	if b != nil {
		sizes = append(sizes, b.bytes)
	}
	m := &message{name: name, block: b, readBy: []int{w.pid}}
	for _, size := range sizes {
		p, ok := q.memory.alloc(size)
		if !ok {
			q.release(m.pieces)
			return false
		}
		m.pieces = append(m.pieces, p)
	}
	q.sent++
	q.messages = append(q.messages, m)
	return true
}

func (q *queue) release(pieces []piece) {
	for _, p := range pieces {
		q.memory.release(p)
	}
}

// used reports whether anything was ever sent: only then does a new worker wait
// before it serves.
func (q *queue) used() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sent > 0
}

// inherit makes a new worker the heir of the one that has not read for longest.
// What that one had read counts as read, although the heir never saw it.
func (q *queue) inherit(pid int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	oldest := &q.readers[0]
	for i := range q.readers {
		if q.readers[i].last.Before(oldest.last) {
			oldest = &q.readers[i]
		}
	}
	old := oldest.pid
	*oldest = reader{pid, time.Now()}
	for _, m := range q.messages {
		for i := range m.readBy {
			if m.readBy[i] == old {
				m.readBy[i] = pid
			}
		}
	}
}
