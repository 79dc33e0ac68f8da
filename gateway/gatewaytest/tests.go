package gatewaytest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

func appliedIsLive(t *testing.T, h Harness) {
	u := begin(t, h)
	if live := u.met(); live.Set.Len() != 0 {
		t.Errorf("at first there is %s", show(live.Set))
	}
	all, _ := gateway.Admit(rich(), u.g.Abilities())
	before := time.Now()
	r := u.apply(upstream.Diff(upstream.Set{}, all))
	if r.Posted.Before(before) || r.Posted.After(time.Now()) {
		t.Errorf("it had taken the changes at %s, and was told after %s", r.Posted, before)
	}
	u.shown(all) // before anybody asks them
	u.crew(r.Workers)
	live := u.live()
	u.same(live.Set, all)
	u.crew(live.Workers)
	u.everywhere(all)
	if a := u.g.Abilities(); !reflect.DeepEqual(a, u.g.Abilities()) {
		t.Errorf("its abilities are %+v, and then others", a)
	}
}

func changesAreMade(t *testing.T, h Harness) {
	u := begin(t, h)
	steps := []upstream.Set{
		set(web("a", 1)),
		set(web("a", 1), web("b", 2)),
		set(web("a", 1, 3), web("b", 2)),
		set(web("a", 3), web("b", 4, 5)),
		set(weighted(web("a", 3), 7), web("b", 4, 5)),
		set(down(web("a", 3, 6)), web("b", 4, 5)),
		set(balanced(web("a", 3, 6), "least_conn", 50), web("b", 4, 5)),
		set(web("b", 9), web("c", 1), web("d", 1)), // a goes, b changes, c and d come
		{},
	}
	before := upstream.Set{}
	for i, step := range steps {
		c := upstream.Diff(before, step)
		sent := len(h.Sent())
		u.apply(c)
		u.everywhere(step)
		u.same(u.live().Set, step)
		removed := false
		for _, name := range h.Sent()[sent:] {
			gone := slices.ContainsFunc(c.Removed, func(u upstream.Upstream) bool { return u.Name == name })
			if removed && !gone {
				t.Errorf("step %d: %s came after a removal: %q", i+1, name, h.Sent()[sent:])
			}
			removed = removed || gone
		}
		before = step
	}
}

func doneIsDone(t *testing.T, h Harness) {
	u := begin(t, h)
	want := set(web("a", 1), web("b", 2))
	c := upstream.Diff(upstream.Set{}, want)
	for range 2 {
		u.apply(c)
		u.same(u.live().Set, want)
	}
	sent := len(h.Sent())
	if r := u.apply(upstream.Changes{Want: want}); !r.Posted.IsZero() || len(h.Sent()) > sent {
		t.Errorf("without changes it sent %q, at %s", h.Sent()[sent:], r.Posted)
	}
	gone := upstream.Diff(want, set(web("a", 1)))
	for range 2 {
		u.apply(gone)
		u.same(u.live().Set, set(web("a", 1)))
	}
	first, second := u.live(), u.live()
	if !first.Set.Identical(second.Set) || !slices.Equal(first.Reserved, second.Reserved) {
		t.Errorf("nothing happened between %+v and %+v", first, second)
	}
}

func foreignStays(t *testing.T, h Harness) {
	hand := web("by-hand", 7001, 7002)
	other := h.New(t, upstream.Set{})
	if _, err := other.Apply(t.Context(), upstream.Diff(upstream.Set{}, set(hand))); err != nil {
		t.Fatal(err)
	}
	u := begin(t, h)
	for _, want := range []upstream.Set{set(web("a", 1)), set(web("a", 2), web("b", 3)), {}} {
		live := u.live().Set
		u.apply(upstream.Diff(live, want).RemoveOnly(func(u upstream.Upstream) bool { return u.Name != hand.Name }))
		got, has := u.live().Set.Get(hand.Name)
		if !has || !slices.EqualFunc(got.Servers, hand.Servers, upstream.Server.Same) {
			t.Errorf("beside %s it became %+v", show(want), got)
		}
		u.everywhere(upstream.Join(want, set(hand)))
	}
	if slices.Contains(h.Sent()[1:], hand.Name) {
		t.Errorf("it was sent again: %q", h.Sent())
	}
}

func driftIsSeen(t *testing.T, h Harness) {
	u := begin(t, h)
	want := set(web("a", 1), web("b", 2))
	u.apply(upstream.Diff(upstream.Set{}, want))
	other := h.New(t, want)
	for _, drift := range []upstream.Set{set(web("a", 9), web("b", 2)), set(web("a", 1)), set(web("a", 1), web("b", 2), web("c", 3))} {
		if _, err := other.Apply(t.Context(), upstream.Diff(want, drift)); err != nil {
			t.Fatal(err)
		}
		if live := u.live().Set; show(live) != show(drift) || upstream.Diff(live, want).Empty() {
			t.Errorf("it shows %s, want %s", show(live), show(drift))
		}
		u.converge(want)
		u.everywhere(want)
	}
}

func hiddenIsAsWritten(t *testing.T, h Harness) {
	first := begin(t, h)
	want := set(balanced(web("a", 1, 2), "least_conn", 33), limited(web("b", 1), 5))
	first.apply(upstream.Diff(upstream.Set{}, want))
	for _, tt := range []struct {
		name    string
		written upstream.Set
		same    bool
	}{
		{"as it is", want, true},
		{"otherwise", set(balanced(web("a", 1, 2), "ip_hash", 34), limited(web("b", 1), 5)), false},
	} {
		later := user{t: t, h: h, g: h.New(t, tt.written)}
		// It may know better than the file: then there is nothing to do in either case.
		if c := upstream.Diff(later.live().Set, want); tt.same && !c.Empty() {
			t.Errorf("written %s, there would be %d to change", tt.name, len(c.Added)+len(c.Updated)+len(c.Removed))
		}
		later.converge(want)
		later.everywhere(want)
	}
}

func successIsNoProof(t *testing.T, h Harness) {
	u := begin(t, h)
	before := set(web("a", 1), web("b", 2), web("c", 3))
	u.apply(upstream.Diff(upstream.Set{}, before))
	for name, want := range map[string]upstream.Set{
		"a": set(web("a", 9), web("b", 2), web("c", 3)),
		"b": set(web("a", 1), weighted(web("b", 2), 5), web("c", 3)),
		"c": set(web("a", 1), web("b", 2)),
		"d": set(web("a", 1), web("b", 2), web("c", 3), web("d", 4)),
	} {
		h.Lie(name)
		u.refused(upstream.Diff(before, want), name)
		if c := upstream.Diff(u.live().Set, want); c.Empty() {
			t.Errorf("%s was not changed, and shows to be", name)
		}
		h.Lie("")
		u.converge(want)
		u.everywhere(want)
		u.converge(before)
	}
}

func troubleOfOne(t *testing.T, h Harness) {
	u := begin(t, h)
	before := set(web("a", 1), web("b", 2), web("c", 3))
	u.apply(upstream.Diff(upstream.Set{}, before))
	want := set(web("a", 9), web("b", 9), web("d", 9))
	for _, name := range []string{"a", "b", "c", "d"} {
		h.Refuse(name)
		u.refused(upstream.Diff(before, want), name)
		left := upstream.Diff(u.live().Set, want)
		for _, other := range append(names(left.Added), append(updated(left), names(left.Removed)...)...) {
			if other != name {
				t.Errorf("the trouble of %s kept %s from being changed", name, other)
			}
		}
		if left.Empty() {
			t.Errorf("%s was refused, and shows to be changed", name)
		}
		h.Refuse("")
		u.converge(want)
		u.converge(before)
	}
}

func stalledWorker(t *testing.T, h Harness) {
	u := begin(t, h)
	before, want := set(web("a", 1)), set(web("a", 2), web("b", 3))
	u.apply(upstream.Diff(upstream.Set{}, before))
	stalled := h.worker(u.live())
	release := h.Stall(stalled)
	// It is unknown whether the worker is there. So not everything is settled at first, and it must never count as up
	// to date.
	told := false
	answered := func(call string, workers []gateway.Worker, unsettled bool) {
		if told = told || unsettled; !told {
			t.Errorf("%s: a worker was not heard, and all is settled: %+v", call, workers)
		}
		if slices.ContainsFunc(workers, func(w gateway.Worker) bool { return w.ID == stalled && w.Err == nil }) {
			t.Errorf("%s: worker %s was not heard, and has what it should: %+v", call, stalled, workers)
		}
	}
	if r, err := u.g.Apply(t.Context(), upstream.Diff(before, want)); err == nil {
		answered("Apply", r.Workers, r.Unsettled)
	}
	if live, err := u.g.Live(t.Context()); err == nil {
		answered("Live", live.Workers, live.Unsettled)
	}
	release()
	u.converge(want)
	u.settled(want)
	u.everywhere(want)
}

func crashedWorker(t *testing.T, h Harness) {
	u := begin(t, h)
	want := set(web("a", 1), balanced(web("b", 2), "least_conn", 40))
	u.apply(upstream.Diff(upstream.Set{}, want))
	dead := h.worker(u.live())
	h.Kill(t, dead)
	if live, err := u.g.Live(t.Context()); err == nil && len(live.Workers) < h.Workers && !live.Unsettled {
		t.Errorf("a worker is gone, and nothing is about to change: %+v", live)
	}
	u.settled(want)
	live := u.live()
	if slices.ContainsFunc(live.Workers, func(w gateway.Worker) bool { return w.ID == dead }) {
		t.Errorf("worker %s is dead: %+v", dead, live.Workers)
	}
	u.crew(live.Workers)
	u.everywhere(want)
}

func reloadInBetween(t *testing.T, h Harness) {
	u := begin(t, h)
	before := set(web("a", 1), web("b", 2), web("c", 3))
	u.apply(upstream.Diff(upstream.Set{}, before))
	old := u.live().Workers
	want := set(web("a", 9), web("c", 3), web("d", 4))
	h.OnChange(func() { h.Reload(t, before) })
	_, err := u.g.Apply(t.Context(), upstream.Diff(before, want))
	if live := u.live(); err == nil && !upstream.Diff(live.Set, want).Empty() {
		t.Errorf("all is well, it says, and shows %s", show(live.Set))
	}
	u.settled(want)
	for _, w := range u.live().Workers {
		if slices.ContainsFunc(old, func(o gateway.Worker) bool { return o.ID == w.ID }) {
			t.Errorf("worker %s was there before the reload", w.ID)
		}
	}
	u.everywhere(want)
}

func brokenOffIsSentAgain(t *testing.T, h Harness) {
	u := begin(t, h)
	before := set(web("a", 1, 2))
	u.apply(upstream.Diff(upstream.Set{}, before))
	want := set(balanced(web("a", 1, 2), "least_conn", 50)) // some gateways do not show this
	var release func()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h.OnChange(func() {
		release = h.Hang()
		time.AfterFunc(300*time.Millisecond, cancel) // from here, as it may have been delayed
	})
	if _, err := u.g.Apply(ctx, upstream.Diff(before, want)); err == nil {
		t.Error("nothing showed the change, and Apply returned nil")
	}
	release()
	sent := len(h.Sent())
	u.converge(before) // some worker may have received it
	if len(h.Sent()) == sent {
		t.Error("it is taken to be as before, and some worker may have the change that broke off")
	}
	u.everywhere(before)
}

// soonAfter is how long a call may continue after its context has ended.
const soonAfter = 2 * time.Second

func contextEnds(t *testing.T, h Harness) {
	u := begin(t, h)
	before, want := set(web("a", 1)), set(web("a", 2), web("b", 3))
	u.apply(upstream.Diff(upstream.Set{}, before))
	for name, call := range map[string]func(context.Context) error{
		"Live":  func(ctx context.Context) error { _, err := u.g.Live(ctx); return err },
		"Apply": func(ctx context.Context) error { _, err := u.g.Apply(ctx, upstream.Diff(before, want)); return err },
	} {
		release := h.Hang()
		const limit = 200 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		began := time.Now()
		err := call(ctx)
		if took := time.Since(began); err == nil || took > limit+soonAfter {
			t.Errorf("%s with a peer that does not answer: %v after %s, its context ended after %s", name, err, took, limit)
		}
		cancel()
		if err := call(ctx); err == nil {
			t.Errorf("%s goes on although its context has ended", name)
		}
		release()
		u.converge(before)
	}
	u.converge(want)
	u.settled(want)
	u.everywhere(want)
}

func nothingOutlivesClose(t *testing.T, h Harness) {
	before := goleak.IgnoreCurrent()
	want := set(web("a", 1))
	g := h.New(t, upstream.Set{})
	if err := g.Close(); err != nil {
		t.Errorf("close what was never used: %v", err)
	}
	g = h.New(t, upstream.Set{})
	u := user{t: t, h: h, g: g}
	u.apply(upstream.Diff(u.live().Set, want))
	for range 2 {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := goleak.Find(before); err != nil {
		t.Errorf("something outlived Close: %v", err)
	}
	u.everywhere(want) // what was applied stays
}

func names(list []upstream.Upstream) []string {
	all := make([]string, len(list))
	for i, u := range list {
		all[i] = u.Name
	}
	return all
}

func updated(c upstream.Changes) []string {
	var all []string
	for _, u := range c.Updated {
		all = append(all, u.New.Name)
	}
	return all
}

func show(s upstream.Set) string {
	var all []string
	for u := range s.All() {
		line := u.Name
		for _, srv := range u.Servers {
			line += " " + srv.Addr.String()
		}
		all = append(all, line)
	}
	const most = 12
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return "{" + strings.Join(all, ", ") + "}"
}
