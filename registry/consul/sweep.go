package consul

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/hashicorp/consul/api"
)

const (
	unwellLoop = "\x00unwell"
	// rotateEvery is how often the sweep looks for due services.
	rotateEvery = 250 * time.Millisecond
	// rotation is the number of waits after which every swept service is asked for its index again, to be safe. This
	// costs processor time even if nothing happens.
	rotation = 4
	// doubtFor is how long two contradicting answers may take to agree.
	doubtFor = 500 * time.Millisecond
)

// cover is the sweep's state of a service.
type cover struct {
	nodes    []unique.Handle[string]
	seen     uint64    // checksum of the checks that were not passing when the service was read
	expected uint64    // checksum of those in the last list of all such checks
	doubt    [2]uint64 // the last contradiction that was followed up
	failures int
	due      time.Time // when to read it again anyway; zero means never
	asked    time.Time // when it was read or asked for its index
}

// unwell has checksums of all checks that are not passing, by service, and by node for those that affect all services
// there.
type unwell struct {
	service map[string]uint64 // by name in lower case, as Consul compares them here
	node    map[unique.Handle[string]]uint64
}

func (w *watch) sweeper(ctx context.Context) {
	for {
		s, ok := w.queue.next(ctx)
		if !ok || !w.sweepService(ctx, s) {
			return
		}
	}
}

// sweepService reads a service. It returns false if the context has ended.
func (w *watch) sweepService(ctx context.Context, s *service) bool {
	w.mu.Lock()
	swept := s.stop == nil && w.services[s.name] == s
	w.mu.Unlock()
	if !swept {
		return true
	}
	if !s.take(ctx) {
		return false
	}
	defer s.release()
	got, news, err := w.readService(ctx, s, 0)
	if ctx.Err() != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.services[s.name] != s:
	case err != nil:
		w.trouble.report(s.loop, "read the health of service "+s.name, err)
		s.failures++
		w.later(s, time.Now().Add(min(w.retry.First<<min(s.failures-1, 10), w.retry.Longest)))
	default:
		w.trouble.over(s.loop)
		s.failures = 0
		if news {
			s.rung.news()
		}
		w.waitIndex(s, got.index)
	}
	return true
}

// later schedules reading a service. The mutex is held.
func (w *watch) later(s *service, at time.Time) {
	s.due = at
	if w.nextDue.IsZero() || at.Before(w.nextDue) {
		w.nextDue = at
	}
}

// readDue queues the services that are due. The mutex is held.
func (w *watch) readDue(now time.Time) {
	w.nextDue = time.Time{}
	for _, s := range w.order {
		switch {
		case s.stop != nil || s.due.IsZero():
		case now.Before(s.due):
			w.later(s, s.due)
		default:
			s.due = time.Time{}
			w.queue.add(s)
		}
	}
}

// rotate reads again what failed or is in doubt, and occasionally asks every service for its index.
func (w *watch) rotate(ctx context.Context) {
	ticker := time.NewTicker(rotateEvery)
	defer ticker.Stop()
	owed, next := 0.0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		w.mu.Lock()
		if !w.nextDue.IsZero() && !now.Before(w.nextDue) {
			w.readDue(now)
		}
		var turn []*service
		if w.plan.way != byIndex { // an index watch that timed out tells the same
			owed += float64(len(w.order)) * float64(rotateEvery) / float64(rotation*w.cfg.Wait)
		}
		for ; owed >= 1; owed-- {
			if s := w.order[next%len(w.order)]; s.stop == nil && s.known {
				turn = append(turn, s)
			}
			next++
		}
		w.mu.Unlock()
		if len(turn) > 0 && w.search.idle() {
			w.search.add(turn)
		}
	}
}

// readUnwell processes the list of checks that are not passing, and queues the services for which it has changed, or
// differs from when they were read.
func (w *watch) readUnwell(ctx context.Context, index uint64) (reply, bool, error) {
	checks, got, err := w.client.unwell(ctx, query{index: index})
	if err != nil {
		return reply{}, false, err
	}
	if index != 0 && got.index == index {
		return got, false, nil
	}
	u := &unwell{service: map[string]uint64{}, node: map[unique.Handle[string]]uint64{}}
	for _, c := range checks {
		switch {
		case c == nil:
		case c.ServiceID == "":
			u.node[unique.Make(c.Node)] += w.checkSum(c)
		default:
			u.service[strings.ToLower(c.ServiceName)] += w.checkSum(c)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unwell = u
	news := false
	for _, s := range w.order {
		if s.stop != nil || !s.known {
			continue
		}
		expected := u.of(s)
		if expected != s.seen || expected != s.expected {
			w.queue.add(s)
			news = news || expected != s.expected
		}
		s.expected = expected
	}
	return got, news, nil
}

func (u *unwell) of(s *service) uint64 {
	sum := u.service[strings.ToLower(s.name)]
	for _, n := range s.nodes {
		sum += u.node[n]
	}
	return sum
}

// takeCover stores what the sweep compares. If it contradicts the earlier list of checks, both are compared again a
// little later with a new answer, as one of them was older than it seemed. The mutex is held.
func (w *watch) takeCover(s *service, entries []*api.ServiceEntry) {
	if w.stopSweep == nil || w.plan.way == byIndex {
		return
	}
	s.nodes, s.seen = w.coverOf(entries)
	if s.stop != nil || w.unwell == nil {
		return
	}
	s.expected = w.unwell.of(s)
	if doubt := [2]uint64{s.expected, s.seen}; s.expected != s.seen && doubt != s.doubt {
		s.doubt = doubt
		w.later(s, time.Now().Add(doubtFor))
	}
}

// coverOf returns the nodes of instances and the checksum of their checks that are not passing. Node names are
// interned, as many services share few nodes.
func (w *watch) coverOf(entries []*api.ServiceEntry) ([]unique.Handle[string], uint64) {
	var nodes []unique.Handle[string]
	var sum uint64
	for _, e := range entries {
		node := unique.Make(e.Node.Node)
		counted := slices.Contains(nodes, node)
		if !counted {
			nodes = append(nodes, node)
		}
		for _, c := range e.Checks {
			if c == nil || c.Status == api.HealthPassing || c.ServiceID == "" && counted {
				continue
			}
			sum += w.checkSum(c)
		}
	}
	return nodes, sum
}

// checkSum uses a seed chosen at each start, so that nobody can craft checks that cancel each other out.
func (w *watch) checkSum(c *api.HealthCheck) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, part := range []string{c.Node, c.ServiceID, c.CheckID, c.Status} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}
