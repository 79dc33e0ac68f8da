package syncer

import (
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
)

var (
	alice = generation.Signature{By: "alice", Why: "deploy 42"}
	bob   = generation.Signature{By: "uid 1000"}
)

// signedEvent wants one event of a kind, which bears this name.
func (w *world) signedEvent(kind string, want generation.Signature) {
	w.t.Helper()
	if e := w.told.of(kind); len(e) != 1 || e[0].Signed != want {
		w.t.Errorf("told of %s: %+v, want it signed %s", kind, e, want)
	}
}

// signedStore wants what is stored to bear this name.
func (w *world) signedStore(want generation.Signature) {
	w.t.Helper()
	if g, _ := w.store.now(); g.Signed != want {
		w.t.Errorf("generation %d is signed %s, want %s", g.Number, g.Signed, want)
	}
}

// signedLog wants a line of the log that has this name.
func (w *world) signedLog(message string, want generation.Signature) {
	w.t.Helper()
	for _, e := range w.log.AllEntries() {
		why, _ := e.Data["why"].(string)
		if e.Message == message && e.Data["by"] == want.By && why == want.Why {
			return
		}
	}
	w.t.Errorf("no line %q by %s", message, want)
}

func TestOrdersBearTheirNames(t *testing.T) {
	nobody := generation.Signature{}
	run(t, "an approval", 1, 1, func(_ *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Minute)
		w.signedStore(nobody)
		w.signedEvent(EventGeneration, nobody)
		w.registries[0].publish("a: 1")
		w.pass(soon)
		w.do(Signed(alice, Approve(first(w.syncer.Status().Holds).ID)))
		w.pass(soon)
		w.wantLive(0, "a: 1")
		w.signedStore(alice)
		w.signedEvent(EventApproved, alice)
		w.signedEvent(EventGeneration, alice)
		w.signedLog("an operator approved the hold: the change goes through", alice)
		w.registries[0].publish("a: 1 2")
		w.pass(time.Minute)
		w.signedStore(nobody) // that was nobody's order
		w.signedEvent(EventGeneration, nobody)
	})
	run(t, "a freeze, and what comes when it ends", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.do(Signed(alice, Freeze(generation.Freeze{Name: "a"})))
		w.signedEvent(EventFrozen, alice)
		w.signedLog("upstream a is frozen until it is released", alice)
		w.do(Signed(bob, Freeze(generation.Freeze{Name: "a"})))
		if f := w.syncer.Status().Generation.Frozen; len(f) != 1 || f[0].Signed != bob {
			t.Errorf("frozen are %+v", f)
		}
		w.registries[0].publish("a: 2")
		w.pass(time.Minute)
		w.signedStore(nobody)
		w.do(Signed(alice, Unfreeze("a")))
		w.pass(time.Minute)
		w.wantLive(0, "a: 2")
		w.signedEvent(EventUnfrozen, alice)
		w.signedStore(alice)
		w.registries[0].publish("a: 3")
		w.pass(time.Minute)
		w.signedStore(nobody)
	})
	run(t, "a freeze that ends of itself", 1, 1, func(_ *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.do(Signed(alice, Freeze(generation.Freeze{Name: "a", Until: time.Now().Add(time.Hour)})))
		w.pass(2 * time.Hour)
		w.signedEvent(EventUnfrozen, nobody)
	})
	run(t, "a rollback", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.do(Signed(bob, Rollback(generation.Generation{Number: 3, Set: set("a: 1 2")})))
		w.pass(soon)
		w.signedStore(bob)
		w.signedEvent(EventRolledBack, bob)
		w.signedLog("a person rolled back to generation 3 and froze everything at it", bob)
		if f := w.syncer.Status().Generation.Frozen; len(f) != 1 || f[0].Signed != bob {
			t.Errorf("frozen are %+v", f)
		}
	})
	run(t, "what a single pass lets through", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 1, Set: set("a: 1 2 3 4, b: 5")}
		w.gateways[0].set("a: 1 2 3 4, b: 5")
		w.registries[0].publish("a: 1")
		held, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Second, Approve: "none", Signed: alice})
		if err != nil || first(held.Holds) == nil {
			t.Fatalf("%+v: %v", held, err)
		}
		w.registries[0].publish("a: 1")
		once := Once{Limit: time.Second, Approve: first(held.Holds).ID, Signed: alice}
		if _, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), once); err != nil {
			t.Fatal(err)
		}
		w.wantLive(0, "a: 1")
		w.signedStore(alice)
		w.signedLog("an operator approved the hold: the change goes through", alice)
		w.registries[0].publish("a: 1 2")
		if _, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), once); err != nil {
			t.Fatal(err)
		}
		w.signedStore(nobody) // nothing was held any more
	})
}

// An order that nobody may sign so is refused as a whole. Whoever takes it has the next write fail, and each one after it.
func TestASignatureThatCannotBeWritten(t *testing.T) {
	bad := generation.Signature{By: "alice", Why: "x\nupstream y {"}
	run(t, "no order", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Minute)
		w.do(Freeze(generation.Freeze{Name: "b"}))
		w.registries[0].publish("a: 1, b: 5")
		w.pass(soon)
		held := first(w.syncer.Status().Holds)
		for what, o := range map[string]Order{
			"approve": Approve(held.ID), "freeze": Freeze(generation.Freeze{Name: "a"}), "unfreeze": Unfreeze("b"),
			"rollback": Rollback(generation.Generation{Number: 1, Set: set("a: 1 2")}),
		} {
			if _, err := w.syncer.Do(t.Context(), Signed(bad, o)); err == nil {
				t.Errorf("%s: carried out", what)
			}
		}
		w.pass(soon)
		w.registries[0].publish("a: 1 2 3 4 6, b: 5 7")
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4 6, b: 5")
		if st := w.syncer.Status(); st.StoreErr != nil || len(st.Generation.Frozen) != 1 {
			t.Errorf("frozen is %v, and the file: %v", st.Generation.Frozen, st.StoreErr)
		}
	})
}
