package consul

import (
	"cmp"
	"context"
	"slices"
	"time"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

const (
	listLoop       = "\x00list" // sorts before every service
	startOverEvery = 10 * time.Second
)

// watchList follows the list of services. Its query returns when an instance is added or removed, but not when a check
// changes.
func (w *watch) watchList(ctx context.Context) {
	const what = "read the list of services"
	w.supervise(ctx, listLoop, what, func(ctx context.Context) error {
		return w.follow(ctx, listLoop, w.readList)
	})
}

func (w *watch) readList(ctx context.Context, index uint64) (reply, bool, error) {
	list, sum, got, err := w.client.servicesUnless(ctx, query{index: index}, w.seed, w.listSum)
	if err != nil {
		return reply{}, false, err
	}
	if got.early || got.index < index {
		w.replaced.say()
	}
	if index != 0 && got.index == index {
		return got, false, nil
	}
	believed := got
	older := got.index < w.listIndex
	if older {
		w.trouble.lapse()
	}
	news := false
	if older || sum != w.listSum {
		wanted, refused := w.choose(list)
		if older || w.listShrinks(wanted) {
			if list, sum, believed, err = w.client.servicesUnless(ctx, query{consistent: true}, w.seed, 0); err != nil {
				return reply{}, false, during("confirm that services are gone", err)
			}
			wanted, refused = w.choose(list)
		}
		news = w.takeList(wanted, refused)
		w.listSum = sum
	}
	w.listIndex = believed.index
	w.index.Store(believed.index)
	w.mu.Lock()
	way := w.plan.way
	w.mu.Unlock()
	if way == bySearch || way == byNode && index == 0 {
		// An instance came or went, and the list does not tell of which service.
		w.loops.Go(func() { w.seek(ctx, index, got.index) })
	}
	return got, news, nil
}

// startOver reads every service with a watch again if the list's index shows that the servers' state was replaced, as
// by restoring a snapshot. Otherwise the agent would let those queries wait for an index that never comes. An agent
// that never blocks must not trigger this all the time.
func (w *watch) startOver(ctx context.Context) {
	for w.replaced.heard(ctx) {
		w.mu.Lock()
		for _, s := range w.order {
			if s.stop == nil {
				w.stopIndex(s)
				w.queue.add(s)
				continue
			}
			s.stop()
			w.watchService(s)
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(startOverEvery):
		}
	}
}

// choose selects services by name and tag. A name that no upstream can have is left out with its reason, and never
// becomes part of a query.
func (w *watch) choose(list map[string][]string) (wanted map[string]bool, refused []upstream.Out) {
	wanted = make(map[string]bool, len(list))
	for name, tags := range list {
		if !w.cfg.unwanted(name, tags).IsZero() {
			continue
		}
		if err := upstream.ValidName(name); err != nil {
			refused = append(refused, upstream.Out{Service: safetext.Cut(name, mostText), Reason: reason.Of(err)})
			continue
		}
		wanted[name] = true
	}
	slices.SortFunc(refused, func(a, b upstream.Out) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), a.Reason.Compare(b.Reason))
	})
	return wanted, refused
}

// unwanted returns which rule excludes a service, or the zero Reason.
func (c *Config) unwanted(name string, tags []string) reason.Reason {
	if len(c.Include) > 0 && !matches(c.Include, name) {
		return notIncluded.With(safetext.Quote(name))
	}
	if glob, ok := matching(c.Exclude, name); ok {
		return excluded.With(safetext.Quote(glob), safetext.Quote(name))
	}
	if !anyMatch(c.Tags, tags) {
		return noneTagged.With(safetext.Quote(name))
	}
	return reason.Reason{}
}

// listShrinks reports whether so much is gone that the answer must be confirmed: everything, or more than a quarter and
// at least two. Agents and servers that just started or have no leader have been seen to return valid but empty lists.
// A new leader has been seen to return a partial list before it had read all of its log. The first list is confirmed
// too, as there is nothing to compare it with.
func (w *watch) listShrinks(wanted map[string]bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.listed {
		return true
	}
	if len(wanted) == 0 {
		return len(w.services) > 0
	}
	gone := 0
	for name := range w.services {
		if !wanted[name] {
			gone++
		}
	}
	return gone >= 2 && 4*gone > len(w.services)
}

// takeList applies the list to what is watched, and reports whether it has changed.
func (w *watch) takeList(wanted map[string]bool, refused []upstream.Out) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := !w.listed || !slices.Equal(w.refused, refused)
	w.listed, w.refused = true, refused
	w.all.Put(refusedPart, upstream.NewSet(nil, refused...))

	moved := false
	for name, s := range w.services {
		if wanted[name] {
			continue
		}
		delete(w.services, name)
		w.all.Put(name, upstream.Set{})
		if !s.known {
			w.unread--
		}
		if s.known || s.back {
			w.gone.add(name)
		}
		if s.stop != nil {
			s.stop()
		}
		w.stopIndex(s)
		// Its absence may also complete the first set.
		changed, moved = true, true
		w.trouble.over(s.loop)
	}
	for name := range wanted {
		if w.services[name] == nil {
			w.services[name] = &service{
				name: name, back: w.gone.take(name), loop: "service " + name, turn: make(chan struct{}, 1),
			}
			w.unread++
			moved = true
		}
	}
	if moved {
		w.reorder()
		w.arrange()
	}
	if changed {
		w.touch()
	}
	return changed || moved
}
