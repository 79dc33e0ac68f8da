package consul

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// searchRate and searchBurst limit the requests for indexes. A search after a quiet period runs at once; continuous
	// searching costs the agent and us a tenth of a core.
	searchRate  = 500
	searchBurst = 1000
	// doubtRate is the rate if the change was found, but may have hidden another one.
	doubtRate = 50
	// askers is how many services are asked concurrently.
	askers = 4
	// recent is how many of the services that changed last are asked first.
	recent = 32
	// mostSought is how many changes of one answer are searched individually.
	mostSought = 16
)

// search is the search for changes among services without a watch.
type search struct {
	mu      sync.Mutex
	line    []*service // still to be asked
	ready   note
	targets []uint64 // indexes to be found
	from    uint64   // start of the unexplained range
	to      uint64
	full    time.Time // when searchBurst is available again
}

// heard are the latest indexes from the services' own answers.
type heard struct {
	ring [256]uint64
	next int
}

func (h *heard) add(index uint64) {
	if index != 0 && !h.has(index) {
		h.ring[h.next] = index
		h.next = (h.next + 1) % len(h.ring)
	}
}

func (h *heard) has(index uint64) bool { return slices.Contains(h.ring[:], index) }

// unheard returns the indexes in (from, to] that were not heard, newest first, and whether the list is complete. Other
// writes to Consul have indexes too; if there are many, those are what is missing.
func (h *heard) unheard(from, to uint64) (list []uint64, whole bool) {
	if to <= from {
		return []uint64{to}, false
	}
	for index := to; index > from; index-- {
		if len(list) == mostSought {
			return list, false
		}
		if !h.has(index) {
			list = append(list, index)
		}
	}
	return list, true
}

// hearsay is how much later a service's own answer may arrive than the one that only reports a change.
const hearsay = 5 * time.Millisecond

// unexplained returns the unheard indexes of a change of the list. If the change itself is among them, it checks again
// after a moment.
func (w *watch) unexplained(ctx context.Context, from, to uint64) []uint64 {
	if from == 0 {
		return []uint64{to}
	}
	unheard := func() []uint64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		list, _ := w.lastNews.unheard(from, to)
		return list
	}
	list := unheard()
	if len(list) == 0 || list[0] != to {
		return list
	}
	select {
	case <-ctx.Done():
	case <-time.After(hearsay):
	}
	return unheard()
}

// seek starts a search for what moved the index of the list. A change of a watched service needs none.
func (w *watch) seek(ctx context.Context, from, to uint64) {
	targets := w.unexplained(ctx, from, to)
	if len(targets) == 0 {
		return
	}
	line := w.inDoubt()
	w.search.mu.Lock()
	defer w.search.mu.Unlock()
	w.search.begin(from, to, targets, line)
}

// begin adds to the search. An unfinished search continues in the new order. The mutex is held.
func (f *search) begin(from, to uint64, targets []uint64, line []*service) {
	if len(f.line) == 0 {
		f.targets, f.from = f.targets[:0], from
	}
	f.to = to
	for _, index := range targets {
		if len(f.targets) < len(heard{}.ring) && !slices.Contains(f.targets, index) {
			f.targets = append(f.targets, index)
		}
	}
	f.line = line
	f.ready.say()
}

// inDoubt returns all swept services: first those that changed last, then those not asked for longest, as the next
// search may replace this one before it is finished.
func (w *watch) inDoubt() []*service {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*service
	for _, s := range w.order {
		if s.stop == nil && s.known {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b *service) int { return b.changed.Compare(a.changed) })
	if len(list) > recent {
		slices.SortStableFunc(list[recent:], func(a, b *service) int { return a.asked.Compare(b.asked) })
	}
	return list
}

// add queues more services.
func (f *search) add(list []*service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.line = append(f.line, list...)
	f.ready.say()
}

func (f *search) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.line) == 0
}

// next waits for a service to ask. It returns false if the context has ended.
func (f *search) next(ctx context.Context) (s *service, ok bool) {
	for f.ready.heard(ctx) {
		f.mu.Lock()
		if len(f.line) > 0 {
			s, f.line = f.line[0], f.line[1:]
		}
		if len(f.line) > 0 {
			f.ready.say()
		}
		f.mu.Unlock()
		if s != nil {
			return s, true
		}
	}
	return nil, false
}

// found removes an index from the search, and ends the search if everything is explained.
func (w *watch) found(index uint64) {
	w.search.mu.Lock()
	defer w.search.mu.Unlock()
	i := slices.Index(w.search.targets, index)
	if i < 0 {
		return
	}
	w.search.targets = slices.Delete(w.search.targets, i, i+1)
	w.mu.Lock()
	left, whole := w.lastNews.unheard(w.search.from, w.search.to)
	w.mu.Unlock()
	if whole && len(left) == 0 {
		w.search.line = nil
	}
}

// turn returns how long to wait before the next request for an index.
func (f *search) turn(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	rate := time.Duration(searchRate)
	calm := len(f.targets) == 0
	if calm {
		rate = doubtRate
	}
	if f.full.Before(now) {
		f.full = now
	}
	f.full = f.full.Add(time.Second / rate)
	burst := searchBurst * time.Second / searchRate
	if calm {
		burst = 0
	}
	return max(f.full.Sub(now)-burst, 0)
}

// asker asks services for their indexes, and queues those whose index has changed.
func (w *watch) asker(ctx context.Context) {
	for {
		s, ok := w.search.next(ctx)
		if !ok || !w.askIndex(ctx, s) {
			return
		}
	}
}

// askIndex asks for the index of a service. It returns false if the context has ended.
func (w *watch) askIndex(ctx context.Context, s *service) bool {
	timer := time.NewTimer(w.search.turn(time.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	w.mu.Lock()
	swept := s.stop == nil && w.services[s.name] == s
	s.asked = time.Now()
	w.mu.Unlock()
	if !swept {
		return true
	}
	if !s.take(ctx) {
		return false
	}
	index, err := w.client.index(ctx, s.name)
	moved := index != s.index
	s.release()
	if err != nil || moved {
		w.queue.add(s) // reading it will report the error
	}
	return ctx.Err() == nil
}

// noTag is a tag that no instance has. A query with it returns two bytes and the same index as the full one. A filter
// expression would work too, at twice the cost to Consul.
const noTag = "swallowkeeper: the index alone"

// index returns the index of a service. It shows that something has changed, but not what.
func (c *client) index(ctx context.Context, service string) (uint64, error) {
	there := func([]*api.ServiceEntry) bool { return true }
	_, got, err := ask(ctx, c, query{}, there, func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return c.api.Health().Service(service, noTag, false, o)
	})
	return got.index, err
}
