package syncer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/route"
)

// routesOut is what of routes is out, and why.
func (w *world) routesOut() string {
	var all []string
	for o := range w.syncer.Status().Out.All() {
		if o.Route != "" {
			all = append(all, o.Upstream+" "+o.Route+": "+o.Reason.Code())
		}
	}
	return strings.Join(all, ", ")
}

func TestRoutes(t *testing.T) {
	all := func(w *world) {
		for _, g := range w.gateways {
			g.routes = gateway.AllRoutes()
		}
	}
	run(t, "a gateway that does routes has them, and one that does none is told nothing", 1, 2, func(t *testing.T, w *world) {
		w.gateways[0].routes = gateway.AllRoutes()
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, b: 3")
		w.pass(soon)
		_, before := w.gateways[1].now()
		w.registries[0].publish("a: 1 2 /a/*, b: 3")
		w.pass(soon)
		w.wantStored("a: 1 2 /a/*, b: 3")
		w.wantLive(0, "a: 1 2 /a/*, b: 3")
		w.wantLive(1, "a: 1 2, b: 3")
		if _, after := w.gateways[1].now(); after != before {
			t.Errorf("it was told %d times", after-before)
		}
		st := w.syncer.Status()
		out := slices.Collect(st.Gateways[1].Out.All())
		if !st.InSync() || st.Gateways[0].Out.Len() != 0 || len(out) != 1 || out[0].Reason.Code() != "gateway-routes" {
			t.Errorf("status %+v", st.Gateways)
		}
		w.registries[0].publish("a: 2 4 /a/*, b: 3")
		w.pass(soon)
		w.wantLive(0, "a: 2 4 /a/*, b: 3")
		w.wantLive(1, "a: 2 4, b: 3")
		w.pass(time.Minute)
		if st := w.syncer.Status(); !st.InSync() {
			t.Errorf("status %+v", st.Gateways)
		}
	})
	run(t, "whoever has a route keeps it, and a restart changes nothing", 1, 1, func(t *testing.T, w *world) {
		all(w)
		w.start(guard.DefaultConfig())
		w.registries[0].publish("b: 1 2 4 5 /x")
		w.pass(soon)
		w.registries[0].publish("a: 3 /x /y, b: 1 2 4 5 /x")
		w.pass(soon)
		w.wantLive(0, "a: 3 /y, b: 1 2 4 5 /x")
		if got := w.routesOut(); got != "a /x: route-taken" {
			t.Errorf("out are %q", got)
		}
		w.stop()
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 3 /x /y, b: 1 2 4 5 /x")
		w.pass(soon)
		w.wantLive(0, "a: 3 /y, b: 1 2 4 5 /x")
		w.registries[0].publish("a: 3 /x /y, b: 1 2 4 5")
		w.pass(soon)
		w.wantLive(0, "a: 3 /y, b: 1 2 4 5 /x")
		holds := w.syncer.Status().Holds
		if len(holds) != 1 || len(holds[0].Routes) != 1 || holds[0].Routes[0].Upstream != "b" {
			t.Fatalf("held are %+v", holds)
		}
		w.do(Approve(holds[0].ID))
		w.pass(soon)
		w.wantLive(0, "a: 3 /x /y, b: 1 2 4 5")
	})
	run(t, "an upstream that a hold or a freeze keeps keeps its routes", 1, 1, func(t *testing.T, w *world) {
		all(w)
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 /x, b: 5")
		w.pass(soon)
		w.registries[0].publish("b: 5 /x")
		w.pass(soon)
		w.wantLive(0, "a: 1 2 3 4 /x, b: 5")
		if got := w.routesOut(); !strings.Contains(got, "b /x: route-taken") {
			t.Errorf("out are %q", got)
		}
	})
	run(t, "those of the configuration go over registrations, and wait for their upstream", 1, 1, func(t *testing.T, w *world) {
		all(w)
		w.routes = []route.Belonging{{Route: route.Route{Path: "/x"}, Upstream: "b"}, {Route: route.Route{Path: "/z"}, Upstream: "c"}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 /x, b: 2")
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 2 /x")
		if got := w.routesOut(); got != "a /x: route-configured, c /z: route-no-upstream" {
			t.Errorf("out are %q", got)
		}
		w.registries[0].publish("a: 1 /x, b: 2, c: 3")
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 2 /x, c: 3 /z")
		w.registries[0].publish("a: 1 /x, b: none, c: 3")
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 2 /x, c: 3 /z")
	})
	run(t, "a registry's routes can be switched off", 1, 1, func(t *testing.T, w *world) {
		all(w)
		w.unrouted = true
		w.routes = []route.Belonging{{Route: route.Route{Path: "/y"}, Upstream: "b"}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 /x, b: 2")
		w.pass(soon)
		w.wantLive(0, "a: 1, b: 2 /y")
		if got := w.routesOut(); got != "a /x: routes-off" {
			t.Errorf("out are %q", got)
		}
	})
	run(t, "a registry that has not answered since the start keeps its routes", 2, 1, func(t *testing.T, w *world) {
		all(w)
		w.start(guard.DefaultConfig())
		w.registries[0].publish("a: 1 /x")
		w.registries[1].publish("b: 2")
		w.pass(soon)
		w.stop()
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[1].publish("b: 2 3")
		w.pass(soon)
		if got, _ := w.gateways[0].now(); !slices.Contains(strings.Split(got, ", "), "a: 1 /x") {
			t.Errorf("live is %q", got)
		}
	})
}
