package etcd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"swallowkeeper/upstream"
)

// watching is a Watch under way.
type watching struct {
	t *testing.T
	r *Registry

	mu   sync.Mutex
	sets []upstream.Set
	more chan struct{}
}

// begin watches until the test ends.
func begin(t *testing.T, r *Registry) *watching {
	t.Helper()
	w := &watching{t: t, r: r, more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Watch(ctx, w.publish); err != nil {
			t.Errorf("Watch: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

func (w *watching) publish(s upstream.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets = append(w.sets, s)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *watching) all() []upstream.Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sets)
}

// until waits for a set that is written so: web[10.0.0.1:80 10.0.0.2:80] api[].
func (w *watching) until(want string) upstream.Set {
	w.t.Helper()
	limit := time.After(patience)
	for {
		all := w.all()
		if n := len(all); n > 0 && show(all[n-1]) == want {
			return all[n-1]
		}
		select {
		case <-w.more:
		case <-limit:
			last := "nothing"
			if n := len(all); n > 0 {
				last = show(all[n-1])
			}
			w.t.Fatalf("the last set is %s, want %s; trouble: %v", last, want, w.r.Condition().Trouble)
		}
	}
}

// trouble waits for a trouble that says so.
func (w *watching) trouble(want string) {
	w.t.Helper()
	w.condition("a trouble with "+want, func() bool {
		err := w.r.Condition().Trouble
		return err != nil && strings.Contains(err.Error(), want)
	})
}

// well waits for the end of all trouble.
func (w *watching) well() {
	w.t.Helper()
	w.condition("no trouble", func() bool { return w.r.Condition().Trouble == nil })
}

func (w *watching) condition(what string, is func() bool) {
	w.t.Helper()
	limit := time.After(patience)
	for !is() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			w.t.Fatalf("there was never %s; trouble: %v", what, w.r.Condition().Trouble)
		}
	}
}

// show writes a set's upstreams with the addresses of their servers.
func show(set upstream.Set) string {
	var list []string
	for u := range set.All() {
		var servers []string
		for _, s := range u.Servers {
			servers = append(servers, s.Addr.String())
		}
		list = append(list, u.Name+"["+strings.Join(servers, " ")+"]")
	}
	return strings.Join(list, " ")
}

// outs writes what is out, a line each.
func outs(set upstream.Set) string {
	var list []string
	for _, o := range set.Out() {
		list = append(list, fmt.Sprintf("%s|%s|%s|%s", o.Service, o.Addr, o.Route, o.Reason))
	}
	return strings.Join(list, "\n")
}

func key(service, id string) string { return "/swallowkeeper/services/" + service + "/" + id }

func value(address string) string { return fmt.Sprintf(`{"address":%q}`, address) }
