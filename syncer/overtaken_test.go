package syncer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/retry"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// newerError says that somebody else has written.
type newerError struct{ error }

func (newerError) Newer() bool { return true }

// What somebody else wrote later is the baseline, and what was made of the older state is decided anew.
func TestSomebodyElseWroteTheFile(t *testing.T) {
	run(t, "an older plan gives way", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(time.Minute)
		w.store.overtake(9, "a: 1 2 3 4 5 6 7 8 9 10")
		w.registries[0].publish("a: 1 2 3")
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4 5 6 7 8 9 10") // 7 of 10 may not go
		if h := first(w.syncer.Status().Holds); h == nil || h.Of != 10 {
			t.Errorf("held is %+v", h)
		}
	})
	run(t, "a registry that can't be read has nothing to say against it", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(time.Minute)
		w.registries[0].setTrouble(errors.New("connection refused"))
		const theirs = "a: 1 2 3 4 5"
		w.store.overtake(9, theirs)
		w.pass(time.Hour)
		w.wantStored(theirs)
		w.registries[0].setTrouble(nil)
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4")
	})
	run(t, "no gateway gets what is older, although no registry has news", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(time.Minute)
		w.events.take()
		w.pass(9 * time.Second) // the gateway is compared in a second, before the file is
		const theirs = "a: 1 2 3 4 5"
		w.store.overtake(9, theirs)
		w.gateways[0].set(theirs)
		w.pass(2 * time.Second)
		if did := w.events.take(); len(did) > 0 && strings.HasPrefix(did[0], "apply") {
			t.Errorf("an older state went out: %q", did)
		}
		if st := w.syncer.Status(); len(w.told.of(EventOutOfSync)) > 0 || st.Generation.Number < 9 {
			t.Errorf("generation %d, and the gateway was called out of sync", st.Generation.Number)
		}
		w.pass(time.Minute)
		w.wantLive(0, "a: 1 2 3 4") // it is the registry's, and newer than theirs
		w.wantStored("a: 1 2 3 4")
	})
}

// Two daemons tell the same gateways things: who takes the other one's state over asks them first, and what was its
// own and is not the other one's is leaving.
func TestTakingOverAsksTheGateways(t *testing.T) {
	run(t, "an older plan gives way", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Second)
		const theirs = "a: 1 2 3 4 6" // of b it knows nothing
		w.gateways[0].set(theirs)
		_, before := w.gateways[0].now()
		w.store.overtake(9, theirs)
		w.registries[0].publish("a: 1 2 3 4 6")
		w.pass(time.Second)
		if _, applied := w.gateways[0].now(); applied != before {
			t.Errorf("the gateway was told %d times", applied-before)
		}
		if g, _ := w.store.now(); len(g.Leaving) != 0 { // it has confirmed that b is gone
			t.Errorf("%v is leaving", g.Leaving)
		}
	})
}

func TestTakingOverForgetsNoOrphan(t *testing.T) {
	run(t, "what is ours alone is leaving", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Second)
		w.store.overtake(9, "a: 1 2 3 4 6")
		w.registries[0].publish("a: 1 2 3 4 6")
		w.pass(time.Second)
		w.wantLive(0, "a: 1 2 3 4 6")
	})
}

// An upstream that we removed, that another process brought back, and that we remove again is ours all the while, also for
// a gateway that was too busy to hear of the other one's generation.
func TestWhatAnotherProcessBroughtBackIsNoStranger(t *testing.T) {
	run(t, "the gateway is being asked meanwhile", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Second)
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(8 * time.Second)
		w.wantLive(0, "a: 1 2 3 4")
		w.gateways[0].mu.Lock()
		w.gateways[0].delay = 3 * time.Second
		w.gateways[0].mu.Unlock()
		w.pass(2 * time.Second) // the gateway is being compared
		const theirs = "a: 1 2 3 4, b: 5"
		w.store.overtake(9, theirs)
		w.gateways[0].set(theirs)
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(time.Second)
		w.registries[0].publish("a: 1 2 3 4 6") // decided by what is theirs
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4 6")
		w.wantLive(0, "a: 1 2 3 4 6")
	})
}

// Whoever asks a gateway while the loop takes over another process's generation has an older one in hand.
func TestWhatWasUnderWayIsOverToo(t *testing.T) {
	run(t, "it was read before", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(9 * time.Second)
		const theirs = "a: 1 2 3 4 5"
		w.gateways[0].set(theirs)
		w.gateways[0].mu.Lock()
		w.gateways[0].delay = 3 * time.Second
		w.gateways[0].mu.Unlock()
		w.pass(2 * time.Second) // the gateway is being compared
		w.events.take()
		w.store.overtake(9, theirs)
		w.registries[0].publish("a: 1 2 3 4 5 6")
		w.pass(time.Minute)
		if did := w.events.take(); slices.Contains(did, "apply a: 1 2 3 4") {
			t.Errorf("an older state went out: %q", did)
		}
		w.wantLive(0, "a: 1 2 3 4 5 6")
	})
}

// What a delivery takes up before or during a take-over is old after it, and what comes of it is asked of the gateway.
func TestTakingUpDuringATakeOver(t *testing.T) {
	ours, theirs := generation.Generation{Number: 5}, generation.Generation{Number: 6}
	d := &delivery{wake: make(chan struct{}, 1)}
	d.to(ours, Timing{})
	_, before, _ := d.wanted()
	if d.outdated(before) {
		t.Error("old without a take-over")
	}
	d.hold()
	_, meanwhile, _ := d.wanted()
	for when, epoch := range map[string]int{"before": before, "meanwhile": meanwhile} {
		if !d.outdated(epoch) {
			t.Errorf("what was taken up %s is not old during it", when)
		}
	}
	d.replace(theirs)
	for when, epoch := range map[string]int{"before": before, "meanwhile": meanwhile} {
		if !d.outdated(epoch) {
			t.Errorf("what was taken up %s is not old after it", when)
		}
	}
	if g, epoch, unsure := d.wanted(); g.Number != 6 || !unsure || d.outdated(epoch) {
		t.Errorf("generation %d, unsure %v, old %v", g.Number, unsure, d.outdated(epoch))
	}

	d.hold()
	_, meanwhile, _ = d.wanted()
	d.release() // the conf file could not be read
	if g, epoch, _ := d.wanted(); g.Number != 6 || d.outdated(epoch) || !d.outdated(meanwhile) {
		t.Errorf("generation %d, old %v, and what was taken up meanwhile %v", g.Number, d.outdated(epoch), d.outdated(meanwhile))
	}
}

// Two processes that both wrote generation 1: who shows ours does not show theirs.
func TestASharedNumberIsNoSharedState(t *testing.T) {
	run(t, "what is leaving is noted until every gateway has confirmed it", 1, 2, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Second)
		ours, _ := w.store.now()
		w.gateways[1].mu.Lock()
		w.gateways[1].delay = 3 * time.Second
		w.gateways[1].mu.Unlock()
		w.gateways[1].setFail(errors.New("connection refused"))
		w.store.overtake(ours.Number, "a: 1 2 3 4 6")
		w.registries[0].publish("a: 1 2 3 4 6")
		w.pass(time.Minute)
		w.gateways[1].setFail(nil)
		w.pass(time.Minute)
		for i := range w.gateways {
			w.wantLive(i, "a: 1 2 3 4 6")
		}
	})
}

// heardOf is a registry that says when it was heard last.
type heardOf struct {
	*fakeRegistry
	mu    sync.Mutex
	heard time.Time
}

func (r *heardOf) Condition() registry.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return registry.Condition{Heard: r.heard}
}

func (r *heardOf) hear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = time.Now()
}

// An agent that is silent is not in trouble yet. What it gave before another process wrote is old until it is heard again,
// with news or without.
func TestASilentRegistryHasNothingToSay(t *testing.T) {
	run(t, "against what another process wrote", 1, 1, func(t *testing.T, w *world) {
		r := &heardOf{fakeRegistry: w.registries[0]}
		w.wrap = func(registry.Registry) registry.Registry { return r }
		w.start(guard.DefaultConfig())
		defer w.stop()
		r.hear()
		r.publish("a: 1 2 3 4")
		w.pass(time.Minute)
		const theirs = "a: 1 2 3 4 5"
		w.store.overtake(9, theirs)
		w.pass(time.Hour)
		w.wantStored(theirs)
		w.wantLive(0, theirs)
		r.hear()
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4")
		w.wantLive(0, "a: 1 2 3 4")
	})
	run(t, "beside one that was heard", 2, 1, func(t *testing.T, w *world) {
		silent := &heardOf{fakeRegistry: w.registries[0]}
		w.wrap = func(r registry.Registry) registry.Registry {
			if r == registry.Registry(w.registries[0]) {
				return silent
			}
			return r
		}
		w.start(guard.DefaultConfig())
		defer w.stop()
		silent.hear()
		silent.publish("a: 1 2 3 4")
		w.registries[1].sets <- ofOrigin("s", "b: 6 7 8 9")
		w.pass(time.Minute)
		w.store.overtake(9, "a: 1 2 3 4 5")
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4 5, b: 6 7 8 9")
	})
}

// What came of an older generation is not told of one with the same number that has taken its place meanwhile.
func TestAReportOfWhatIsOld(t *testing.T) {
	d := newDelivery(Target{Name: "A", Resync: time.Minute}, retry.Default(), logs.Silent(), func(e Event) { t.Errorf("told of %+v", e) },
		nil, make(chan struct{}, 1), make(chan struct{}, 1))
	g := generation.Generation{Number: 5}
	d.to(g, Timing{})
	_, epoch, _ := d.wanted()
	d.hold()
	report := func() {
		t.Helper()
		if again := d.report(g, epoch, upstream.Changes{}, nil, true); again != unsettledAgain {
			t.Errorf("again after %s", again)
		}
		if st := d.status(); st.InSync || st.Generation != 0 || !st.Checked.IsZero() {
			t.Errorf("it is taken for %+v", st)
		}
	}
	report()
	d.replace(g)
	report()
}

// A gateway that differs while nobody knows what the conf file has is not pushed to, and not called in sync either.
func TestAFileThatCantBeRead(t *testing.T) {
	share(t, "is no reason to call a gateway in sync", func(t *testing.T, w *shared) {
		defer w.stop()
		if err := errors.Join(os.Remove(w.path), os.WriteFile(w.path, []byte("server {}\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		w.gateways[0].set("a: 9")
		w.pass(10 * time.Minute)
		w.wantLive(0, "a: 9")
		gw := w.syncer.Status().Gateways[0]
		if age := time.Since(gw.Checked); gw.InSync || age > 2*time.Minute || !strings.Contains(fmt.Sprint(gw.Err), "nothing is pushed") {
			t.Errorf("in sync: %t, looked at %s ago: %v", gw.InSync, age, gw.Err)
		}
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Minute)
		w.wantLive(0, listed)
		if gw := w.syncer.Status().Gateways[0]; !gw.InSync {
			t.Errorf("out of sync: %v", gw.Err)
		}
	})
}
