package syncer

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

var errDown = errors.New("connection refused")

// reasons is what is out and why, by service.
func (w *world) reasons() map[string]string {
	all := map[string]string{}
	for o := range w.syncer.Status().Out.All() {
		all[o.Service] = o.Reason.String()
	}
	return all
}

func (w *world) wantOut(service, reason string) {
	w.t.Helper()
	if got := w.reasons()[service]; got != reason {
		w.t.Errorf("%s is out because %q, want %q", service, got, reason)
	}
}

func (w *world) wantStrangers(want ...string) {
	w.t.Helper()
	if g, _ := w.store.now(); !slices.Equal(g.Strangers, want) {
		w.t.Errorf("known strangers are %q, want %q", g.Strangers, want)
	}
}

const somebodyElses = "a gateway has an upstream of this name that swallowkeeper did not write"

// At a boot the daemon comes up before nginx, whose own upstreams nobody knows yet.
func TestNewNamesWaitForTheGateways(t *testing.T) {
	for _, number := range []int{0, 7} {
		begin := func(w *world) {
			if number > 0 {
				w.store.gen = generation.Generation{Number: number, Set: set("a: 1, b: 1")}
			}
		}
		run(t, "nginx comes up later", 1, 2, func(t *testing.T, w *world) {
			begin(w)
			w.gateways[0].setFail(errDown)
			w.gateways[1].setFail(errDown)
			w.start(guard.DefaultConfig())
			defer w.stop()
			w.registries[0].publish("a: 1 2, handmade: 9")
			w.pass(time.Minute)
			w.wantOut("handmade", "not written yet: gateways A and B have not been asked since the start")
			if number == 0 {
				if g, _ := w.store.now(); g.Number != 0 || first(w.syncer.Status().Holds) != nil {
					t.Errorf("generation %d, hold %+v", g.Number, first(w.syncer.Status().Holds))
				}
			} else {
				w.wantStored("a: 1 2") // ours go on: updated, and b is removed
			}
			w.gateways[0].setFail(nil)
			w.gateways[0].set("a: 1, handmade: 3")
			w.pass(time.Minute)
			if number == 0 {
				w.wantOut("handmade", "not written yet: gateway B has not been asked since the start")
			} else {
				w.wantOut("handmade", somebodyElses)
			}
			w.gateways[1].setFail(nil)
			w.pass(time.Minute)
			if number == 0 { // the move from another program
				w.wantStored("a: 1 2, handmade: 9")
				return
			}
			w.wantStored("a: 1 2")
			w.wantLive(0, "a: 1 2, handmade: 3")
			w.wantOut("handmade", somebodyElses)
			w.wantStrangers("handmade")
		})
		run(t, "nothing is whose", 1, 1, func(t *testing.T, w *world) {
			begin(w)
			w.gateways[0].setFail(errDown)
			w.start(guard.DefaultConfig())
			defer w.stop()
			w.registries[0].publish("a: 1, b: 1, new: 9")
			w.pass(time.Minute)
			w.gateways[0].setFail(nil)
			w.pass(time.Minute)
			w.wantStored("a: 1, b: 1, new: 9")
			w.wantLive(0, "a: 1, b: 1, new: 9")
			// From here on a gateway that is down stops nothing.
			w.gateways[0].setFail(errDown)
			w.registries[0].publish("a: 1, b: 1, new: 9, newer: 3")
			w.pass(time.Minute)
			w.wantStored("a: 1, b: 1, new: 9, newer: 3")
		})
	}
	run(t, "what is all new is no empty registry", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].setFail(errDown)
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("b: 1")
		w.pass(time.Minute)
		if h := first(w.syncer.Status().Holds); h != nil {
			t.Errorf("held: %s", h.Reason)
		}
	})
}

func TestStrangersStayKnown(t *testing.T) {
	begin := func(w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].set("a: 1, handmade: 3")
		w.gateways[1].set("a: 1")
	}
	run(t, "over a restart", 1, 2, func(t *testing.T, w *world) {
		begin(w)
		w.start(guard.DefaultConfig())
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.wantStrangers("handmade")
		w.stop()
		w.gateways[0].setFail(errDown)
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, Handmade: 9, new: 9")
		w.pass(time.Minute)
		w.wantStored("a: 1 2")
		w.wantOut("Handmade", somebodyElses)
		w.wantOut("new", "not written yet: gateway A has not been asked since the start")
	})
	run(t, "until every gateway can say that it is gone", 1, 2, func(t *testing.T, w *world) {
		begin(w)
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, handmade: 9")
		w.pass(time.Minute)
		w.gateways[1].setFail(errDown) // it may have it meanwhile
		w.pass(time.Minute)
		w.gateways[0].set("a: 1")
		w.pass(time.Minute)
		w.wantOut("handmade", somebodyElses)
		w.wantStored("a: 1")
		w.gateways[1].setFail(nil)
		w.pass(time.Minute)
		w.wantStored("a: 1, handmade: 9")
		w.wantStrangers()
	})
	run(t, "one that was ours once", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.gateways[0].set("a: 1, b: 7")
		w.pass(time.Minute)
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.wantOut("b", somebodyElses)
		w.wantLive(0, "a: 1, b: 7")
	})
	run(t, "one that is still leaving elsewhere", 1, 2, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(soon)
		w.gateways[1].setFail(errDown)
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.gateways[0].set("a: 1, b: 7") // by hand, after the gateway had confirmed that it was gone
		w.pass(time.Minute)
		w.wantLive(0, "a: 1, b: 7")
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.wantOut("b", somebodyElses)
		w.wantStored("a: 1")
	})
	run(t, "one that left, came back and leaves again", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		for range 3 {
			w.registries[0].publish("a: 1, b: 2")
			w.pass(time.Minute)
			w.wantLive(0, "a: 1, b: 2")
			w.registries[0].publish("a: 1")
			w.pass(time.Minute)
			w.wantLive(0, "a: 1")
		}
	})
	run(t, "one that was back in the file while the gateway did not answer", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.gateways[0].setFail(errDown)
		w.pass(time.Minute)
		w.registries[0].publish("a: 1, b: 2")
		w.pass(time.Minute)
		w.gateways[0].set("a: 1, b: 2") // nginx started and read it
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.gateways[0].setFail(nil)
		w.pass(time.Minute)
		w.wantLive(0, "a: 1")
		w.wantStrangers()
	})
	run(t, "one that nobody could register is not noted", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].live = upstream.NewSet(append(slices.Collect(set("a: 1").All()),
			upstream.Upstream{Name: "a/b", Servers: []upstream.Server{{}}}))
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Minute)
		w.wantStrangers()
	})
}

// A gateway that answers while it is decided may have a name that the decision took for free.
func TestANameWaitsForWhatWasLookedAt(t *testing.T) {
	run(t, "as it was known before", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		s := New(w.parts(guard.DefaultConfig()))
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		written := s.gen
		written.Strangers = s.known()
		s.deliveries[0].setForeign(names{"web": true})
		if v := s.admit(written, guard.Decision{Accepted: set("a: 1, web: 2")}); !v.Accepted.Equal(set("a: 1")) {
			t.Error("it was admitted")
		}
	})
}

func TestRollbackLeavesOutWhatMayBeSomebodyElses(t *testing.T) {
	old := generation.Generation{Number: 3, Set: set("a: 1, handmade: 2, b: 3")}
	run(t, "a stranger", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2")}
		w.gateways[0].set("a: 1, handmade: 3")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(soon)
		remark, err := w.syncer.Do(t.Context(), Rollback(old))
		if err != nil || !strings.Contains(remark.String(), "of it 1 are left out, first handmade: "+somebodyElses) {
			t.Errorf("%q, %v", remark, err)
		}
		w.wantStored("a: 1, b: 3")
	})
	run(t, "a gateway that was not asked", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2")}
		w.gateways[0].setFail(errDown)
		for _, running := range []bool{true, false} {
			var remark reason.Reason
			var err error
			if running {
				w.start(guard.DefaultConfig())
				w.pass(time.Minute)
				remark, err = w.syncer.Do(t.Context(), Rollback(old))
				w.stop()
			} else {
				remark, _, err = New(w.parts(guard.DefaultConfig())).DoOnce(t.Context(), Rollback(old))
			}
			if err != nil || !strings.Contains(remark.String(), "of it 2 are left out") || !strings.Contains(remark.String(), "has not been asked") {
				t.Errorf("%q, %v", remark, err)
			}
			w.wantStored("a: 1")
		}
	})
}

func TestRunOnceWritesNothingNewWhereAGatewayCannotBeAsked(t *testing.T) {
	for _, dry := range []bool{false, true} {
		run(t, "a gateway that is down", 1, 2, func(t *testing.T, w *world) {
			w.store.gen = generation.Generation{Number: 7, Set: set("a: 9"), Strangers: []string{"handmade"}}
			w.gateways[0].setFail(errDown)
			w.registries[0].publish("a: 1, new: 2, handmade: 3")
			out, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Second, DryRun: dry})
			if err != nil || out.Gateways[0].InSync(dry) || len(out.Written.Added) > 0 || len(out.Written.Updated) != 1 {
				t.Errorf("%+v, %v", out, err)
			}
			var why []string
			for o := range out.Out.All() {
				why = append(why, o.Service+": "+o.Reason.String())
			}
			if !slices.Equal(why, []string{"handmade: " + somebodyElses, "new: not written yet: gateway A has not been asked since the start"}) {
				t.Errorf("out: %q", why)
			}
		})
	}
	run(t, "one that comes up meanwhile is out of sync all the same", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.gateways[0].setFail(errDown)
		w.gateways[0].delay = time.Second
		w.registries[0].publish("a: 1, new: 2")
		go func() {
			w.pass(1500 * time.Millisecond)
			w.gateways[0].setFail(nil)
		}()
		out, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Minute})
		if err != nil || !errors.Is(out.Gateways[0].Err, errUnasked) {
			t.Errorf("%+v, %v", out, err)
		}
		w.gateways[0].delay = 0
	})
}

// What a gateway knows to be of nginx's own configuration is nobody's to take over, also where nothing
// was written yet: beside it in the conf file nginx would not load.
func TestWhatNginxItselfHasIsNeverTaken(t *testing.T) {
	run(t, "from the first start on", 1, 1, func(t *testing.T, w *world) {
		g := w.gateways[0]
		g.set("posted: 1, shop: 3")
		g.reserved = []string{"shop", "grafana"} // grafana is the host of a proxy_pass: no upstream shows it
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("") // held, and nothing is written: what was posted before us would be a stranger's
		w.pass(time.Minute)
		if g, _ := w.store.now(); g.Number != 0 {
			t.Errorf("generation %d is written, and has nothing", g.Number)
		}
		w.registries[0].publish("a: 1, posted: 2, Shop: 9, grafana: 9")
		w.pass(time.Minute)
		w.wantStored("a: 1, posted: 2")
		w.wantOut("Shop", somebodyElses)
		w.wantOut("grafana", somebodyElses)
		w.wantStrangers("grafana", "shop")
	})
}
