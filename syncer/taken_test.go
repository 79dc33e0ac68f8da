package syncer

import (
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

func TestNamesThatNginxUsesOtherwise(t *testing.T) {
	begin := func(w *world) {
		w.taken = func([][]gateway.Worker) map[upstream.Key]Taken {
			return map[upstream.Key]Taken{"grafana": {Reason: reason.Text("with a port"), Fatal: true}, "dns": {Reason: reason.Text("a host")}, "static": {Reason: reason.Text("an upstream"), Upstream: true}}
		}
	}
	run(t, "new ones are out", 1, 1, func(t *testing.T, w *world) {
		begin(w)
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1, b: 2, c: 3")}
		w.gateways[0].set("a: 1, b: 2, c: 3")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1, b: 2, c: 3, Grafana: 1, dns: 1, static: 1, LocalHost: 1, new: 1")
		w.pass(time.Second)
		w.wantStored("a: 1, b: 2, c: 3, new: 1")
		w.wantOut("Grafana", "with a port")
		w.wantOut("dns", "a host")
		w.wantOut("static", "an upstream")
		w.wantOut("LocalHost", localhost.English)
	})
	run(t, "of ours only those go with which nginx does not load", 1, 1, func(t *testing.T, w *world) {
		begin(w)
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2 3, dns: 1, grafana: 1, localhost: 1, static: 1")}
		w.gateways[0].set("a: 1 2 3, dns: 1, grafana: 1, localhost: 1, static: 1")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3, dns: 1, grafana: 1, localhost: 1, static: 1")
		w.pass(time.Second)
		w.wantStored("a: 1 2 3, dns: 1, static: 1")
		w.wantOut("grafana", "with a port")
	})
	run(t, "at the very first start what another program left is taken over, and nothing of nginx.conf", 1, 1, func(t *testing.T, w *world) {
		begin(w)
		w.gateways[0].set("dns: 9, grafana: 9, static: 9")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("dns: 1, static: 1, grafana: 1")
		w.pass(time.Second)
		w.wantStored("dns: 1")
		w.wantOut("static", "an upstream")
	})
	run(t, "no rollback brings one back", 1, 1, func(t *testing.T, w *world) {
		begin(w)
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.pass(time.Second)
		if _, err := w.syncer.Do(t.Context(), Rollback(generation.Generation{Number: 3, Set: set("a: 1, grafana: 1, localhost: 2")})); err != nil {
			t.Fatal(err)
		}
		w.wantStored("a: 1")
	})
}

func TestDottedNames(t *testing.T) {
	for _, dotted := range []bool{false, true} {
		run(t, "new ones only where the registry may have them", 1, 1, func(t *testing.T, w *world) {
			w.dotted = dotted
			w.store.gen = generation.Generation{Number: 7, Set: set("a: 1, old.example: 2")}
			w.start(guard.DefaultConfig())
			defer w.stop()
			w.registries[0].publish("a: 1, old.example: 2 3, new.example: 4")
			w.pass(time.Second)
			if dotted {
				w.wantStored("a: 1, new.example: 4, old.example: 2 3")
				return
			}
			w.wantStored("a: 1, old.example: 2 3") // what is ours goes on over an upgrade
			w.wantOut("new.example", `its name has a dot and may be a host's: names = "dotted" in [[registry]] lets it in`)
		})
	}
}
