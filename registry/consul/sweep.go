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
	// rotateEvery is how often the sweep looks for what is due.
	rotateEvery = 250 * time.Millisecond
	// rotation is in how many waits every swept service is read once more, to be safe: it
	// costs processor time while nothing happens.
	rotation = 4
	// doubtFor is how long two answers that disagree have to agree by themselves.
	doubtFor = 500 * time.Millisecond
)

// cover is what sweeping needs to know of a service.
type cover struct {
	nodes    []unique.Handle[string]
	seen     uint64    // sum of the checks that were not passing when the service was read
	expected uint64    // sum of those that the list of all such checks had last
	doubt    [2]uint64 // the disagreement that was followed up last
	failures int
	due      time.Time // when to read it again by itself; zero is never
}

// unwell sums up all checks that are not passing, by the service that they concern and,
// for those that concern all services there, by node.
type unwell struct {
	service map[string]uint64 // by name in lower case, as Consul compares them here
	node    map[unique.Handle[string]]uint64
}

// sweep covers the services that have no watch of their own. They are read again when the
// list of checks disagrees with what was read, when the list of services wakes, and now
// and then to be safe. Locked.
func (w *watch) sweep(readers int) {
	ctx, stop := context.WithCancel(w.ctx)
	w.stopSweep = stop
	w.unwell = nil
	for _, s := range w.order {
		if s.stop == nil {
			w.queue.add(s)
		}
	}
	for range readers {
		w.loops.Go(func() { w.sweeper(ctx) })
	}
	w.loops.Go(func() { w.rotate(ctx) })
	w.loops.Go(func() {
		w.supervise(ctx, unwellLoop, "read the checks that are not passing", func(ctx context.Context) error {
			return w.follow(ctx, unwellLoop, w.readUnwell)
		})
	})
}

func (w *watch) sweeper(ctx context.Context) {
	for {
		s, ok := w.queue.next(ctx)
		if !ok || !w.sweepService(ctx, s) {
			return
		}
	}
}

// sweepService reads one service; false means that the context has ended.
func (w *watch) sweepService(ctx context.Context, s *service) bool {
	w.mu.Lock()
	mine := s.stop == nil && w.services[s.name] == s
	w.mu.Unlock()
	if !mine {
		return true
	}
	if !s.take(ctx) {
		return false
	}
	defer s.release()
	_, _, err := w.readService(ctx, s, 0)
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
		s.due = time.Now().Add(min(w.retry.First<<min(s.failures-1, 10), w.retry.Longest))
	default:
		w.trouble.over(s.loop)
		s.failures = 0
	}
	return true
}

// rotate reads again what failed or is in doubt, and every service once in a while.
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
		var swept []*service
		for _, s := range w.order {
			if s.stop != nil {
				continue
			}
			swept = append(swept, s)
			if !s.due.IsZero() && !now.Before(s.due) {
				s.due = time.Time{}
				w.queue.add(s)
			}
		}
		w.mu.Unlock()
		for owed += float64(len(swept)) * float64(rotateEvery) / float64(rotation*w.cfg.Wait); owed >= 1; owed-- {
			w.queue.add(swept[next%len(swept)])
			next++
		}
	}
}

// readUnwell takes in the list of checks that are not passing, and has those services read
// again for which it changed, or says something else than they did when they were read.
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

// takeCover notes what sweeping compares. Where the list of checks, which came before,
// says something else, the two are compared again a little later, by a new answer: one of
// them was older than it looked. Locked.
func (w *watch) takeCover(s *service, entries []*api.ServiceEntry) {
	if w.stopSweep == nil {
		return
	}
	s.nodes, s.seen = w.coverOf(entries)
	if s.stop != nil || w.unwell == nil {
		return
	}
	s.expected = w.unwell.of(s)
	if doubt := [2]uint64{s.expected, s.seen}; s.expected != s.seen && doubt != s.doubt {
		s.doubt = doubt
		s.due = time.Now().Add(doubtFor)
	}
}

// coverOf lists the nodes of instances and sums up their checks that are not passing. Many
// services share few nodes, so a node's name is kept once.
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

// checkSum has a seed of its own in each run, so that nobody can make up checks that
// cancel each other out.
func (w *watch) checkSum(c *api.HealthCheck) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, part := range []string{c.Node, c.ServiceID, c.CheckID, c.Status} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}
