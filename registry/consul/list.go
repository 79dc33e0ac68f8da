package consul

import (
	"cmp"
	"context"
	"slices"
	"time"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

const (
	listLoop       = "\x00list" // sorts before every service
	startOverEvery = 10 * time.Second
)

// watchList follows the list of services. Its query wakes when an instance is added or
// removed, and does not when a check flips.
func (w *watch) watchList(ctx context.Context) {
	const what = "read the list of services"
	w.supervise(ctx, listLoop, what, func(ctx context.Context) error {
		return w.follow(ctx, listLoop, w.readList)
	})
}

func (w *watch) readList(ctx context.Context, index uint64) (reply, bool, error) {
	list, got, err := w.client.services(ctx, query{index: index})
	if err != nil {
		return reply{}, false, err
	}
	if got.early || got.index < index {
		w.replaced.say()
	}
	if index != 0 && got.index == index {
		return got, false, nil
	}
	wanted, refused := w.choose(list)
	believed := got
	older := got.index < w.listIndex
	if older {
		w.trouble.lapse()
	}
	if older || w.listShrinks(wanted) {
		if list, believed, err = w.client.services(ctx, query{consistent: true}); err != nil {
			return reply{}, false, during("confirm that services are gone", err)
		}
		wanted, refused = w.choose(list)
	}
	w.listIndex = believed.index
	w.index.Store(believed.index)
	return got, w.takeList(wanted, refused), nil
}

// startOver has every service with a watch read again where the list's index says that the servers' state was
// replaced: by a snapshot that was restored, or by none. The agent keeps queries for a service waiting then, for an
// index that comes no more. An agent that never lets anybody wait must not cause that all the time.
func (w *watch) startOver(ctx context.Context) {
	for w.replaced.heard(ctx) {
		w.mu.Lock()
		for _, s := range w.order {
			if s.stop != nil {
				s.stop()
				w.watchService(s)
			}
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(startOverEvery):
		}
	}
}

// choose picks the services by name and tag. A name that no upstream can have is left out
// with its reason, and never becomes part of a query.
func (w *watch) choose(list map[string][]string) (wanted map[string]bool, refused []upstream.Out) {
	wanted = make(map[string]bool, len(list))
	for name, tags := range list {
		if w.cfg.unwanted(name, tags) != "" {
			continue
		}
		if err := upstream.ValidName(name); err != nil {
			refused = append(refused, upstream.Out{Service: safetext.Cut(name, mostText), Reason: err.Error()})
			continue
		}
		wanted[name] = true
	}
	slices.SortFunc(refused, func(a, b upstream.Out) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Reason, b.Reason))
	})
	return wanted, refused
}

// unwanted says by which rule a service is none of ours, or returns "".
func (c *Config) unwanted(name string, tags []string) string {
	if len(c.Include) > 0 && !matches(c.Include, name) {
		return "no include matches service " + safetext.Quote(name)
	}
	if glob, ok := matching(c.Exclude, name); ok {
		return "exclude " + safetext.Quote(glob) + " leaves service " + safetext.Quote(name) + " out"
	}
	if !anyMatch(c.Tags, tags) {
		return "no instance of service " + safetext.Quote(name) + " has a wanted tag"
	}
	return ""
}

// listShrinks tells whether so much is gone that the answer must be confirmed: all, or
// more than a quarter and at least two. Agents and servers that just started, and those
// between two leaders, were seen to answer with valid but empty lists; a server that has just
// become the leader was seen to answer with a part, before it had read all of its log. The first
// list is confirmed too: there is nothing yet to compare it with.
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

// takeList makes the list what is watched, and tells whether it differs from before.
func (w *watch) takeList(wanted map[string]bool, refused []upstream.Out) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := !w.listed || !slices.Equal(w.refused, refused)
	w.listed, w.refused = true, refused

	moved := false
	for name, s := range w.services {
		if wanted[name] {
			continue
		}
		delete(w.services, name)
		if s.known || s.back {
			w.gone.add(name)
		}
		if s.stop != nil {
			s.stop()
		}
		// Also where its absence completes the first set.
		changed, moved = true, true
		w.trouble.over(s.loop)
	}
	for name := range wanted {
		if w.services[name] == nil {
			w.services[name] = &service{
				name: name, back: w.gone.take(name), loop: "service " + name, turn: make(chan struct{}, 1),
			}
			moved = true
		}
	}
	if moved {
		w.reorder()
		w.arrange()
	}
	if w.stopSweep != nil {
		// Instances came or went, and the list does not say whose.
		for _, s := range w.order {
			if s.stop == nil {
				w.queue.add(s)
			}
		}
	}
	if changed {
		w.touch()
	}
	return changed || moved
}
