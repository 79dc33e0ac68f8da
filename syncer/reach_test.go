package syncer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
)

func TestReachRefuses(t *testing.T) {
	own := []Own{
		{Of: reason.Text("the interface of gateway gw"), Addr: netip.MustParseAddrPort("127.0.0.1:18882")},
		{Of: reason.Text("registry far"), Addr: netip.MustParseAddrPort("10.9.9.9:8500")},
		{Of: reason.Text("registry six"), Addr: netip.MustParseAddrPort("[2001:db8::5]:8500")},
		{Of: reason.Text("the status page"), Addr: netip.MustParseAddrPort("[::]:9180")},
	}
	local := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}
	tests := []struct {
		addr, allow, deny, want string // want "" is allowed
	}{
		{"10.0.0.1:80", "", "", ""},
		{"127.0.0.1:80", "", "", ""},
		{"[::1]:80", "", "", ""},
		{"10.0.0.5:80", "", "", ""},
		{"[2001:db8::1]:80", "", "", ""},

		{"127.0.0.1:18882", "", "", "the interface of gateway gw"},
		{"127.0.0.2:18882", "", "", "the interface of gateway gw"},
		{"[::1]:18882", "", "", "the interface of gateway gw"},
		{"10.0.0.5:18882", "", "", "the interface of gateway gw"},
		{"[fd00::5]:18882", "", "", "the interface of gateway gw"},
		{"[::ffff:127.0.0.1]:18882", "", "", "the interface of gateway gw"},
		{"[::ffff:10.0.0.5]:18882", "", "", "the interface of gateway gw"},
		{"[64:ff9b::127.0.0.1]:18882", "", "", "stands for 127.0.0.1"},
		{"10.0.0.6:18882", "", "", ""},
		{"10.9.9.9:8500", "", "", "registry far"},
		{"10.9.9.9:8501", "", "", ""},
		{"127.0.0.1:8500", "", "", ""},
		{"[2001:db8::5]:8500", "", "", "registry six"},
		{"127.0.0.1:9180", "", "", "the status page"},
		{"10.0.0.5:9180", "", "", "the status page"},
		{"10.0.0.1:9180", "", "", ""},
		{"127.0.0.1:18882", "127.0.0.0/8", "", "the interface of gateway gw"},

		{"0.0.0.0:80", "", "", "no address of a machine"},
		{"0.0.0.1:80", "", "", "no address of a machine"},
		{"0.255.255.255:80", "0.0.0.0/0", "", "no address of a machine"},
		{"[::]:80", "", "", "no address of a machine"},
		{"[::ffff:0.0.0.1]:80", "", "", "no address of a machine"},
		{"224.0.0.1:80", "", "", "many machines"},
		{"239.1.2.3:80", "0.0.0.0/0", "", "many machines"},
		{"255.255.255.255:80", "", "", "many machines"},
		{"[ff02::1]:80", "", "", "many machines"},

		{"169.254.169.254:80", "", "", "link-local"},
		{"169.254.0.1:80", "0.0.0.0/0", "", "link-local"},
		{"[fe80::1]:80", "::/0", "", "link-local"},
		{"[::ffff:169.254.169.254]:80", "", "", "link-local"},
		{"[::169.254.169.254]:80", "", "", "link-local"},
		{"[64:ff9b::a9fe:a9fe]:80", "", "", "169.254.169.254 is link-local"},
		{"[64:ff9b:1::a9fe:a9fe]:80", "", "", "169.254.169.254 is link-local"},
		{"[2002:a9fe:a9fe::1]:80", "", "", "169.254.169.254 is link-local"},
		{"169.254.7.1:80", "169.254.7.0/24", "", ""},
		{"169.254.8.1:80", "169.254.7.0/24", "", "link-local"},
		{"169.254.8.1:80", "169.254.0.0/16", "", ""},
		{"169.254.8.1:80", "169.254.8.1", "", ""},
		{"[fe80::1]:80", "fe80::/10", "", ""},
		{"169.254.8.1:80", "169.254.0.0/16", "169.254.8.0/24", "169.254.8.0/24 of deny_addresses"},
		{"10.0.0.1:80", "0.0.0.0/0 169.254.0.0/16", "", ""},

		{"10.0.0.1:80", "10.0.0.0/8", "", ""},
		{"10.0.0.1:80", "192.168.0.0/16 10.0.0.1", "", ""},
		{"10.0.0.1:80", "192.168.0.0/16", "", "no range of allow_addresses"},
		{"[fd00::1]:80", "0.0.0.0/0", "", "no range of allow_addresses"},
		{"10.0.0.1:80", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/24 of deny_addresses"},
		{"10.0.1.1:80", "10.0.0.0/8", "10.0.0.0/24", ""},
		{"10.0.0.1:80", "", "10.0.0.0/24", "10.0.0.0/24 of deny_addresses"},
		{"[::ffff:10.0.0.1]:80", "", "10.0.0.0/24", "10.0.0.0/24 of deny_addresses"},
		{"[64:ff9b::10.0.0.1]:80", "", "10.0.0.0/24", "10.0.0.0/24 of deny_addresses"},
		{"[fd00::1]:80", "", "fd00::/8", "fd00::/8 of deny_addresses"},
	}
	for _, tt := range tests {
		t.Run(tt.addr+" allow "+tt.allow+" deny "+tt.deny, func(t *testing.T) {
			r := Reach{Own: own, Local: local}
			var err error
			if r.Allow, err = guard.ParseRanges("allow_addresses", strings.Fields(tt.allow)); err != nil {
				t.Fatal(err)
			}
			if r.Deny, err = guard.ParseRanges("deny_addresses", strings.Fields(tt.deny)); err != nil {
				t.Fatal(err)
			}
			got := r.Refuses(netip.MustParseAddrPort(tt.addr)).String()
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestRangesAreParsedStrictly(t *testing.T) {
	for _, bad := range []string{"", "web", "10.0.0.0/33", "10.0.0", "::ffff:10.0.0.0/104", "fe80::1%eth0", "fe80::1%eth0/64", "10.0.0.1:80"} {
		c := guard.DefaultConfig()
		c.DenyAddresses = []string{"10.0.0.0/8", bad}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "deny_addresses") {
			t.Errorf("%q: %v", bad, err)
		}
		c.DenyAddresses, c.AllowAddresses = nil, []string{bad}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "allow_addresses") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// barred makes a world of which the address with this last number may not be reached: set("a: 1") has 10.0.0.1.
func (w *world) barred(limits guard.Config, addrs ...string) {
	w.reach = func() Reach {
		deny, _ := guard.ParseRanges("deny_addresses", addrs)
		return Reach{Deny: deny}
	}
	w.start(limits)
}

func addrOf(n string) string {
	return strings.Split(addresses(slices.Collect(set("x: " + n).All())[0])[0], ":")[0]
}

func TestWhatMayNotBeReached(t *testing.T) {
	two := addrOf("2")
	run(t, "is out with its reason, and the rest goes in", 1, 1, func(t *testing.T, w *world) {
		w.barred(guard.DefaultConfig(), two)
		defer w.stop()
		w.registries[0].publish("a: 1 2, b: 2, c: 3")
		w.pass(soon)
		w.wantStored("a: 1, c: 3")
		w.wantLive(0, "a: 1, c: 3")
		for _, service := range []string{"a", "b"} {
			w.wantOut(service, two+" is in "+two+"/32 of deny_addresses")
		}
	})
	run(t, "goes where it is written, whatever keeps the others", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{
			Number: 7, Set: set("a: 1 2, b: 2, c: 2 3, d: 4 5 6 7"), Frozen: []generation.Freeze{{Name: "c"}},
		}
		w.gateways[0].set("a: 1 2, b: 2, c: 2 3, d: 4 5 6 7")
		w.barred(guard.DefaultConfig(), two)
		defer w.stop()
		// No registry has answered.
		w.pass(time.Second)
		w.wantLive(0, "a: 1 2, b: 2, c: 2 3, d: 4 5 6 7")
		w.pass(firstAnswer)
		w.wantStored("a: 1, c: 3, d: 4 5 6 7")
		w.wantLive(0, "a: 1, c: 3, d: 4 5 6 7")
		w.registries[0].publish("a: 1 2, b: 2, c: 2 3, d: none") // on_unhealthy = keep
		w.pass(time.Second)
		w.wantStored("a: 1, c: 3, d: 4 5 6 7")
		w.registries[0].publish("a: none, b: none") // a hold
		w.pass(time.Second)
		if first(w.syncer.Status().Holds) == nil {
			t.Error("nothing is held")
		}
		w.wantLive(0, "a: 1, c: 3, d: 4 5 6 7")
	})
	run(t, "it is told once, however long a gateway is waited for", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2")}
		w.gateways[0].set("a: 1 2")
		w.gateways[0].delay = firstLook / 2
		w.barred(guard.DefaultConfig(), two)
		defer w.stop()
		w.registries[0].publish("a: 1")
		w.pass(time.Second)
		w.wantStored("a: 1")
		told := 0
		for _, e := range w.log.AllEntries() {
			if strings.Contains(e.Message, "are no longer allowed") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("the log says it %d times", told)
		}
	})
	run(t, "a hold does not keep it", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1 2 3 4 5 6 7 8")}
		w.gateways[0].set("a: 1 2 3 4 5 6 7 8")
		var most []string
		for _, n := range []string{"2", "3", "4", "5", "6", "7"} {
			most = append(most, addrOf(n))
		}
		w.barred(guard.DefaultConfig(), most...)
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5 6 7 8")
		w.pass(time.Second)
		w.wantLive(0, "a: 1 8")
		if h := first(w.syncer.Status().Holds); h != nil {
			t.Errorf("held: %s", h.Reason)
		}
	})
	run(t, "an upstream that is ours gets other servers though a gateway was never asked", 1, 2, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 2, b: 1")}
		w.gateways[0].set("a: 2, b: 1")
		w.gateways[1].setFail(errDown)
		w.barred(guard.DefaultConfig(), two)
		defer w.stop()
		w.registries[0].publish("a: 3, b: 1")
		w.pass(time.Second)
		w.wantLive(0, "a: 3, b: 1")
	})
	run(t, "no rollback brings it back", 1, 1, func(t *testing.T, w *world) {
		w.store.gen = generation.Generation{Number: 7, Set: set("a: 1")}
		w.barred(guard.DefaultConfig(), two)
		defer w.stop()
		w.pass(soon)
		if _, err := w.syncer.Do(t.Context(), Rollback(generation.Generation{Number: 3, Set: set("a: 1 2, b: 2, c: 3")})); err != nil {
			t.Fatal(err)
		}
		w.wantStored("a: 1, c: 3")
	})
	run(t, "one pass is no other", 1, 1, func(t *testing.T, w *world) {
		w.reach = func() Reach { return Reach{Deny: []netip.Prefix{netip.MustParsePrefix(two + "/32")}} }
		w.registries[0].publish("a: 1 2, b: 2")
		out, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Second})
		if err != nil || out.Out.Len() != 2 {
			t.Errorf("%+v, %v", out, err)
		}
		w.wantLive(0, "a: 1")
	})
}
