package syncer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

func TestStays(t *testing.T) {
	for _, test := range []struct{ name, accepted, seen, stays, unserved string }{
		{"all usable", "a: 1 2", "a: 1 2", "", ""},
		{"one is not", "a: 1 2", "a: 2", "a 10.0.0.1:80", ""},
		{"none is, and it is registered", "a: 1 2, b: 3", "a: none, b: 3", "a 10.0.0.1:80 a 10.0.0.2:80", "a 2"},
		{"others are usable, and a freeze keeps them out", "a: 1", "a: 2", "a 10.0.0.1:80", "a 1"},
		{"deregistered", "a: 1, b: 2", "b: 2", "a 10.0.0.1:80", ""},
		{"two", "a: 1, b: 2, c: 3", "a: none, b: 2, c: none", "a 10.0.0.1:80 c 10.0.0.3:80", "a 1 c 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			servers, unserved := stays(set(test.accepted), set(test.seen))
			var got, without []string
			for _, s := range servers {
				got = append(got, s.Upstream+" "+s.Addr.String())
			}
			for _, u := range unserved {
				without = append(without, fmt.Sprintf("%s %d", u.Upstream, u.Servers))
			}
			if strings.Join(got, " ") != test.stays || strings.Join(without, " ") != test.unserved {
				t.Errorf("stays %q, unserved %q", got, without)
			}
		})
	}
}

func TestUnserved(t *testing.T) {
	run(t, "a service without a usable instance is named, and no more when it has one", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2, b: 3")
		w.pass(soon)
		if st := w.syncer.Status(); len(st.Unserved)+len(st.Stays) != 0 {
			t.Errorf("status %+v", st)
		}
		w.registries[0].publish("a: none, b: 3")
		w.pass(soon)
		w.wantLive(0, "a: 1 2, b: 3")
		if st := w.syncer.Status(); !slices.Equal(st.Unserved, []Unserved{{"a", 2}}) || len(st.Stays) != 2 || !st.InSync() {
			t.Errorf("status %+v", st)
		}
		w.registries[0].publish("a: 2, b: 3")
		w.pass(soon)
		if st := w.syncer.Status(); len(st.Unserved)+len(st.Stays) != 0 {
			t.Errorf("status %+v", st)
		}
		if gone, back := w.told.of(EventUnserved), w.told.of(EventServed); len(gone) != 1 || len(back) != 1 || gone[0].Upstream != "a" {
			t.Errorf("told: %+v, %+v", gone, back)
		}
	})
}

func TestOutSaysWhy(t *testing.T) {
	why := func(w *world) string {
		var all []string
		for _, e := range w.told.of(EventServerOut) {
			all = append(all, e.Text.String())
		}
		return strings.Join(all, "; ")
	}
	run(t, "each server that goes out", 1, 1, func(t *testing.T, w *world) {
		limits := guard.DefaultConfig()
		limits.OnRemoved = guard.Down
		w.start(limits)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5, b: 6")
		w.pass(soon)
		w.registries[0].sets <- upstream.NewSet(slices.Collect(set("a: 3 4 5, b: 6").All()),
			upstream.Out{Service: "a", Upstream: "a", Addr: "10.0.0.1:80", Reason: reason.Text(`check "http" is critical`)})
		w.pass(soon)
		w.registries[0].publish("a: 3 4 5")
		w.pass(soon)
		want := `10.0.0.1:80 no longer receives traffic for a: check "http" is critical; ` +
			"10.0.0.2:80 no longer receives traffic for a: no registry lists it there now; " +
			"10.0.0.6:80 no longer receives traffic for b: marked down: its service is deregistered"
		if got := why(w); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	run(t, "a rollback", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2")
		w.pass(soon)
		w.do(Rollback(generation.Generation{Number: 4, Set: set("a: 1")}))
		if got, want := why(w), "10.0.0.2:80 no longer receives traffic for a: rolled back to generation 4"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestRollbackToThePresent(t *testing.T) {
	run(t, "changes and freezes nothing", 1, 1, func(t *testing.T, w *world) {
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(soon)
		before, saves := w.store.now()
		w.refused(Rollback(before), ErrPresent)
		w.refused(Rollback(generation.Generation{Number: 77, Set: before.Set}), ErrPresent)
		if g, n := w.store.now(); n != saves || len(g.Frozen) != 0 || len(w.told.of(EventRolledBack)) != 0 {
			t.Errorf("generation %+v, %d saves of %d before", g, n, saves)
		}
	})
}
