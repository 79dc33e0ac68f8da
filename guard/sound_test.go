package guard

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// drawAny draws what a registry could publish, right or wrong.
func drawAny(t *rapid.T, registry string) upstream.Set {
	text := func(label string, all ...string) string { return rapid.SampledFrom(all).Draw(t, label) }
	var list []upstream.Upstream
	var out []upstream.Out
	for range rapid.IntRange(0, 4).Draw(t, "upstreams") {
		u := upstream.Upstream{Name: text("name", "web", "web", "Web", "api", "job_b", "", "a b", "10.0.0.1"), Canary: text("canary", "", "", "b")}
		u.Options.Method = text("method", "", "", "least_conn", "ip_hash", "random", "lest_conn", "hash $uri")
		u.Options.Keepalive = rapid.SampledFrom([]int{0, 20, -1, upstream.MaxCount + 1}).Draw(t, "keepalive")
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 9), 0, 6, rapid.ID).Draw(t, "servers") {
			srv := upstream.Server{Addr: addr(string(rune('0' + n))), Weight: 1, MaxFails: 3, FailTimeout: time.Second, Origin: registry}
			switch rapid.IntRange(0, 30).Draw(t, "odd") {
			case 0:
				srv.Addr = netip.AddrPortFrom(netip.AddrFrom16(srv.Addr.Addr().As16()), 80)
			case 1:
				srv.Weight = 0
			case 2:
				srv.FailTimeout = time.Millisecond
			case 3:
				srv.Host = text("host", "db.example:80", "db.example", "a b:80")
			case 4:
				srv.Addr = netip.AddrPort{}
			case 5, 6, 7, 8:
				srv.Backup = true
			case 9, 10:
				srv.Down = true
			case 11, 12, 13, 14:
				out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Addr: srv.Addr.String(), Reason: reason.Text("critical"), Unhealthy: true})
				continue
			}
			u.Servers = append(u.Servers, srv)
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, out...)
}

// TestWhatIsAcceptedLoads: whatever registries publish, one after the other or beside each other, what the guard accepts
// of it can be written. One bad registration stops no other's changes.
func TestWhatIsAcceptedLoads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawLimits(t)
		in := Input{Now: noon}
		for range rapid.IntRange(1, 8).Draw(t, "decisions") {
			in.Now = in.Now.Add(rapid.SampledFrom(steps).Draw(t, "after"))
			in.Seen = upstream.Merge(in.Accepted, drawAny(t, "r"), drawAny(t, "s"))
			d := c.Decide(in)
			in.Accepted, in.History = gateway.Loadable(d.Accepted), d.History
			before := ""
			for u := range in.Accepted.All() {
				if err := nginxconf.Valid(u); err != nil || before != "" && upstream.SameName(before, u.Name) {
					t.Fatalf("%s beside %s: %v", u.Name, before, err)
				}
				before = u.Name
			}
		}
	})
}

// What can't be written stays as it is, or out, with its reason; what is beside it goes on.
func TestSound(t *testing.T) {
	last := set("a: 1 2, b: 3")
	next := func(a, b func(*upstream.Upstream), also ...upstream.Upstream) Decision {
		var list []upstream.Upstream
		for u := range set("a: 1 2 4, b: 3 5").All() {
			change := map[string]func(*upstream.Upstream){"a": a, "b": b}[u.Name]
			change(&u)
			list = append(list, u)
		}
		return DefaultConfig().Decide(Input{Accepted: last, Seen: upstream.NewSet(append(list, also...)), Now: noon})
	}
	same := func(*upstream.Upstream) {}
	method := func(u *upstream.Upstream) { u.Options.Method = "lest_conn" }
	d := next(method, same, upstream.Upstream{Name: "c d", Servers: []upstream.Server{{Addr: addr("9"), Weight: 1}}})
	if got := line(d.Accepted); got != "a: 1 2, b: 3 5" {
		t.Errorf("accepted is %q", got)
	}
	for name, reason := range map[string]string{
		"a": "nginx would refuse it: unknown balancing method \"lest_conn\"", "c d": "nginx would refuse it: the name has characters",
	} {
		if !slices.ContainsFunc(leftOut(d.Out), func(o upstream.Out) bool { return o.Upstream == name && strings.HasPrefix(o.Reason.String(), reason) }) {
			t.Errorf("%s is not out for %q: %v", name, reason, d.Out)
		}
	}
	if d = next(same, same); d.Out.Len() > 0 || line(d.Accepted) != "a: 1 2 4, b: 3 5" {
		t.Errorf("accepted is %q, out %v", line(d.Accepted), d.Out)
	}
}
