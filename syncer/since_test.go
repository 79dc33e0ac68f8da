package syncer

import (
	"net/netip"
	"testing"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

func TestSince(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 21, 2, minute, 0, 0, time.UTC) }
	addr := func(n string) netip.AddrPort { return netip.MustParseAddrPort("10.0.0." + n + ":80") }
	s := newSince()
	now := upstream.Set{}
	step := func(to string, minute int) {
		s.moved(minute, upstream.Diff(now, set(to)), at(minute))
		now = set(to)
	}
	in := func(name, server string, want time.Time) {
		t.Helper()
		if got := s.now().In(guard.ServerID{Upstream: name, Addr: addr(server)}); !got.Equal(want) {
			t.Errorf("%s %s is in since %s, want %s", name, server, got, want)
		}
	}
	step("a: 1 2, web: 4", 0)
	step("a: 1 2 3, web: 4 5", 1)
	in("a", "1", at(0))
	in("a", "3", at(1))
	earlier := s.now()
	step("a: 3 down, b: 9, Web: 4 5", 2)
	in("a", "3", at(2)) // from when it is marked down
	in("b", "9", at(2))
	in("Web", "4", at(0)) // another name for the same
	in("Web", "5", at(1))
	step("a: 3, b: 9, Web: 4 5", 3)
	in("a", "3", at(3))
	if got := earlier.In(guard.ServerID{Upstream: "a", Addr: addr("3")}); !got.Equal(at(1)) {
		t.Errorf("what was taken earlier has changed: %s", got)
	}
	step("", 4)
	if n := len(s.in); n != 0 {
		t.Errorf("%d servers that are gone are remembered: %v", n, s.in)
	}

	critical := upstream.Out{Service: "a", Upstream: "a", Addr: "10.0.0.1:80", Reason: reason.Text("critical")}
	other := upstream.Out{Service: "a", Upstream: "a", Addr: "10.0.0.2:80", Reason: reason.Text("critical")}
	var out upstream.Outs
	left := func(minute int, now ...upstream.Out) {
		s.left(out, upstream.NewOuts(now...), at(minute))
		out = upstream.NewOuts(now...)
	}
	left(5, critical)
	if got := s.now().Out(critical); !got.IsZero() {
		t.Errorf("what was out at the start is out since %s", got)
	}
	left(6, critical, other)
	before := s.now()
	other.Reason = reason.Text("in maintenance")
	left(7, other)
	if got := s.now().Out(other); !got.Equal(at(6)) {
		t.Errorf("with another reason it is out since %s, want %s", got, at(6))
	}
	if got := before.Out(other); !got.Equal(at(6)) {
		t.Errorf("what was taken earlier has changed: %s", got)
	}
	if left(8); len(s.out) != 0 {
		t.Errorf("instances that are out no more are remembered: %v", s.out)
	}
}
