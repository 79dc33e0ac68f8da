package syncer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

func (w *world) do(o Order) string {
	w.t.Helper()
	remark, err := w.syncer.Do(w.t.Context(), o)
	if err != nil {
		w.t.Errorf("the order: %v", err)
	}
	synctest.Wait()
	return remark.String()
}

// refused wants an order refused because of a cause, in these words where some are given.
func (w *world) refused(o Order, want error, words ...string) {
	w.t.Helper()
	_, err := w.syncer.Do(w.t.Context(), o)
	if !errors.Is(err, want) || len(words) > 0 && err.Error() != words[0] {
		w.t.Errorf("the order: %v, want %v %v", err, want, words)
	}
}

func TestApprove(t *testing.T) {
	held := func(t *testing.T, w *world) *guard.Hold {
		w.start(guard.DefaultConfig())
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Minute)
		w.registries[0].publish("a: 1")
		w.pass(soon)
		hold := first(w.syncer.Status().Holds)
		if hold == nil || hold.Of != 5 {
			t.Fatalf("held is %+v", hold)
		}
		w.wantLive(0, "a: 1 2 3 4, b: 5")
		return hold
	}
	run(t, "lets the hold through", 1, 1, func(t *testing.T, w *world) {
		hold := held(t, w)
		defer w.stop()
		w.do(Approve(hold.ID))
		w.pass(soon)
		w.wantLive(0, "a: 1")
		if st := w.syncer.Status(); first(st.Holds) != nil || !st.InSync() {
			t.Errorf("status %+v", st)
		}
		if len(w.told.of(EventHeld)) != 1 || len(w.told.of(EventApproved)) != 1 || len(w.told.of(EventHoldEnded)) != 1 {
			t.Error("the events are not one each")
		}
		w.registries[0].publish("b: 5") // the approval was for that one change
		w.registries[0].publish("a: 1, b: 5 6 7 8 9")
		w.pass(time.Minute)
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		if first(w.syncer.Status().Holds) == nil {
			t.Error("a later removal is not held")
		}
	})
	run(t, "an approved change that is still within recovery goes through", 1, 1, func(t *testing.T, w *world) {
		hold := held(t, w)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3, b: 5") // within the limits, and held until it has settled
		w.pass(soon)
		strict := first(w.syncer.Status().Holds)
		if strict == nil || strict.ID == hold.ID {
			t.Fatalf("held is %+v", strict)
		}
		w.do(Approve(strict.ID))
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3, b: 5")
	})
	run(t, "another one does not", 1, 1, func(t *testing.T, w *world) {
		hold := held(t, w)
		defer w.stop()
		w.refused(Approve("0123"), ErrUnknown, "no hold 0123; held now: "+hold.ID)
		w.registries[0].publish("b: 5")
		w.pass(soon)
		w.refused(Approve(hold.ID), ErrUnknown)
		if first(w.syncer.Status().Holds) == nil {
			t.Error("another change went through")
		}
		w.wantLive(0, "a: 1 2 3 4, b: 5")
	})
	run(t, "where nothing is held there is none", 1, 1, func(_ *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.refused(Approve("0123"), ErrUnknown, "no hold 0123; nothing is held now")
	})
	run(t, "of one of two registries, also from a second rule", 2, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5 6")
		w.registries[1].sets <- ofOrigin("s", "b: 7")
		w.pass(time.Minute)
		w.registries[0].publish("")
		w.pass(soon)
		hold := first(w.syncer.Status().Holds)
		if hold == nil {
			t.Fatal("nothing is held")
		}
		w.do(Approve(hold.ID))
		w.pass(soon)
		w.wantLive(0, "b: 7")
	})
}

func TestFreeze(t *testing.T) {
	end := func(d time.Duration) time.Time { return time.Now().Add(d) }
	run(t, "an upstream stays as it is, others go on", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.do(Freeze(generation.Freeze{Name: "A"}))
		w.registries[0].publish("b: 2 3, c: 4")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 2 3, c: 4")
		w.registries[0].publish("a: 9, b: 2 3, c: 4")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 2 3, c: 4")
		want := []upstream.Out{{Service: "a", Upstream: "a", Addr: "10.0.0.9:80", Reason: outByFreeze.With()}}
		if out := slices.Collect(w.syncer.Status().Out.All()); !slices.Equal(out, want) {
			t.Errorf("out are %v", out)
		}
		w.do(Unfreeze("a"))
		w.pass(soon)
		w.wantLive(0, "a: 9, b: 2 3, c: 4")
		if out := slices.Collect(w.syncer.Status().Out.All()); len(out) != 0 {
			t.Errorf("out are %v", out)
		}
		if f, u := w.told.of(EventFrozen), w.told.of(EventUnfrozen); len(f) != 1 || len(u) != 1 || f[0].Upstream != "a" {
			t.Errorf("told of %v and %v", f, u)
		}
	})
	run(t, "everything stays, and nothing is held meanwhile", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Minute)
		w.do(Freeze(generation.Freeze{}))
		for _, seen := range []string{"a: 1", "", "a: 1 2 3 4 5 6, c: 7"} {
			w.registries[0].publish(seen)
			w.pass(time.Minute)
			w.wantLive(0, "a: 1 2 3 4, b: 5")
		}
		if st := w.syncer.Status(); first(st.Holds) != nil || len(st.Generation.Frozen) != 1 {
			t.Errorf("status %+v", st)
		}
		w.do(Unfreeze(""))
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4 5 6, c: 7")
	})
	run(t, "a newer one takes the place of one of its name, and of no other", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		until := end(2 * time.Hour)
		w.do(Freeze(generation.Freeze{Name: "a"}))
		w.do(Freeze(generation.Freeze{Name: "b"}))
		w.do(Freeze(generation.Freeze{}))
		w.do(Freeze(generation.Freeze{Name: "a", Until: until}))
		var names, texts []string
		for _, f := range w.syncer.Status().Generation.Frozen {
			names = append(names, string(f.Name))
			if f.Name == "a" && !f.Until.Equal(until) {
				t.Errorf("a is frozen until %s", f.Until)
			}
		}
		for _, e := range w.told.of(EventFrozen) {
			texts = append(texts, e.Text.String())
		}
		want := []string{
			"upstream a is frozen until it is released", "upstream b is frozen until it is released",
			"everything is frozen until it is released", "upstream a is frozen until " + until.UTC().Format(time.RFC3339),
		}
		if slices.Sort(names); !slices.Equal(names, []string{"", "a", "b"}) || !slices.Equal(texts, want) {
			t.Errorf("frozen are %q, told was %q", names, texts)
		}
	})
	run(t, "it ends by itself", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.do(Freeze(generation.Freeze{Name: "a", Until: end(time.Hour)}))
		w.registries[0].publish("a: 2")
		w.pass(59 * time.Minute)
		w.wantLive(0, "a: 1")
		w.pass(2 * time.Minute)
		w.wantLive(0, "a: 2")
		if g, _ := w.store.now(); len(g.Frozen) != 0 || len(w.told.of(EventUnfrozen)) != 1 {
			t.Errorf("frozen is %v", g.Frozen)
		}
	})
	run(t, "it ends by itself also where nothing else changes", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.do(Freeze(generation.Freeze{Name: "a", Until: end(time.Hour)}))
		w.pass(61 * time.Minute)
		if g, _ := w.store.now(); len(g.Frozen) != 0 {
			t.Errorf("frozen is %v", g.Frozen)
		}
	})
	run(t, "it survives a restart", 1, 1, func(_ *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1"), Frozen: []generation.Freeze{{Name: "a"}}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 2, b: 3")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 3")
	})
	run(t, "what is not there can't be frozen or released", 1, 1, func(_ *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.refused(Freeze(generation.Freeze{}), ErrNotNow, "everything can't be frozen: nothing was written yet")
		w.registries[0].publish("a: 1")
		w.pass(soon)
		w.refused(Freeze(generation.Freeze{Name: "b"}), ErrUnknown, `upstream "b" is not in the conf file`)
		w.refused(Unfreeze("a"), ErrUnknown, "upstream a is not frozen; nothing is frozen")
		w.do(Freeze(generation.Freeze{Name: "a"}))
		w.refused(Unfreeze(""), ErrUnknown, "everything is not frozen; frozen now: a")
	})
	run(t, "a file that can't be written freezes nothing", 1, 1, func(_ *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(soon)
		full := errors.New("no space left")
		w.store.setFail(full)
		w.refused(Freeze(generation.Freeze{}), full)
		w.store.setFail(nil)
		w.registries[0].publish("a: 2")
		w.pass(time.Minute)
		w.wantLive(0, "a: 2")
	})
	t.Run("one pass keeps to it", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1"), Frozen: []generation.Freeze{{Name: "a"}}}
		w.registries[0].publish("a: 2, b: 3")
		if _, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Second}); err != nil {
			t.Fatal(err)
		}
		w.wantLive(0, "a: 1, b: 3")
	})
}

func TestRollback(t *testing.T) {
	earlier := generation.Generation{Number: 3, Set: set("a: 1 2")}
	run(t, "writes, pushes and freezes", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2 3 4 5 6")
		w.pass(time.Minute)
		w.events.take()
		remark := w.do(Rollback(earlier))
		if !strings.Contains(remark, "5 of 6 servers would go") {
			t.Errorf("the guard says %q", remark)
		}
		w.pass(soon)
		w.wantStored("a: 1 2")
		w.wantLive(0, "a: 1 2")
		w.registries[0].publish("a: 1, b: 2 3 4 5 6 7")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1 2")
		g, _ := w.store.now()
		if g.Number != 2 || g.Reason.String() != "rolled back to generation 3" || len(w.told.of(EventRolledBack)) != 1 {
			t.Errorf("generation %+v", g)
		}
		w.do(Unfreeze(""))
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 2 3 4 5 6 7")
	})
	run(t, "what a person froze by its name stays frozen", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.do(Freeze(generation.Freeze{Name: "a"}))
		w.do(Freeze(generation.Freeze{}))
		w.do(Rollback(earlier))
		if g, _ := w.store.now(); len(g.Frozen) != 2 {
			t.Errorf("frozen are %v", g.Frozen)
		}
		w.do(Unfreeze(""))
		w.registries[0].publish("a: 9, b: 2")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1 2, b: 2")
	})
	run(t, "a file that can't be written changes nothing", 1, 1, func(_ *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 5")
		w.pass(time.Minute)
		full := errors.New("no space left")
		w.store.setFail(full)
		w.refused(Rollback(earlier), full)
		w.pass(soon)
		w.wantLive(0, "a: 5")
	})
	run(t, "it works while no registry answers", 1, 1, func(_ *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 5")}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.do(Rollback(earlier))
		w.pass(soon)
		w.wantLive(0, "a: 1 2")
	})
	t.Run("without a daemon", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 5, b: 6")}
		w.gateways[0].set("a: 5, b: 6, mine: 7")
		_, gateways, err := New(w.parts(guard.DefaultConfig())).DoOnce(t.Context(), Rollback(earlier))
		if err != nil || len(gateways) != 1 || gateways[0].Err != nil {
			t.Fatalf("%+v, %v", gateways, err)
		}
		w.wantLive(0, "a: 1 2, mine: 7")
		if g, _ := w.store.now(); len(g.Frozen) != 1 || len(g.Leaving) != 0 {
			t.Errorf("generation %+v", g)
		}
	})
}

func TestDoEndsWithItsContext(t *testing.T) {
	s := New(newWorld(t, 1, 1).parts(guard.DefaultConfig())) // that does not run
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Do(ctx, Unfreeze("")); !errors.Is(err, context.Canceled) {
		t.Errorf("Do: %v", err)
	}
}

func TestEventsOfAChange(t *testing.T) {
	run(t, "from the registry to the gateway", 1, 1, func(t *testing.T, w *world) {
		w.gateways[0].delay = 10 * time.Millisecond
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.told.of(EventServerIn)
		w.told.of(EventGeneration)
		w.told.of(EventPushed)
		published := time.Now()
		w.registries[0].publish("a: 1 3")
		w.pass(time.Second)
		gen, pushed := w.told.of(EventGeneration), w.told.of(EventPushed)
		if len(gen) != 1 || gen[0].Updated != 1 || gen[0].Removed != 1 || gen[0].Text.String() != "changed a; removed b" ||
			!gen[0].Timing.Seen.Equal(published) {
			t.Errorf("told of %+v", gen)
		}
		if len(pushed) != 1 || pushed[0].Gateway != "A" || pushed[0].Generation != 2 {
			t.Fatalf("told of %+v", pushed)
		}
		if p := pushed[0].Timing; !p.Seen.Equal(published) || p.Pushed.Sub(p.Pushing) != 10*time.Millisecond || !p.Posted.Equal(p.Pushing) {
			t.Errorf("the timing is %+v", p)
		}
		in, out := w.told.of(EventServerIn), w.told.of(EventServerOut)
		if len(in) != 1 || in[0].Upstream != "a" || len(out) != 1 || out[0].Upstream != "b" {
			t.Errorf("told of %+v and %+v", in, out)
		}
		if !slices.Equal(w.store.archived, []int{1, 2}) {
			t.Errorf("put into the history were %v", w.store.archived)
		}
		for server, later := range map[string]bool{"10.0.0.3:80": true, "10.0.0.1:80": false} {
			at := w.syncer.Since().In(guard.ServerID{Upstream: "a", Addr: netip.MustParseAddrPort(server)})
			if at.IsZero() || at.After(published.Add(-time.Millisecond)) != later {
				t.Errorf("%s is in since %s", server, at)
			}
		}
	})
	run(t, "a gateway that is down and comes back", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		if got := w.told.of(EventInSync); len(got) != 1 {
			t.Errorf("told of %+v", got)
		}
		w.gateways[0].setFail(errors.New("refused"))
		w.pass(time.Minute)
		w.gateways[0].setFail(nil)
		w.pass(10 * time.Minute)
		down, up := w.told.of(EventOutOfSync), w.told.of(EventInSync)
		if len(down) != 1 || down[0].Gateway != "A" || len(up) != 1 {
			t.Errorf("told of %+v and %+v", down, up)
		}
	})
	run(t, "a file that can't be written", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.store.setFail(errors.New("no space left"))
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.store.setFail(nil)
		w.pass(10 * time.Minute)
		if len(w.told.of(EventStoreFailed)) != 1 || len(w.told.of(EventStored)) != 1 {
			t.Error("not told of once each")
		}
	})
}

// A plan asks the gateways between two deliveries, and waits for one that does not answer no longer than whoever asked.
func TestAPlanAsksTheGateways(t *testing.T) {
	run(t, "of which one does not answer", 1, 2, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(time.Minute)
		w.gateways[0].set("a: 1 2 3, b: 5")
		out, err := w.syncer.Plan(t.Context())
		if err != nil || len(out.Gateways) != 2 || len(out.Gateways[0].Changes.Updated) != 1 || !out.Gateways[1].Changes.Empty() {
			t.Errorf("gateways %+v, %v", out.Gateways, err)
		}
		w.wantLive(0, "a: 1 2 3, b: 5")
		w.gateways[1].mu.Lock()
		w.gateways[1].delay = time.Hour
		w.gateways[1].mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out, err = w.syncer.Plan(ctx)
		if err != nil || out.Gateways[0].Err != nil || !errors.Is(out.Gateways[1].Err, context.DeadlineExceeded) {
			t.Errorf("gateways %+v, %v", out.Gateways, err)
		}
	})
}
