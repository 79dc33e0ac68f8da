package syncer

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// TestWhatAGatewayReturns: what Live and Apply say beside the set is used.
func TestWhatAGatewayReturns(t *testing.T) {
	asked := func(w *world, d time.Duration) int {
		g := w.gateways[0]
		g.mu.Lock()
		before := g.asked
		g.mu.Unlock()
		w.pass(d)
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.asked - before
	}
	unsettled := func(w *world, is bool) {
		w.gateways[0].mu.Lock()
		defer w.gateways[0].mu.Unlock()
		w.gateways[0].unsettled = is
	}
	run(t, "one that is about to change is asked again soon", 1, 1, func(t *testing.T, w *world) {
		w.store.gen.Set, w.store.gen.Number = set("a: 1"), 1
		w.gateways[0].set("a: 1")
		unsettled(w, true)
		w.start(guard.DefaultConfig())
		defer w.stop()
		if n := asked(w, 5*time.Second); n < 5 {
			t.Errorf("after Live it was asked %d times in 5 s", n)
		}
		unsettled(w, false)
		w.pass(unsettledAgain)
		if n := asked(w, 30*time.Second); n != 3 {
			t.Errorf("when all was quiet it was asked %d times in 30 s: it is compared every 10 s", n)
		}
		unsettled(w, true)
		w.registries[0].publish("a: 1 2")
		if n := asked(w, 5*time.Second); n < 4 {
			t.Errorf("after Apply it was asked %d times in 5 s", n)
		}
	})
	run(t, "the status shows the workers", 1, 1, func(t *testing.T, w *world) {
		shown := func() string {
			ids := ""
			for _, worker := range w.syncer.Status().Gateways[0].Workers {
				ids += worker.ID
			}
			return ids
		}
		w.gateways[0].workers = []gateway.Worker{{ID: "1"}, {ID: "2"}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(time.Second)
		if got := shown(); got != "12" {
			t.Errorf("after Live: %q", got)
		}
		w.gateways[0].mu.Lock()
		w.gateways[0].workers = []gateway.Worker{{ID: "3"}}
		w.gateways[0].mu.Unlock()
		w.registries[0].publish("a: 1")
		w.pass(time.Second)
		if got := shown(); got != "3" {
			t.Errorf("after Apply: %q", got)
		}
		w.gateways[0].setFail(errors.New("down"))
		w.registries[0].publish("a: 1 2")
		w.pass(time.Second)
		if got := shown(); got != "3" {
			t.Errorf("after an error those that were known stay: %q", got)
		}
	})
	for range 20 { // Go's select has dice
		run(t, "one whose resync is due when something new comes is asked first", 1, 1, func(t *testing.T, w *world) {
			g := w.gateways[0]
			g.looked = func() { w.events.add("look") }
			w.start(guard.DefaultConfig())
			defer w.stop()
			w.registries[0].publish("a: 1")
			w.pass(time.Second)
			delay := func(d time.Duration) {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.delay = d
			}
			delay(12 * time.Second)
			w.registries[0].publish("a: 1 2")
			w.pass(time.Second)
			delay(0)
			w.registries[0].publish("a: 1 2 3")
			w.pass(time.Second)
			w.events.take()
			w.pass(15 * time.Second)
			want := []string{"apply a: 1 2", "look", "apply a: 1 2 3"}
			if got := w.events.take(); !slices.Equal(got[:min(3, len(got))], want) {
				t.Errorf("after a change that took longer than the resync: %q", got)
			}
		})
	}
	run(t, "one that wants to be left alone gets together what comes meanwhile", 1, 2, func(t *testing.T, w *world) {
		w.gateways[0].interval = time.Second
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(3 * time.Second)
		w.events.take()
		for i := range 100 {
			w.registries[0].publish("a: 1 " + strconv.Itoa(2+i))
			w.pass(9 * time.Millisecond)
		}
		w.pass(200 * time.Millisecond)
		w.wantLive(0, "a: 1 101")
		w.wantLive(1, "a: 1 101")
		told := func(i int) int {
			w.gateways[i].mu.Lock()
			defer w.gateways[i].mu.Unlock()
			return w.gateways[i].applied - 1
		}
		if n, other := told(0), told(1); n != 2 || other < 10 {
			t.Errorf("in a second it was told %d times, and another one that takes all at once %d times", n, other)
		}
	})
	run(t, "what it can't do stays as it was there, and says why", 1, 2, func(t *testing.T, w *world) {
		hash := func(line string) upstream.Set {
			list := slices.Collect(set(line).All())
			list[0].Options.Method = "ip_hash"
			return upstream.NewSet(list)
		}
		w.gateways[1].methods = []gateway.Method{{}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Second)
		w.registries[0].sets <- hash("a: 1 3, b: 2 4")
		w.pass(time.Second)
		w.wantLive(0, "a: 1 3, b: 2 4")
		w.wantLive(1, "a: 1, b: 2 4")
		st := w.syncer.Status()
		if out := slices.Collect(st.Gateways[1].Out.All()); st.Gateways[0].Out.Len() != 0 || len(out) != 1 || out[0].Upstream != "a" || !strings.Contains(out[0].Reason.String(), "ip_hash") {
			t.Errorf("out are %+v and %+v", st.Gateways[0].Out, out)
		}
		w.pass(time.Minute)
		w.wantLive(1, "a: 1, b: 2 4")
		w.registries[0].publish("b: 2 4") // it is ours all the same
		w.pass(time.Minute)
		w.wantLive(1, "b: 2 4")
		if out := w.syncer.Status().Gateways[1].Out; out.Len() != 0 {
			t.Errorf("out are %+v", out)
		}
	})
}
