package status

import (
	"context"
	"sync"
	"time"
)

// Timeline keeps recent events and sends them to subscribers. It survives a reload of the configuration. Use
// [NewTimeline] to create one.
type Timeline struct {
	most int

	mu        sync.Mutex
	next      uint64  // ID of the next event
	kept      []Event // a ring once it is full: oldest is the next to be replaced
	oldest    int
	counts    activities
	listeners map[chan Event]struct{}
}

// maxLag is how many events a subscriber may lag before it loses the oldest.
const maxLag = 256

// NewTimeline returns a Timeline that keeps up to most events.
func NewTimeline(most int) *Timeline {
	// IDs continue above those of an earlier process, so a client that was away during a restart gets all it missed.
	next := uint64(time.Now().UnixMicro()) //nolint:gosec // after 1970
	return &Timeline{most: most, next: next, counts: activities{}, listeners: map[chan Event]struct{}{}}
}

// Before adds events from before this process, oldest first, if no event was added yet. They are not sent to
// subscribers, and their IDs are below those of any process.
func (t *Timeline) Before(events []Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) > 0 {
		return
	}
	events = events[max(0, len(events)-t.most):]
	for i, e := range events {
		e.ID = uint64(i) + 1 //nolint:gosec // not negative
		t.kept = append(t.kept, e)
		t.counts.count(e)
	}
}

// Add numbers an event, keeps it, and sends it to subscribers. It never blocks.
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
				case <-c: // drop the oldest
				default:
				}
			}
		}
	}
}

// Newest returns up to most of the newest events, oldest first.
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

// Subscribe returns a channel of the events added from now on. The channel is closed when ctx ends.
func (t *Timeline) Subscribe(ctx context.Context) <-chan Event {
	c := make(chan Event, maxLag)
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
