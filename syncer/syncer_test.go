package syncer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 50 * time.Millisecond

// run is a test of a running syncer under a fake clock.
func run(t *testing.T, name string, registries, gateways int, f func(t *testing.T, w *world)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, registries, gateways)) })
	})
}

func TestRun(t *testing.T) {
	run(t, "a change goes to the file first, then to the gateway", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(soon)
		if got, want := w.events.take(), []string{"save a: 1", "apply a: 1"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if st := w.syncer.Status(); !st.InSync() || st.Generation.Number != 1 || st.Registries[0].Answered.IsZero() {
			t.Errorf("status %+v", st)
		}
	})

	run(t, "a single change waits a few milliseconds at most", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(time.Minute)
		w.registries[0].publish("a: 1")
		w.pass(2 * time.Millisecond)
		w.wantLive(0, "a: 1")
	})

	run(t, "changes that come close together are taken together", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		for i := range 100 {
			w.registries[0].publish(fmt.Sprintf("a: 1 2 3 4 %d", i+5))
			w.pass(500 * time.Microsecond)
		}
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4 104")
		if _, saves := w.store.now(); saves > 6 {
			t.Errorf("100 changes within 50 ms were written %d times", saves)
		}
	})

	run(t, "what is in sync is left alone", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].set("a: 1")
		w.start(guard.DefaultConfig())
		defer w.stop()
		for range 3 {
			w.registries[0].publish("a: 1")
			w.pass(time.Minute)
		}
		if got := w.events.take(); len(got) > 0 {
			t.Errorf("nothing had changed, yet: %q", got)
		}
		if st := w.syncer.Status(); !st.InSync() || st.Generation.Number != 7 {
			t.Errorf("status %+v", st)
		}
	})

	run(t, "no disk write, no push, and it is tried again", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.store.setFail(errors.New("no space left on device"))
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.wantLive(0, "")
		if st := w.syncer.Status(); st.StoreErr == nil || st.InSync() {
			t.Errorf("status %+v", st)
		}
		w.store.setFail(nil)
		w.pass(time.Minute)
		w.wantLive(0, "a: 1")
		if st := w.syncer.Status(); st.StoreErr != nil {
			t.Errorf("status %+v", st)
		}
	})

	run(t, "a gateway that is down is tried again, and the others go on", 1, 3, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 9")}
		w.gateways[0].setFail(errors.New("connection refused"))
		w.gateways[1].delay = 30 * time.Second // hangs
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(firstLook + soon)
		w.wantLive(0, "")
		w.wantLive(1, "")
		w.wantLive(2, "a: 1")
		w.gateways[0].setFail(nil)
		w.pass(5 * time.Minute)
		for i := range w.gateways {
			w.wantLive(i, "a: 1")
		}
	})

	run(t, "state does not move forward past a push that failed", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.gateways[0].setFail(errors.New("500"))
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.registries[0].publish("a: 1, b: 2, c: 3")
		w.pass(soon)
		w.gateways[0].setFail(nil)
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 2, c: 3")
	})

	run(t, "drift is found and mended", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.gateways[0].set("b: 9, mine: 8")
		w.pass(11 * time.Second)
		w.wantLive(0, "a: 1, b: 2, mine: 8")
	})

	run(t, "a change is pushed without reading all that is live first", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		for i := range 5 {
			w.registries[0].publish(fmt.Sprintf("a: 1 %d", i+2))
			w.pass(soon)
		}
		w.wantLive(0, "a: 1 6")
		if n := w.gateways[0].asked; n != 1 {
			t.Errorf("it was read %d times", n)
		}
	})

	run(t, "a slow gateway is asked what is not ours before the first decision", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].set("a: 1, mine: 8")
		w.gateways[0].delay = firstLook / 2
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, mine: 9")
		w.pass(time.Minute)
		w.wantStored("a: 1 2")
	})

	run(t, "one that does not answer does not hold up the others", 1, 2, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].delay = time.Hour
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2")
		w.pass(firstLook + soon)
		w.wantLive(1, "a: 1 2")
	})

	run(t, "a steady flow of changes does not put off the compare", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		for i := range 15 {
			w.registries[0].publish(fmt.Sprintf("a: 1, b: 2 %d", i+3))
			w.pass(time.Second)
			if i == 1 {
				w.gateways[0].set("b: 2 4") // somebody deletes a
			}
		}
		w.wantLive(0, "a: 1, b: 2 17")
	})

	run(t, "changes while a gateway is down make neither waits nor log longer", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(soon)
		w.gateways[0].setFail(errors.New("connection refused"))
		for i := range 200 {
			w.registries[0].publish(fmt.Sprintf("a: 1 %d", i%100+2))
			w.pass(soon)
		}
		told := 0
		for _, e := range w.log.AllEntries() {
			if e.Message == "the gateway is out of sync" {
				told++
			}
		}
		if told == 0 || told > 10 {
			t.Errorf("%d lines in 10 s", told)
		}
		w.gateways[0].setFail(nil)
		w.pass(15 * time.Second)
		w.wantLive(0, "a: 1 101")
	})

	run(t, "a service does not take over what an operator configured", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].set("a: 1, mine: 8")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, Mine: 9")
		w.pass(soon)
		w.wantStored("a: 1 2")
		w.wantLive(0, "a: 1 2, mine: 8")
		if out := slices.Collect(w.syncer.Status().Out.All()); len(out) != 1 || out[0].Service != "Mine" {
			t.Errorf("out: %v", out)
		}
		w.gateways[0].set("a: 1 2") // the operator takes it away
		w.pass(11 * time.Second)
		w.wantLive(0, "a: 1 2, Mine: 9")
	})

	run(t, "the first start takes over what another program left", 1, 1, func(t *testing.T, w *world) {
		w.gateways[0].set("a: 8, b: 9")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 9")
	})

	run(t, "what an operator configured by hand stays", 1, 1, func(t *testing.T, w *world) {
		w.gateways[0].set("mine: 8")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, mine: 8")
	})

	run(t, "a registry that has not answered changes nothing", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1, b: 2")}
		w.gateways[0].set("a: 1, b: 2")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(time.Hour)
		if got := w.events.take(); len(got) > 0 {
			t.Errorf("nobody said anything, yet: %q", got)
		}
	})

	run(t, "the file is the baseline: a gateway that lost it gets it back while the registry is silent", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1, b: 2")}
		w.gateways[0].set("b: 9")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 2")
	})

	run(t, "a registry that has not answered keeps its part, the others go on", 2, 1, func(t *testing.T, w *world) {
		// From r: a 1. From s: a 2 and b 3. From a registry that is no more: c 4.
		stored := set("a: 1 2, b: 3, c: 4")
		var list []upstream.Upstream
		for u := range stored.All() {
			u.Servers = slices.Clone(u.Servers)
			for i := range u.Servers {
				u.Servers[i].Origin = map[string]string{"10.0.0.1:80": "r", "10.0.0.2:80": "s", "10.0.0.3:80": "s", "10.0.0.4:80": "gone"}[u.Servers[i].Addr.String()]
			}
			list = append(list, u)
		}
		w.store.gen = generation.Generation{Number: 7, Set: upstream.NewSet(list)}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 9, d: 5")
		w.pass(time.Minute)
		w.wantLive(0, "a: 2 9, b: 3, c: 4, d: 5")
		w.registries[1].publish("b: 3")
		w.pass(time.Minute)
		w.wantLive(0, "a: 9, b: 3, d: 5")
	})

	run(t, "one registry that is suddenly empty is held by itself", 2, 1, func(t *testing.T, w *world) {
		limits := guard.DefaultConfig()
		limits.HoldFor = 10 * time.Minute
		w.start(limits)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5 6")
		w.registries[1].sets <- ofOrigin("s", "b: 7 8")
		w.pass(soon)
		w.registries[1].publish("")
		w.pass(soon)
		w.registries[0].publish("a: 1 2 3 4 5 6 9")
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4 5 6 9, b: 7 8")
		if h := first(w.syncer.Status().Holds); h == nil || h.Rule != guard.RuleMinServices || len(h.Removed) != 2 {
			t.Errorf("hold %+v", h)
		}
		w.pass(11 * time.Minute)
		w.wantLive(0, "a: 1 2 3 4 5 6 9")
	})

	run(t, "what the guard holds reaches neither file nor gateway", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4")
		w.pass(soon)
		w.events.take()
		w.registries[0].publish("")
		w.pass(time.Hour)
		if got := w.events.take(); len(got) > 0 {
			t.Errorf("held, yet: %q", got)
		}
		st := w.syncer.Status()
		if first(st.Holds) == nil || first(st.Holds).Rule != guard.RuleMinServices || first(st.Holds).Since.IsZero() {
			t.Errorf("hold %+v", first(st.Holds))
		}
		w.registries[0].publish("a: 1 2 3 4 5")
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4 5")
		if st := w.syncer.Status(); first(st.Holds) != nil {
			t.Errorf("hold %+v", first(st.Holds))
		}
	})

	run(t, "a hold's time is up", 1, 1, func(t *testing.T, w *world) {
		limits := guard.DefaultConfig()
		limits.HoldFor = 10 * time.Minute
		w.start(limits)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(soon)
		w.registries[0].publish("b: 5")
		w.pass(9 * time.Minute)
		w.registries[0].publish("b: 5 6") // the held change is the same
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4, b: 5 6")
		w.pass(2 * time.Minute)
		w.wantLive(0, "b: 5 6")
	})

	run(t, "a registry that comes back piece by piece loses nothing", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, b: 3, c: 4, d: 5")
		w.pass(soon)
		for _, seen := range []string{"", "a: 1", "a: 1, b: 3", "a: 1, b: 3, d: 5", "a: 1 2, b: 3, d: 5 6", "a: 1 2, b: 3, c: 4, d: 5 6"} {
			w.registries[0].publish(seen)
			w.pass(guard.DefaultConfig().Recovery - time.Second)
			if live, _ := w.gateways[0].now(); !strings.HasPrefix(live, "a: 1 2, b: 3, c: 4, d: 5") {
				t.Fatalf("when %q was back, the gateway had %q", seen, live)
			}
		}
		w.wantLive(0, "a: 1 2, b: 3, c: 4, d: 5 6")
		if st := w.syncer.Status(); first(st.Holds) != nil {
			t.Errorf("hold %+v", first(st.Holds))
		}
	})

	run(t, "a registry in which something always changes recovers all the same", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		seen := func(first int) string {
			return "a: " + strings.Trim(fmt.Sprint([]int{first, first + 1, first + 2, first + 3, first + 4, first + 5}), "[]")
		}
		w.registries[0].publish(seen(1))
		w.pass(soon)
		w.registries[0].publish("") // a moment of nothing
		w.pass(time.Second)
		for first := 1; first <= 20; first++ { // a rolling deployment
			w.registries[0].publish(seen(first))
			w.pass(20 * time.Second)
		}
		w.pass(time.Minute)
		w.wantLive(0, seen(20))
	})

	run(t, "what goes during a recovery does not make it longer", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5 6")
		w.pass(soon)
		w.registries[0].publish("")
		w.pass(time.Second)
		w.registries[0].publish("a: 2 3 4 5 6") // 1 is not back
		w.pass(20 * time.Second)
		w.registries[0].publish("a: 3 4 5 6")
		w.pass(guard.DefaultConfig().Recovery - 15*time.Second)
		w.wantLive(0, "a: 3 4 5 6")
	})

	run(t, "what does not come back goes after a while, within the limits", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, b: 3, c: 4, d: 5")
		w.pass(soon)
		w.registries[0].publish("")
		w.pass(soon)
		w.registries[0].publish("a: 1 2, b: 3, c: 4")
		w.pass(guard.DefaultConfig().Recovery - time.Second)
		w.wantLive(0, "a: 1 2, b: 3, c: 4, d: 5")
		if st := w.syncer.Status(); first(st.Holds) == nil || len(first(st.Holds).Removed) != 1 {
			t.Errorf("hold %+v", first(st.Holds))
		}
		w.pass(2 * time.Second)
		w.wantLive(0, "a: 1 2, b: 3, c: 4")
		if st := w.syncer.Status(); first(st.Holds) != nil {
			t.Errorf("hold %+v", first(st.Holds))
		}
	})

	run(t, "another held change begins its time anew", 1, 1, func(t *testing.T, w *world) {
		limits := guard.DefaultConfig()
		limits.HoldFor = 10 * time.Minute
		w.start(limits)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(soon)
		w.registries[0].publish("a: 1, b: 5")
		w.pass(9 * time.Minute)
		w.registries[0].publish("b: 5")
		w.pass(2 * time.Minute)
		w.wantLive(0, "a: 1 2 3 4, b: 5")
		w.pass(9 * time.Minute)
		w.wantLive(0, "b: 5")
	})

	run(t, "a watch that ends is started again", 1, 1, func(t *testing.T, w *world) {
		w.registries[0].fail = 3
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1")
	})

	run(t, "a hold's time is up while the file can't be written", 1, 1, func(t *testing.T, w *world) {
		limits := guard.DefaultConfig()
		limits.HoldFor = 10 * time.Minute
		w.start(limits)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4, b: 5")
		w.pass(soon)
		w.registries[0].publish("b: 5")
		w.pass(9 * time.Minute)
		w.store.setFail(errors.New("no space left on device"))
		w.pass(2 * time.Minute)
		w.store.setFail(nil)
		w.pass(time.Minute)
		w.wantLive(0, "b: 5")
	})

	run(t, "what stays although it is not usable is said to stay", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		seen := set("a: none, b: 2")
		w.registries[0].sets <- upstream.NewSet(slices.Collect(seen.All()),
			upstream.Out{Service: "a", Upstream: "a", Addr: "10.0.0.1:80", Reason: reason.Text("critical")},
			upstream.Out{Service: "b", Upstream: "b", Addr: "10.0.0.9:80", Reason: reason.Text("critical")})
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 2")
		out := slices.Collect(w.syncer.Status().Out.All())
		if len(out) != 2 || out[0].Reason.String() != "critical: it is kept in traffic" || out[1].Reason.String() != "critical" {
			t.Errorf("left out: %v", out)
		}
	})

	run(t, "a watch that ends without a word is started again", 1, 1, func(t *testing.T, w *world) {
		w.registries[0].fail, w.registries[0].quiet = 3, true
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1")
	})

	run(t, "a file that is not as it was written shows in the status", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(soon)
		w.store.setFail(errors.New("read-only file system"))
		w.pass(verifyEvery)
		if st := w.syncer.Status(); !errors.Is(st.StoreErr, w.store.fail) || st.InSync() {
			t.Errorf("status %+v", st)
		}
		w.store.setFail(nil)
		w.pass(verifyEvery)
		if st := w.syncer.Status(); !st.InSync() {
			t.Errorf("status %+v", st)
		}
	})

	run(t, "a text from the registry is cut in the log", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		good := set("a: 1")
		w.registries[0].sets <- upstream.NewSet(slices.Collect(good.All()),
			upstream.Out{Service: strings.Repeat("x", 10_000), Reason: reason.Text("its name is too long")})
		w.pass(soon)
		found := false
		for _, e := range w.log.AllEntries() {
			if e.Message == "left out" {
				found = true
				if s := fmt.Sprint(e.Data["service"]); len(s) > 300 {
					t.Errorf("%d bytes in the log", len(s))
				}
			}
		}
		if !found {
			t.Error("nothing in the log says what is left out")
		}
	})

	t.Run("a store that can't be read", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.store.load = errors.New("not ours")
		if err := New(w.parts(guard.DefaultConfig())).Run(t.Context()); !errors.Is(err, w.store.load) {
			t.Errorf("Run: %v", err)
		}
	})
}

// ofOrigin is set, from another registry.
func ofOrigin(origin, line string) upstream.Set {
	var list []upstream.Upstream
	for u := range set(line).All() {
		u.Servers = slices.Clone(u.Servers)
		for i := range u.Servers {
			u.Servers[i].Origin = origin
		}
		list = append(list, u)
	}
	return upstream.NewSet(list)
}

// What was written and perhaps not pushed must not be taken for what nginx has.
func TestPushing(t *testing.T) {
	run(t, "noted until every gateway has it", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.gateways[0].setFail(errors.New("down"))
		other := slices.Collect(set("a: 1, b: 2 3").All())
		other[0].Options.Keepalive = 99
		w.registries[0].sets <- upstream.NewSet(other)
		w.pass(soon)
		if g, _ := w.store.now(); !slices.Equal(g.Pushing, []string{"a"}) {
			t.Errorf("pushing %q", g.Pushing)
		}
		w.gateways[0].setFail(nil)
		w.pass(time.Minute)
		if g, _ := w.store.now(); len(g.Pushing) > 0 {
			t.Errorf("pushing %q", g.Pushing)
		}
	})
	run(t, "not assumed over a restart", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1, b: 2"), Pushing: []string{"a"}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		if got := line(w.gateways[0].written.Get()); got != "b: 2" {
			t.Errorf("assumed %q", got)
		}
	})
}

func TestLeaving(t *testing.T) {
	run(t, "a removal is forgotten when every gateway has confirmed it", 1, 2, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.gateways[1].setFail(errors.New("down"))
		w.registries[0].publish("a: 1")
		w.pass(soon)
		w.wantLive(0, "a: 1")
		if g, _ := w.store.now(); !slices.Equal(g.Leaving, []string{"b"}) {
			t.Errorf("leaving %q while a gateway still has it", g.Leaving)
		}
		w.gateways[1].setFail(nil)
		w.pass(time.Minute)
		w.wantLive(1, "a: 1")
		if g, _ := w.store.now(); len(g.Leaving) > 0 || g.Number != 2 {
			t.Errorf("leaving %q, generation %d", g.Leaving, g.Number)
		}
		// Now the name is the operator's.
		w.gateways[0].set("a: 1, b: 7")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 7")
	})

	run(t, "no orphan is forgotten over a restart", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1"), Leaving: []string{"b"}}
		w.gateways[0].set("a: 1, b: 2, mine: 8")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(soon)
		w.wantLive(0, "a: 1, mine: 8")
	})

	run(t, "a worker that crashed brings back what has left", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		if g, _ := w.store.now(); len(g.Leaving) > 0 {
			t.Fatalf("leaving %q", g.Leaving)
		}
		w.gateways[0].set("a: 1, b: none, mine: none") // the workers disagree
		w.pass(11 * time.Second)
		w.wantLive(0, "a: 1, mine:")
	})

	run(t, "one that comes back does not leave", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1"), Leaving: []string{"b"}}
		w.gateways[0].setFail(errors.New("down"))
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 3")
		w.pass(soon)
		w.gateways[0].setFail(nil)
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 3")
	})
}

func TestRunOnce(t *testing.T) {
	once := func(t *testing.T, w *world, o Once) (Outcome, error) {
		t.Helper()
		o.Limit = 10 * time.Second
		return New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), o)
	}
	run(t, "in sync", 1, 2, func(t *testing.T, w *world) {
		w.registries[0].publish("a: 1, b: 2")
		out, err := once(t, w, Once{})
		if err != nil || first(out.Holds) != nil || len(out.Written.Added) != 2 || !out.Gateways[0].InSync(false) {
			t.Errorf("%+v, %v", out, err)
		}
		w.wantStored("a: 1, b: 2")
		w.wantLive(1, "a: 1, b: 2")
	})
	run(t, "a dry run touches nothing", 1, 1, func(t *testing.T, w *world) {
		w.registries[0].publish("a: 1, b: 2")
		out, err := once(t, w, Once{DryRun: true})
		if err != nil || len(out.Written.Added) != 2 || len(out.Gateways[0].Changes.Added) != 2 || out.Gateways[0].InSync(true) {
			t.Errorf("%+v, %v", out, err)
		}
		if got := w.events.take(); len(got) > 0 {
			t.Errorf("it did: %q", got)
		}
	})
	run(t, "the registry does not answer", 1, 1, func(t *testing.T, w *world) {
		w.registries[0].trouble = errors.New("connection refused")
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		began := time.Now()
		_, err := once(t, w, Once{})
		if err == nil || !strings.Contains(err.Error(), "connection refused") || time.Since(began) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if got := w.events.take(); len(got) > 0 {
			t.Errorf("it did: %q", got)
		}
	})
	run(t, "one registry of two does not answer", 2, 1, func(t *testing.T, w *world) {
		w.registries[0].publish("a: 1")
		out, err := once(t, w, Once{})
		if err == nil || len(out.Missing) != 1 || out.Missing[0].Name != "s" {
			t.Errorf("%+v, %v", out, err)
		}
		w.wantLive(0, "a: 1")
	})
	run(t, "held, and approved", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2 3 4, b: 5")}
		w.gateways[0].set("a: 1 2 3 4, b: 5")
		w.registries[0].publish("b: 5")
		out, err := once(t, w, Once{})
		if err != nil || first(out.Holds) == nil {
			t.Fatalf("%+v, %v", out, err)
		}
		w.wantLive(0, "a: 1 2 3 4, b: 5")
		w.registries[0].publish("b: 5")
		out, err = once(t, w, Once{Approve: first(out.Holds).ID})
		if err != nil || first(out.Holds) != nil {
			t.Errorf("%+v, %v", out, err)
		}
		w.wantLive(0, "b: 5")
		if g, _ := w.store.now(); len(g.Leaving) > 0 {
			t.Errorf("leaving %q", g.Leaving)
		}
	})
	run(t, "a service does not take over what an operator configured", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].set("a: 1, mine: 8")
		w.registries[0].publish("a: 1, mine: 9")
		out, err := once(t, w, Once{})
		if err != nil || out.Out.Len() != 1 || len(out.Written.Added) > 0 {
			t.Errorf("%+v, %v", out, err)
		}
		w.wantLive(0, "a: 1, mine: 8")
	})
	run(t, "a gateway that is down", 1, 2, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 9")}
		w.gateways[0].setFail(errors.New("connection refused"))
		w.registries[0].publish("a: 1")
		out, err := once(t, w, Once{})
		if err != nil || out.Gateways[0].Err == nil || out.Gateways[1].Err != nil {
			t.Errorf("%+v, %v", out, err)
		}
		w.wantLive(1, "a: 1")
	})
	run(t, "a gateway that says yes and does nothing", 1, 1, func(t *testing.T, w *world) {
		w.gateways[0].deaf = true
		w.registries[0].publish("a: 1")
		out, err := once(t, w, Once{})
		if err != nil || !errors.Is(out.Gateways[0].Err, errStillDiffers) {
			t.Errorf("%+v, %v", out, err)
		}
	})
	run(t, "the file can't be written", 1, 1, func(t *testing.T, w *world) {
		w.store.setFail(errors.New("read-only file system"))
		w.registries[0].publish("a: 1")
		if _, err := once(t, w, Once{}); !errors.Is(err, w.store.fail) {
			t.Error(err)
		}
		w.wantLive(0, "")
	})
}

func TestScheduleDue(t *testing.T) {
	s := Schedule{Calm: 50 * time.Millisecond, Quiet: 5 * time.Millisecond, Longest: 20 * time.Millisecond, Gap: 30 * time.Millisecond}
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	for _, tt := range []struct {
		name                 string
		first, last, decided time.Time
		want                 time.Time
	}{
		{"nothing was decided yet", at(100), at(100), time.Time{}, at(100)},
		{"after a calm", at(150), at(150), at(100), at(150)},
		{"close upon a decision", at(101), at(101), at(100), at(130)},
		{"when the gap is over", at(140), at(140), at(100), at(145)},
		{"a row of changes", at(140), at(148), at(100), at(153)},
		{"a row without an end", at(140), at(158), at(100), at(160)},
	} {
		if got := s.due(tt.first, tt.last, tt.decided); !got.Equal(tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got.Sub(t0), tt.want.Sub(t0))
		}
	}
}

// TestAtMostTwentyDecisionsASecond plays a change every millisecond, and every 6 ms: whatever comes, decisions keep
// their distance, and none of the changes waits for longer than it.
func TestAtMostTwentyDecisionsASecond(t *testing.T) {
	s := DefaultSchedule()
	for _, every := range []time.Duration{time.Millisecond, 6 * time.Millisecond, 49 * time.Millisecond, 51 * time.Millisecond} {
		var first, last, decided, due time.Time
		began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		decisions := 0
		for now := began; now.Before(began.Add(time.Second)); now = now.Add(every) {
			if !first.IsZero() && !due.After(now) {
				if wait := due.Sub(first); wait > s.Gap {
					t.Errorf("every %s: a change waits %s", every, wait)
				}
				decided, first = due, time.Time{}
				decisions++
			}
			last = now
			if first.IsZero() {
				first = now
			}
			due = s.due(first, last, decided)
		}
		if decisions > 20 || decisions < 15 {
			t.Errorf("every %s: %d decisions a second", every, decisions)
		}
	}
}
