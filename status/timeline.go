package status

import (
	"context"
	"sync"
	"time"
)

// Timeline keeps what happened lately and hands it to those who listen. It outlives a
// reload of the configuration. The zero value is not usable: see [NewTimeline].
type Timeline struct {
	most int

	mu        sync.Mutex
	next      uint64  // the number of the next event
	kept      []Event // a ring once it is full: the oldest is where the next one goes
	oldest    int
	counts    activities
	listeners map[chan Event]struct{}
}

// behind is how many events a listener may be behind before it loses the oldest.
const behind = 256

// NewTimeline makes one that keeps at most so many events.
func NewTimeline(most int) *Timeline {
	// Numbers go on where those of an earlier process ended, so that a reader that was away
	// during a restart gets all that it missed.
	next := uint64(time.Now().UnixMicro()) //nolint:gosec // it is after 1970
	return &Timeline{most: most, next: next, counts: activities{}, listeners: map[chan Event]struct{}{}}
}

// Before puts in what happened before this process, the oldest first, as long as nothing else has. It is
// told to nobody: the numbers are below those of every process.
func (t *Timeline) Before(events []Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) > 0 {
		return
	}
	events = events[max(0, len(events)-t.most):]
	for i, e := range events {
		e.ID = uint64(i) + 1 //nolint:gosec // it is not negative
		t.kept = append(t.kept, e)
		t.counts.count(e)
	}
}

// Add numbers an event, keeps it and hands it on. It never blocks.
func (t *Timeline) Add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.ID = t.next
	t.next++
	t.counts.count(e)
	if len(t.kept) < t.most {
		t.kept = append(t.kept, e)
	} else {
		t.kept[t.oldest] = e
		t.oldest = (t.oldest + 1) % t.most
	}
	for c := range t.listeners {
		for sent := false; !sent; {
			select {
			case c <- e:
				sent = true
			default:
				select {
				case <-c: // the oldest gives way
				default:
				}
			}
		}
	}
}

// Newest lists at most so many of the events that are kept, the oldest first.
func (t *Timeline) Newest(most int) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(most, len(t.kept))
	list := make([]Event, 0, n)
	for i := len(t.kept) - n; i < len(t.kept); i++ {
		list = append(list, t.kept[(t.oldest+i)%len(t.kept)])
	}
	return list
}

// Subscribe yields what is added from now on, until the context ends; then the channel is closed.
func (t *Timeline) Subscribe(ctx context.Context) <-chan Event {
	c := make(chan Event, behind)
	t.mu.Lock()
	t.listeners[c] = struct{}{}
	t.mu.Unlock()
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.listeners, c)
		close(c)
	})
	return c
}
