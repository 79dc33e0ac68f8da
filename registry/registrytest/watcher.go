package registrytest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"swallowkeeper/upstream"
)

// endWithin is how soon Watch must return after its context has ended.
const endWithin = 5 * time.Second

// quiet is how long nothing may be published: long enough for a read in progress, and short enough for fast tests.
const quiet = 300 * time.Millisecond

// none stands for a registered service without usable instances.
func none(service string) Instance { return Instance{Service: service} }

// watcher collects what a Watch publishes.
type watcher struct {
	t      *testing.T
	h      Harness
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	sets  []upstream.Set
	taken int
	more  chan struct{}
	err   error
}

func watch(t *testing.T, h Harness) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{t: t, h: h, cancel: cancel, done: make(chan struct{}), more: make(chan struct{}, 1)}
	go func() {
		defer close(w.done)
		w.err = h.Registry.Watch(ctx, w.publish)
	}()
	t.Cleanup(w.stop)
	return w
}

func (w *watcher) publish(s upstream.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets = append(w.sets, s)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// stop ends Watch and checks everything that it published.
func (w *watcher) stop() {
	w.t.Helper()
	w.cancel()
	select {
	case <-w.done:
	case <-time.After(endWithin):
		w.t.Fatalf("Watch goes on %s after its context ended", endWithin)
	}
	if w.err != nil && w.err != context.Canceled { //nolint:errorlint // a wrapped one would say more than that
		w.t.Errorf("Watch returned %v although its context ended", w.err)
	}
	all := w.all()
	for i, set := range all {
		if i > 0 && set.Identical(all[i-1]) {
			w.t.Errorf("publication %d is like the one before: %s", i+1, show(set))
		}
		for u := range set.All() {
			for _, s := range u.Servers {
				if s.Origin != w.h.Origin {
					w.t.Errorf("server %s of %s has origin %q, want %q", s.Addr, u.Name, s.Origin, w.h.Origin)
				}
				if err := s.Valid(); err != nil {
					w.t.Errorf("server %s of %s: %v", s.Addr, u.Name, err)
				}
			}
		}
	}
}

func (w *watcher) all() []upstream.Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sets)
}

// next returns the oldest publication that was not looked at yet.
func (w *watcher) next() upstream.Set {
	w.t.Helper()
	limit := time.After(w.h.Patience)
	for {
		w.mu.Lock()
		if w.taken < len(w.sets) {
			set := w.sets[w.taken]
			w.taken++
			w.mu.Unlock()
			return set
		}
		w.mu.Unlock()
		select {
		case <-w.more:
		case <-w.done:
			w.t.Fatalf("Watch ended: %v", w.err)
		case <-limit:
			w.t.Fatalf("nothing was published within %s%s", w.h.Patience, w.trouble())
		}
	}
}

// until waits for a set with exactly these instances as servers.
func (w *watcher) until(want ...Instance) upstream.Set {
	w.t.Helper()
	limit := time.Now().Add(w.h.Patience)
	var last upstream.Set
	for time.Now().Before(limit) {
		last = w.next()
		if show(last) == expected(want) {
			return last
		}
	}
	w.t.Fatalf("the set never came\nwant %s\nlast %s", expected(want), show(last))
	return last
}

func (w *watcher) expect(set upstream.Set, want ...Instance) {
	w.t.Helper()
	if got := show(set); got != expected(want) {
		w.t.Fatalf("another set was expected\nwant %s\ngot  %s", expected(want), got)
	}
}

// expectOut checks that an instance is out because of its health, with a reason: the guard relies on that mark.
func (w *watcher) expectOut(set upstream.Set, i Instance) {
	w.t.Helper()
	if w.h.UsableOnly {
		return
	}
	for _, o := range set.Out() {
		if o.Service == i.Service && o.Upstream == i.Service && o.Addr == i.Addr.String() && !o.Reason.IsZero() {
			if !o.Unhealthy {
				w.t.Errorf("%s of %s is out by its health, and Out.Unhealthy does not say so: %+v", i.Addr, i.Service, o)
			}
			return
		}
	}
	w.t.Errorf("%s of %s is out without a reason: %v", i.Addr, i.Service, set.Out())
}

// expectQuiet fails if anything is published.
func (w *watcher) expectQuiet() {
	w.t.Helper()
	before := len(w.all())
	select {
	case <-w.done:
		w.t.Fatalf("Watch ended: %v", w.err)
	case <-time.After(quiet):
	}
	if all := w.all(); len(all) > before {
		w.t.Errorf("published although the registry can't be read: %s", show(all[len(all)-1]))
	}
}

func (w *watcher) expectNothingAfterTheEnd() {
	w.t.Helper()
	before := len(w.all())
	<-time.After(quiet / 3) // nothing to wait for: nothing may be published
	if after := len(w.all()); after > before {
		w.t.Errorf("%d sets were published after Watch had returned", after-before)
	}
}

// trouble returns the trouble that the registry reports.
func (w *watcher) trouble() string {
	if err := w.h.Registry.Condition().Trouble; err != nil {
		return ": " + err.Error()
	}
	return ""
}

// show formats a set's upstreams and the addresses of their servers.
func show(set upstream.Set) string {
	m := map[string][]netip.AddrPort{}
	for u := range set.All() {
		m[u.Name] = nil
		for _, s := range u.Servers {
			m[u.Name] = append(m[u.Name], s.Addr)
		}
	}
	return render(m)
}

func expected(instances []Instance) string {
	m := map[string][]netip.AddrPort{}
	for _, i := range instances {
		m[i.Service] = append(m[i.Service], nil...)
		if i.Addr.IsValid() {
			m[i.Service] = append(m[i.Service], i.Addr)
		}
	}
	return render(m)
}

func render(m map[string][]netip.AddrPort) string {
	var lines []string
	for name, addrs := range m {
		slices.SortFunc(addrs, netip.AddrPort.Compare)
		lines = append(lines, fmt.Sprint(name, addrs))
	}
	slices.Sort(lines)
	return "{" + strings.Join(lines, " ") + "}"
}
