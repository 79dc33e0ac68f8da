package consul

import (
	"context"
	"sync"
)

// queue holds the services to be read again, each once, first in, first out.
type queue struct {
	mu      sync.Mutex
	waiting map[*service]bool
	line    []*service
	ready   note
}

func newQueue() *queue {
	return &queue{waiting: map[*service]bool{}, ready: make(note, 1)}
}

// add queues a service, unless it is already queued. One that is being read is read once more, as the answer under way
// may be older than the reason to read.
func (q *queue) add(s *service) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[s] {
		return
	}
	q.waiting[s] = true
	q.line = append(q.line, s)
	q.ready.say()
}

// next waits for a service. It returns false if the context has ended.
func (q *queue) next(ctx context.Context) (*service, bool) {
	for q.ready.heard(ctx) {
		q.mu.Lock()
		if len(q.line) == 0 {
			q.mu.Unlock()
			continue
		}
		s := q.line[0]
		q.line[0] = nil
		q.line = q.line[1:]
		delete(q.waiting, s)
		if len(q.line) > 0 {
			q.ready.say()
		}
		q.mu.Unlock()
		return s, true
	}
	return nil, false
}
