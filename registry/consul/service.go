package consul

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/upstream"
)

// watchService starts a service's own watch. Its query returns only for changes of this service's instances and checks.
// The mutex is held.
func (w *watch) watchService(s *service) {
	ctx, stop := context.WithCancel(w.ctx)
	s.stop = stop
	w.loops.Go(func() {
		defer stop()
		if !s.take(ctx) {
			return
		}
		defer s.release()
		w.supervise(ctx, s.loop, "read the health of service "+s.name, func(ctx context.Context) error {
			return w.follow(ctx, s.loop, func(ctx context.Context, index uint64) (reply, bool, error) {
				return w.readService(ctx, s, index)
			})
		})
	})
}

func (s *service) take(ctx context.Context) bool {
	select {
	case s.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *service) release() { <-s.turn }

// readService reads a service, applies the answer, and reports whether anything changed. The caller must hold the
// service's turn.
func (w *watch) readService(ctx context.Context, s *service, index uint64) (reply, bool, error) {
	entries, got, err := w.client.instances(ctx, s.name, query{index: index})
	if err != nil {
		return reply{}, false, err
	}
	if index != 0 && got.index == index {
		return got, false, nil
	}
	next := w.convert(ctx, s, entries)
	believed := got
	older := got.index < s.index
	if older {
		w.trouble.lapse()
	}
	if older || w.serviceShrinks(s, next) {
		if entries, believed, err = w.client.instances(ctx, s.name, query{consistent: true}); err != nil {
			return reply{}, false, during("confirm that instances are gone", err)
		}
		next = w.convert(ctx, s, entries)
	}
	if ctx.Err() != nil {
		return reply{}, false, ctx.Err() // a look-up may have been interrupted
	}
	s.index = believed.index
	news := w.takeService(s, entries, next)
	w.found(believed.index)
	return got, news, nil
}

func (w *watch) convert(ctx context.Context, s *service, entries []*api.ServiceEntry) upstream.Set {
	c := converter{cfg: &w.cfg, origin: w.name}
	if w.cfg.HostNames {
		c.lookup = w.hosts.lookup(ctx, entries)
	}
	list, out := c.service(s.name, entries)
	return upstream.NewSet(list, out...)
}

// serviceShrinks reports whether so many servers are gone that the answer must be confirmed: the last one, or at least
// two that are half or more.
func (w *watch) serviceShrinks(s *service, next upstream.Set) bool {
	w.mu.Lock()
	old := s.set.Servers()
	w.mu.Unlock()
	now := next.Servers()
	gone := old - now
	return gone > 0 && now == 0 || gone >= 2 && 2*gone >= old
}

// takeService keeps what was made of an answer, but not the answer itself.
func (w *watch) takeService(s *service, entries []*api.ServiceEntry, next upstream.Set) bool {
	hosted := w.cfg.HostNames && len(hostNames(entries)) > 0
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.services[s.name] != s {
		return false
	}
	s.hosted = nil
	if hosted {
		s.hosted = entries
	}
	w.lastNews.add(s.index)
	news := w.adopt(s, next)
	w.takeCover(s, entries)
	return news
}

// adopt stores the service's next set, and reports whether it differs. The mutex is held.
func (w *watch) adopt(s *service, next upstream.Set) bool {
	w.all.Put(s.name, next)
	if s.known && s.set.Identical(next) {
		s.set = next // only outputs of checks may be new, which is no change
		return false
	}
	first := !s.known
	if first {
		w.unread--
	}
	s.known, s.set, s.changed = true, next, time.Now()
	w.touch()
	if !first && s.stop == nil && w.stopSweep != nil {
		w.promote(s)
	}
	return true
}

// watchHosts resolves host names at intervals.
func (w *watch) watchHosts(ctx context.Context) {
	ticker := time.NewTicker(w.lookups)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var names []string
		var hosted []*service
		w.mu.Lock()
		for _, s := range w.order {
			if s.hosted != nil {
				hosted = append(hosted, s)
				names = append(names, hostNames(s.hosted)...)
			}
		}
		w.mu.Unlock()
		slices.Sort(names)
		w.hosts.refresh(ctx, slices.Compact(names))
		for _, s := range hosted {
			w.convertAgain(ctx, s)
		}
	}
}

// convertAgain converts the known instances again, with the current addresses of their host names.
func (w *watch) convertAgain(ctx context.Context, s *service) {
	w.mu.Lock()
	entries := s.hosted
	w.mu.Unlock()
	if entries == nil {
		return
	}
	next := w.convert(ctx, s, entries)
	w.mu.Lock()
	defer w.mu.Unlock()
	// A newer answer may have arrived in the meantime, made with the same addresses.
	if ctx.Err() == nil && w.services[s.name] == s && len(s.hosted) > 0 && &s.hosted[0] == &entries[0] {
		w.adopt(s, next)
	}
}
