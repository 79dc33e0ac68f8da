package syncer

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/registry"
)

// What the guard remembers holds over a restart, and over one pass after the other.
func TestTheGuardRemembers(t *testing.T) {
	const eight = "a: 1 2 3 4, b: 5 6 7 8"
	run(t, "a loss that began before a restart goes on after it", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		w.registries[0].publish(eight)
		w.pass(time.Minute)
		w.registries[0].publish("a: 1 2, b: 5 6")
		w.pass(time.Minute)
		w.wantStored("a: 1 2, b: 5 6")
		w.stop()
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, b: 5")
		w.pass(time.Minute)
		w.wantStored("a: 1 2, b: 5 6")
		if h := first(w.syncer.Status().Holds); h == nil || h.Rule != guard.RuleMaxRemovalWindow {
			t.Errorf("held is %+v", h)
		}
	})
	run(t, "what could not be written has not gone, and counts from when it goes", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish(eight)
		w.pass(time.Minute)
		w.store.setFail(errors.New("no space left on device"))
		w.registries[0].publish("a: 1 2, b: 5 6")
		w.pass(20 * time.Minute) // longer than the window
		w.wantLive(0, eight)
		w.store.setFail(nil)
		w.pass(time.Minute)
		w.wantStored("a: 1 2, b: 5 6")
		w.registries[0].publish("a: 1 2, b: 5")
		w.pass(8 * time.Minute)
		w.wantStored("a: 1 2, b: 5 6")
		if h := first(w.syncer.Status().Holds); h == nil || h.Rule != guard.RuleMaxRemovalWindow {
			t.Errorf("held is %+v", h)
		}
	})
	run(t, "a loss while nothing could be written", 1, 1, func(t *testing.T, w *world) {
		r := &lapsing{fakeRegistry: w.registries[0]}
		r.set(time.Time{}, 400)
		w.wrap = func(registry.Registry) registry.Registry { return r }
		w.start(guard.DefaultConfig())
		defer w.stop()
		r.publish(eight)
		w.pass(time.Minute)
		w.store.setFail(errors.New("no space left on device"))
		r.set(time.Now(), 3) // it was wiped
		r.publish("")
		w.pass(10 * time.Second)
		r.set(r.Condition().Lapsed, 500)
		r.publish("a: 1 2 3, b: 5 6 7") // within every limit, and not all are back yet
		w.pass(10 * time.Second)
		w.store.setFail(nil)
		w.pass(time.Minute)
		w.wantStored(eight)
	})
	run(t, "since when there is a hold", 1, 1, func(t *testing.T, w *world) {
		limits := guard.DefaultConfig()
		limits.HoldFor = 10 * time.Minute
		w.start(limits)
		w.registries[0].publish(eight)
		w.pass(time.Minute)
		w.registries[0].publish("a: 1")
		w.pass(9 * time.Minute)
		w.wantStored(eight)
		w.stop()
		w.start(limits)
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(2 * time.Minute)
		w.wantStored("a: 1")
	})
	run(t, "what is missing, from one pass to the next", 1, 1, func(t *testing.T, w *world) {
		pass := func(seen, want string, held bool) {
			t.Helper()
			s := New(w.parts(guard.DefaultConfig()))
			w.registries[0].publish(seen)
			out, err := s.RunOnce(t.Context(), Once{Limit: time.Second})
			if err != nil || (len(out.Holds) > 0) != held {
				t.Errorf("seen %q: held %+v, %v", seen, out.Holds, err)
			}
			w.wantStored(want)
			w.pass(time.Minute)
		}
		pass(eight, eight, false)
		pass("", eight, true)
		pass("a: 1 2 3, b: 5 6", eight, true) // 3 of 8 are within every limit
		pass("a: 1 2 3, b: 5 6 7", eight, true)
		pass("a: 1 2 3, b: 5 6 7", eight, true)
		pass("a: 1 2 3, b: 5 6 7", eight, true)
		pass("a: 1 2 3, b: 5 6 7", "a: 1 2 3, b: 5 6 7", false)
	})
	run(t, "an account that can't be read lets nothing go, and the log says so", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set(eight), Guard: []string{"sum 00", "hello"}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5 6 7")
		w.pass(9 * time.Minute)
		w.wantStored(eight)
		said := slices.ContainsFunc(w.log.AllEntries(), func(e *logrus.Entry) bool {
			return strings.Contains(e.Message, "what the guard remembers can't be read")
		})
		if !said {
			t.Error("the log does not say so")
		}
		w.pass(2 * time.Minute)
		w.wantStored("a: 1 2 3 4, b: 5 6 7")
	})
	run(t, "a hold of before there was an account", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2 3 4, b: 5 6 7 8 9"), Base: 5}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 4, b: 5 6 7 8 9")
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4, b: 5 6 7 8 9")
	})
}

// Several holds are at a time, and each is let through by itself.
func TestSeveralHolds(t *testing.T) {
	run(t, "of two services", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		const rest = ", c: 11 12 13 14 15 16 17 18 19 20 21 22"
		w.registries[0].publish("a: 1 2 3 4 5, b: 6 7 8 9 10" + rest)
		w.pass(time.Minute)
		w.registries[0].publish("a: 1, b: 6" + rest)
		w.pass(time.Minute)
		holds := w.syncer.Status().Holds
		if len(holds) != 2 || holds[0].Upstream != "a" || holds[1].Upstream != "b" {
			t.Fatalf("held is %+v", holds)
		}
		w.do(Approve(holds[1].ID))
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4 5, b: 6"+rest)
		w.refused(Approve(holds[1].ID), ErrUnknown)
		if left := w.syncer.Status().Holds; len(left) != 1 || left[0].ID != holds[0].ID {
			t.Errorf("held is %+v", left)
		}
		if n := len(w.told.of(EventHeld)); n != 2 {
			t.Errorf("%d holds were told of", n)
		}
	})
}

// lapsing is a registry that says when it was away, and counts its states.
type lapsing struct {
	*fakeRegistry
	mu     sync.Mutex
	lapsed time.Time
	index  uint64
}

func (r *lapsing) Condition() registry.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return registry.Condition{Lapsed: r.lapsed, Index: r.index}
}

func (r *lapsing) set(lapsed time.Time, index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lapsed, r.index = lapsed, index
}

func TestARegistryThatWasAway(t *testing.T) {
	const all, half = "a: 1 2, b: 3 4", "a: 1 2"
	begin := func(w *world) *lapsing {
		r := &lapsing{fakeRegistry: w.registries[0]}
		r.set(time.Time{}, 400)
		w.wrap = func(registry.Registry) registry.Registry { return r }
		w.start(guard.DefaultConfig())
		r.publish(all)
		w.pass(time.Minute)
		return r
	}
	run(t, "what it lacks when it is back stays for the recovery", 1, 1, func(t *testing.T, w *world) {
		r := begin(w)
		defer w.stop()
		r.set(time.Now(), 400)
		w.pass(time.Minute)
		r.publish(half)
		w.pass(2 * time.Minute)
		w.wantStored(all)
		w.pass(2 * time.Minute)
		w.wantStored(half)
	})
	run(t, "it lost its state while the daemon was away", 1, 1, func(t *testing.T, w *world) {
		r := begin(w)
		w.stop()
		r.set(time.Time{}, 57)
		w.start(guard.DefaultConfig())
		defer w.stop()
		r.publish(half)
		w.pass(2 * time.Minute)
		w.wantStored(all)
		r.publish("a: 1 2, b: 3")
		w.pass(2 * time.Minute)
		w.wantStored(all)
		w.pass(2 * time.Minute)
		w.wantStored("a: 1 2, b: 3")
	})
	run(t, "a first look counts like any other", 1, 1, func(t *testing.T, w *world) {
		r := begin(w)
		w.stop()
		w.start(guard.DefaultConfig())
		defer w.stop()
		r.publish(half)
		w.pass(soon)
		w.wantStored(half)
	})
}

// A freeze does not hide that the registries list nothing.
func TestFreezeHidesNoEmptyRegistry(t *testing.T) {
	run(t, "one of two is frozen", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Second)
		if _, err := w.syncer.Do(t.Context(), Freeze(generation.Freeze{Name: "a"})); err != nil {
			t.Fatal(err)
		}
		w.registries[0].publish("")
		w.pass(time.Second)
		w.wantStored("a: 1, b: 2")
	})
}
