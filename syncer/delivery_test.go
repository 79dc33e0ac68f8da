package syncer

import (
	"errors"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
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
}
