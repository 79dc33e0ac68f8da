package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/persist"
	"swallowkeeper/status"
)

// The tests of this file walk through what SwallowKeeper's script did wrong, one each,
// against a real Consul.

// An empty catalog deleted every upstream: zero slipped past the threshold.
func TestFaultEmptyCatalogDeletesNothing(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t)
	r.registries = fmt.Sprintf("[[registry]]\naddress = %q\n", consul.Addr) // no include: all there is
	r.configure()
	all := want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80", "c": "10.0.0.4:80"}
	r.baseline(all)
	d := r.daemon()
	d.says("is in sync")
	before := r.state()

	consul.RestartEmpty()
	d.says("held: the registries list 0 services with a usable server")
	r.same(before)
	r.once("--dry-run").wants(t, status.ExitHeld, "held: the registries list 0 services")
	r.same(before)

	// One service is back: most of the rest is still missing, and stays.
	r.up("b", "10.0.0.3:80", "10.0.0.5:80")
	d.says("max_removal allows 50%")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80 10.0.0.5:80", "c": "10.0.0.4:80"})
	r.up("a", "10.0.0.1:80", "10.0.0.2:80")
	r.up("c", "10.0.0.4:80")
	d.says("the hold has ended")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80 10.0.0.5:80", "c": "10.0.0.4:80"})
	if n := r.nginx[0].Deletes(); n != 0 {
		t.Errorf("%d upstreams were deleted", n)
	}
}

// State moved forward although a push had failed, and HTTP errors were not noticed.
func TestFaultFailedPushIsRetried(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	d := r.daemon()
	r.up("a", "10.0.0.1:80")
	r.inSync(want{"a": "10.0.0.1:80"})

	for _, answer := range []struct {
		status int
		body   string
		say    string
	}{
		{500, "add server failed", "add server failed"},
		{500, "alert: update success but not sync to other process", "the gateway"},
		{502, "<html>bad gateway</html>", "bad gateway"},
		{204, "", "204"},
	} {
		posts := r.nginx[0].Posts()
		const failing = 3
		r.nginx[0].FailNext(failing, answer.status, answer.body, http.MethodPost)
		addr := fmt.Sprintf("10.0.1.%d:%d", len(answer.body)+1, answer.status)
		r.up("a", addr)
		eventually(t, patience, "it is posted again", func() bool { return r.nginx[0].Posts() > posts+failing })
		r.inSync(want{"a": "10.0.0.1:80 " + addr})
		d.says(answer.say)
		r.gone("a", addr)
		r.inSync(want{"a": "10.0.0.1:80"})
	}

	// The same with a deletion.
	r.up("b", "10.0.0.2:80")
	r.inSync(want{"a": "10.0.0.1:80", "b": "10.0.0.2:80"})
	r.nginx[0].FailNext(2, 500, "something else", http.MethodDelete)
	r.gone("b", "10.0.0.2:80")
	r.inSync(want{"a": "10.0.0.1:80"})
}

// With all instances critical an empty POST changed nothing: nginx kept the servers and
// the file dropped them.
func TestFaultAllCriticalKeepsServersInFileAndMemory(t *testing.T) {
	t.Parallel()
	addrs := []string{"10.0.0.1:80", "10.0.0.2:80"}
	t.Run("keep", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.up("a", addrs...)
		r.up("b", "10.0.0.3:80")
		d := r.daemon()
		r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80"})
		r.critical("a", addrs...)
		eventually(t, patience, "both are left out", func() bool { return strings.Count(d.log.String(), "left out") >= 2 })
		// The next change shows that it is not just late.
		r.up("b", "10.0.0.4:80")
		last := func(a string) { r.inSync(want{"a": a, "b": "10.0.0.3:80 10.0.0.4:80"}) }
		// One may go out before the other is critical too; the last never does.
		eventually(t, patience, "b has both", func() bool {
			b, ok := r.read().Set.Get(r.prefix + "b")
			return ok && len(b.Servers) == 2
		})
		a, _ := r.read().Set.Get(r.prefix + "a")
		if len(a.Servers) == 0 {
			t.Fatal("a has no server left")
		}
		last(r.addresses(r.read().Set)["a"])
		r.up("a", addrs...)
		last("10.0.0.1:80 10.0.0.2:80")
		for _, c := range r.nginx[0].Calls() {
			if c.Method == http.MethodPost && !strings.Contains(c.Body, "server ") || c.Method == http.MethodDelete {
				t.Errorf("%s %s %q", c.Method, c.Path, c.Body)
			}
		}
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80"})
		r.critical("a", addrs...)
		before := r.state()
		r.once().wants(t, status.ExitInSync, "left out", "is critical")
		r.same(before)
	})
	t.Run("remove", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.extra = "[guard]\non_unhealthy = \"remove\"\nmax_removal = 1\n"
		r.configure()
		r.up("a", addrs...)
		r.up("b", "10.0.0.3:80")
		r.daemon()
		r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80"})
		r.critical("a", addrs...)
		r.inSync(want{"b": "10.0.0.3:80"})
	})
}

// A check that flipped did not wake it: the catalog's list does not change then.
func TestFaultCheckFlipWakes(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure() // waits of three minutes
	r.up("a", "10.0.0.1:80", "10.0.0.2:80")
	r.daemon()
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	for range 3 {
		r.critical("a", "10.0.0.2:80")
		r.inSync(want{"a": "10.0.0.1:80"})
		r.up("a", "10.0.0.2:80")
		r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	}
}

// Node checks, further checks and Service.Address were ignored, IPv6 was written
// without brackets, duplicates stayed.
func TestFaultNodeChecksAndAddressesCount(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	bad := func(id, service string) *api.HealthCheck {
		return &api.HealthCheck{CheckID: id, Name: id, Status: api.HealthCritical, ServiceID: service}
	}
	r.put("node-check", instance{addr: "10.0.0.1:80"})
	r.put("node-check", instance{addr: "10.0.0.2:80", node: "-sick", checks: api.HealthChecks{bad("disk", "")}})
	r.put("further", instance{addr: "10.0.0.1:81"})
	r.put("further", instance{addr: "10.0.0.2:81", checks: api.HealthChecks{bad("second", "its own")}})
	r.put("maintenance", instance{addr: "10.0.0.1:82"})
	r.put("maintenance", instance{addr: "10.0.0.2:82", node: "-maint", checks: api.HealthChecks{bad(api.NodeMaint, "")}})
	r.put("warning", instance{addr: "10.0.0.1:83"})
	r.put("warning", instance{addr: "10.0.0.2:83", status: api.HealthWarning})
	r.put("address", instance{addr: "10.0.0.9:84", nodeAddr: "10.255.0.1"})
	r.put("address", instance{addr: ":85", node: "-other", nodeAddr: "10.255.0.2"})
	r.put("ipv6", instance{addr: "[2001:db8::1]:86"})
	r.put("ipv6", instance{addr: ":87", node: "-six", nodeAddr: "2001:db8::2"})
	r.put("twice", instance{addr: "10.0.0.1:88", id: "one"})
	r.put("twice", instance{addr: "10.0.0.1:88", id: "two", node: "-other", nodeAddr: "10.255.0.2"})
	all := want{
		"node-check": "10.0.0.1:80", "further": "10.0.0.1:81", "maintenance": "10.0.0.1:82", "warning": "10.0.0.1:83",
		"address": "10.0.0.9:84 10.255.0.2:85", "ipv6": "[2001:db8::1]:86 [2001:db8::2]:87", "twice": "10.0.0.1:88",
	}
	r.daemon()
	r.inSync(all)
	text, err := os.ReadFile(r.conf)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "server [2001:db8::1]:86 ") {
		t.Errorf("no brackets:\n%s", text)
	}

	// One of two registrations of an address goes: the server stays.
	if _, err := r.client.Catalog().Deregister(&api.CatalogDeregistration{Node: r.prefix + "node", ServiceID: "one"}, nil); err != nil {
		t.Fatal(err)
	}
	// And the node gets well.
	r.put("node-check", instance{addr: "10.0.0.2:80", node: "-sick", checks: api.HealthChecks{
		{CheckID: "disk", Name: "disk", Status: api.HealthPassing},
	}})
	all["node-check"] = "10.0.0.1:80 10.0.0.2:80"
	r.inSync(all)
}

// One service with null tags stopped all syncing.
func TestFaultNullTags(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nulls := sync.OnceFunc(func() { t.Log("tags were made null") })
	// The server of today makes empty tags a list; others have answered null.
	consul := r.tapped(func(path string, body []byte) []byte {
		text := string(body)
		switch {
		case path == "/v1/catalog/services":
			text = regexp.MustCompile(`:\s*\[\]`).ReplaceAllString(text, ":null")
		case strings.HasPrefix(path, "/v1/health/service/"):
			text = regexp.MustCompile(`"(Tags|ServiceTags|Meta)":\s*(\[\]|\{\})`).ReplaceAllString(text, `"$1":null`)
		}
		if strings.Contains(text, "null") {
			nulls()
		}
		return []byte(text)
	})
	r.consul = consul.addr
	r.configure()
	r.put("none", instance{addr: "10.0.0.1:80"})
	r.put("some", instance{addr: "10.0.0.2:80", tags: []string{"x"}})
	r.put("gray", instance{addr: "10.0.0.3:80", tags: []string{"gray=b"}})
	r.daemon()
	r.inSync(want{"none": "10.0.0.1:80", "some": "10.0.0.2:80", "gray_b": "10.0.0.3:80"})
	r.up("none", "10.0.0.4:80")
	r.inSync(want{"none": "10.0.0.1:80 10.0.0.4:80", "some": "10.0.0.2:80", "gray_b": "10.0.0.3:80"})
}

// A service called `x { server 6.6.6.6; } upstream y` wrote configuration.
func TestFaultHostileServiceName(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("good", "10.0.0.1:80")
	r.up("also", "10.0.0.2:80")
	evil := []string{
		"x { server 6.6.6.6; } upstream y", "a;b", "a{b", "a}b", "a\nupstream b { server 6.6.6.6; }", "../../etc/passwd",
		"a/b", "a b", "a\"b", "a'b", "a#b", "a$host", "a\\b", "a\x00b", "a\x1b[2Jb", "ä", "a\u202eb", strings.Repeat("n", 10_000),
	}
	taken := 0
	for i, name := range evil {
		if err := r.try(name, instance{addr: fmt.Sprintf("6.6.6.6:%d", i+1), id: fmt.Sprintf("evil%d", i)}); err != nil {
			t.Logf("Consul itself refuses %.40q: %v", name, err)
			continue
		}
		taken++
	}
	if taken < len(evil)/2 {
		t.Errorf("Consul took only %d of the %d names", taken, len(evil))
	}
	// An instance whose tags, metas or address are hostile is out, those beside it are not.
	texts := []string{"1; } upstream y { server 6.6.6.6", "7\nserver 6.6.6.6;", "-1", "0", "1e9", "99999999999999999999", "", "NaN"}
	for i, text := range texts {
		r.put("good", instance{
			addr: fmt.Sprintf("6.6.6.7:%d", i+1), id: fmt.Sprintf("meta%d", i), meta: map[string]string{"nginx-weight": text},
		})
		r.put("good", instance{
			addr: fmt.Sprintf("6.6.6.8:%d", i+1), id: fmt.Sprintf("time%d", i),
			meta: map[string]string{"nginx-fail-timeout": text + "x"},
		})
	}
	for i, tag := range []string{"gray=x { server 6.6.6.6; }", "gray=../b", "gray=\n", "gray=" + strings.Repeat("g", 9000)} {
		r.put("good", instance{addr: fmt.Sprintf("6.6.6.9:%d", i+1), id: fmt.Sprintf("tag%d", i), tags: []string{tag}})
	}
	for i, host := range []string{"6.6.6.6; } upstream y { server 1.1.1.1", "$host", "evil.example", "unix:/tmp/x", "0.0.0.0", "6.6.6.6 backup"} {
		err := r.try("good", instance{addr: "[" + host + "]:80", id: fmt.Sprintf("host%d", i)})
		if err != nil {
			t.Logf("Consul itself refuses address %q: %v", host, err)
		}
	}
	if err := r.try("good", instance{addr: "6.6.6.10:0", id: "port"}); err != nil {
		t.Log(err)
	}

	d := r.daemon()
	good := want{"good": "10.0.0.1:80", "also": "10.0.0.2:80"}
	r.inSync(good)
	d.says("left out")
	r.up("also", "10.0.0.3:80")
	good["also"] = "10.0.0.2:80 10.0.0.3:80"
	r.inSync(good)

	text, err := os.ReadFile(r.conf)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "6.6.6.") {
		t.Errorf("the file has what the registry wrote:\n%s", text)
	}
	for _, c := range r.nginx[0].Calls() {
		if strings.Contains(c.Path+c.Body, "6.6.6.") || strings.ContainsAny(c.Path, "%;{ ") {
			t.Errorf("%s %.100q %.100q", c.Method, c.Path, c.Body)
		}
	}
	for line := range strings.SplitSeq(d.log.String(), "\n") {
		if line != "" && !strings.HasPrefix(line, "time=") || strings.ContainsAny(line, "\x00\x1b\u202e") {
			t.Errorf("a line of the log is not the program's own: %.200q", line)
		}
		if len(line) > 4000 {
			t.Errorf("a line of the log has %d bytes", len(line))
		}
	}
	got := r.once("--dry-run")
	for line := range strings.SplitSeq(got.stdout, "\n") {
		if strings.ContainsAny(line, "\x00\x1b\u202e") || strings.HasPrefix(line, "server 6.6.6.6") {
			t.Errorf("standard output has %.200q", line)
		}
	}
	if n := strings.Count(got.stdout, "left out: "); n < taken+2*len(texts)-2 {
		t.Errorf("%d are left out with a reason, of %d names and %d metas and more:\n%.3000s", n, taken, 2*len(texts), got.stdout)
	}
}

// The file was truncated in place, up to three times a round. Whoever reads it now sees
// whole files alone.
func TestFaultFileNeverTruncated(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	addrs := many(40)
	r.up("a", addrs[0])
	r.up("b", addrs[:20]...)
	d := r.daemon()
	r.inSync(want{"a": addrs[0], "b": strings.Join(addrs[:20], " ")})

	ctx, cancel := context.WithCancel(t.Context())
	reads, bad, done := 0, "", make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil && bad == "" {
			gen, edited, err := persist.Read(r.conf)
			if err != nil || edited || gen.Set.Len() != 2 || gen.Number == 0 {
				bad = fmt.Sprintf("read %d: %d upstreams, edited %v, %v", reads, gen.Set.Len(), edited, err)
			}
			reads++
		}
	}()
	first := r.read().Number
	for i, a := range addrs[20:] {
		r.up("b", a)
		r.up("a", a)
		r.gone("a", a)
		r.inSync(want{"a": addrs[0], "b": strings.Join(addrs[:21+i], " ")}) // a generation at least
	}
	cancel()
	<-done
	if bad != "" {
		t.Error(bad)
	}
	written := r.read().Number - first
	if written < 10 || reads < 100 {
		t.Errorf("%d reads of %d generations", reads, written)
	}
	t.Logf("%d reads of %d generations", reads, written)
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// What was pushed lacked the options that the file had, and a mere reordering was
// pushed again.
func TestFaultMemoryHasFilesOptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var mixed atomic.Int32 // answers about a that came in another order
	consul := r.tapped(func(path string, body []byte) []byte {
		if !strings.HasPrefix(path, "/v1/health/service/") {
			return body
		}
		var list []json.RawMessage
		if err := json.Unmarshal(body, &list); err != nil {
			return body
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		changed, err := json.Marshal(list)
		if err != nil {
			return body
		}
		if path == "/v1/health/service/"+r.prefix+"a" {
			mixed.Add(1)
		}
		return changed
	})
	r.consul = consul.addr
	r.extra = fmt.Sprintf("[upstream]\nmax_fails = 7\nkeepalive = 33\n[upstream.%q]\nmethod = \"least_conn\"\nkeepalive = 11\n", r.prefix+"c")
	r.configure()
	addrs := many(8)
	r.up("a", addrs...)
	r.put("b", instance{addr: "10.0.0.1:80", meta: map[string]string{
		"nginx-weight": "5", "nginx-max-fails": "9", "nginx-fail-timeout": "30s", "nginx-max-conns": "100",
	}})
	r.put("b", instance{addr: "10.0.0.2:80", weights: api.AgentWeights{Passing: 4, Warning: 1}})
	r.put("b", instance{addr: "10.0.0.3:80", meta: map[string]string{"nginx-backup": "true"}})
	r.up("c", "10.0.0.4:80")
	r.daemon()
	all := want{"a": strings.Join(addrs, " "), "b": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80", "c": "10.0.0.4:80"}
	r.inSync(all)

	for name, bodies := range posted(r.nginx[0].Calls()) {
		u, ok := r.read().Set.Get(name)
		if !ok {
			t.Errorf("%s was posted and is not in the file", name)
			continue
		}
		if last, want := bodies[len(bodies)-1], string(nginxconf.AppendBody(nil, u)); last != want {
			t.Errorf("%s was posted as\n%swant\n%s", name, last, want)
		}
	}
	text, err := os.ReadFile(r.conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"server 10.0.0.1:80 weight=5 max_fails=9 fail_timeout=30s max_conns=100;", "server 10.0.0.2:80 weight=4 ",
		"max_fails=7", "keepalive 33;", "least_conn;", "keepalive 11;",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%q is not in the file:\n%s", line, text)
		}
	}
	copies := r.nginx[0].Workers()
	if b := copies[3].Upstreams[r.prefix+"b"]; !strings.Contains(b, "10.0.0.1:80 weight=5 max_conns=100 max_fails=9 fail_timeout=30 ") {
		t.Errorf("the last worker has\n%s", b)
	}

	// The output of a check wakes the watch, and the answer comes in another order.
	before := r.state()
	for i := range 10 {
		seen := mixed.Load()
		node := r.prefix + "node"
		_, err := r.client.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "10.255.0.1", SkipNodeUpdate: true,
			Check: &api.AgentCheck{
				Node: node, CheckID: "own:a@" + addrs[0], Name: "own", Status: api.HealthPassing,
				Output: fmt.Sprint("said ", i), ServiceID: "a@" + addrs[0], ServiceName: r.prefix + "a",
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "the watch wakes", func() bool { return mixed.Load() > seen })
	}
	// A real change behind them shows that they were seen.
	r.up("c", "10.0.0.5:80")
	all["c"] = "10.0.0.4:80 10.0.0.5:80"
	r.inSync(all)
	after := r.state()
	if n := after.Posts[0] - before.Posts[0]; n != 1 {
		t.Errorf("%d posts for one change", n)
	}
}

// Nothing was read back: after a restart of either side orphans and gaps stayed.
func TestFaultReadBackAfterRestarts(t *testing.T) {
	t.Parallel()
	all := want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80", "c": "10.0.0.4:80"}
	start := func(t *testing.T) (*rig, *keeper) {
		t.Parallel()
		r := newRig(t).configure()
		r.baseline(all)
		d := r.daemon()
		d.says("is in sync")
		return r, d
	}
	t.Run("the gateway reloads", func(t *testing.T) {
		r, _ := start(t)
		if err := r.nginx[0].Reload(); err != nil {
			t.Fatal(err)
		}
		r.up("b", "10.0.0.9:80")
		r.inSync(want{"a": all["a"], "b": "10.0.0.3:80 10.0.0.9:80", "c": all["c"]})
	})
	t.Run("the gateway reloads an older file", func(t *testing.T) {
		r, _ := start(t)
		// The workers read the file while it is being replaced: they have the one before.
		text, err := os.ReadFile(r.conf)
		if err != nil {
			t.Fatal(err)
		}
		r.up("b", "10.0.0.9:80")
		r.inSync(want{"a": all["a"], "b": "10.0.0.3:80 10.0.0.9:80", "c": all["c"]})
		now, err := os.ReadFile(r.conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.conf, text, 0o644); err != nil {
			t.Fatal(err)
		}
		err = r.nginx[0].Reload()
		if e := os.WriteFile(r.conf, now, 0o644); err != nil || e != nil {
			t.Fatal(err, e)
		}
		r.inSync(want{"a": all["a"], "b": "10.0.0.3:80 10.0.0.9:80", "c": all["c"]})
	})
	t.Run("a worker crashes", func(t *testing.T) {
		r, d := start(t)
		r.up("b", "10.0.0.9:80")
		all := want{"a": all["a"], "b": "10.0.0.3:80 10.0.0.9:80", "c": all["c"]}
		r.inSync(all)
		r.nginx[0].CrashWorker(2) // it comes back with what nginx loaded at its start: nothing
		if r.wrong(all, r.nginx) == "" {
			t.Fatal("the crash changed nothing")
		}
		r.inSync(all)
		d.says("as after a crash")
	})
	t.Run("the gateway starts anew and empty", func(t *testing.T) {
		r, _ := start(t)
		old := r.nginx[0]
		api := strings.TrimPrefix(old.API(), "http://")
		old.Close()
		r.nginx = nil
		s, err := dyupstest.New(dyupstest.Options{APIAddr: api, WorkerHeader: true, MaxConns: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		r.nginx = []*dyupstest.Server{s}
		r.inSync(all)
	})
	t.Run("somebody meddles", func(t *testing.T) {
		r, _ := start(t)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		send := func(method, name, body string) {
			req, err := http.NewRequestWithContext(t.Context(), method, r.nginx[0].API()+"/upstream/"+name, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Fatalf("%s %s: %s", method, name, resp.Status)
			}
		}
		send(http.MethodDelete, r.prefix+"a", "")
		send(http.MethodPost, r.prefix+"b", "server 10.9.9.9:1;")
		send(http.MethodPost, "mine", "server 10.9.9.9:2;")
		r.own = []string{"mine"}
		r.inSync(all)
		if r.nginx[0].Workers()[0].Upstreams["mine"] == "" {
			t.Error("the operator's own upstream is gone")
		}
	})
	t.Run("swallowkeeper is away", func(t *testing.T) {
		r, d := start(t)
		if code := d.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		r.gone("c", "10.0.0.4:80")
		r.up("d", "10.0.0.5:80")
		r.up("b", "10.0.0.6:80")
		r.daemon()
		r.inSync(want{"a": all["a"], "b": "10.0.0.3:80 10.0.0.6:80", "d": "10.0.0.5:80"})
	})
	t.Run("swallowkeeper ends before the gateway has it", func(t *testing.T) {
		r, d := start(t)
		r.nginx[0].FailNext(3, http.StatusInternalServerError, "not now", http.MethodDelete)
		r.gone("c", "10.0.0.4:80")
		eventually(t, patience, "c is noted as leaving", func() bool {
			gen := r.read()
			return len(gen.Leaving) == 1 && gen.Leaving[0] == r.prefix+"c"
		})
		if code := d.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		if _, ok := r.nginx[0].Workers()[0].Upstreams[r.prefix+"c"]; !ok {
			t.Fatal("c is gone already: there is no orphan to find")
		}
		r.daemon()
		r.inSync(want{"a": all["a"], "b": all["b"]})
		eventually(t, patience, "nothing is leaving any more", func() bool { return len(r.read().Leaving) == 0 })
	})
	t.Run("swallowkeeper is killed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.baseline(all)
		for i := range 4 {
			d := r.process(nil)
			d.says("is in sync")
			r.up("b", fmt.Sprintf("10.0.1.%d:80", i+1))
			r.gone("c", "10.0.0.4:80")
			if i%2 == 1 {
				r.up("c", "10.0.0.4:80")
			}
			d.kill()
			d.wait()
			r.read() // whole
			if i%2 == 0 {
				r.up("c", "10.0.0.4:80")
			}
		}
		r.daemon()
		r.inSync(want{"a": all["a"], "c": all["c"], "b": "10.0.0.3:80 10.0.1.1:80 10.0.1.2:80 10.0.1.3:80 10.0.1.4:80"})
	})
}

// No timeouts, no backoff, and removal before addition.
func TestFaultTimeoutsBackoffAdditionsFirst(t *testing.T) {
	t.Parallel()
	t.Run("additions come first", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.baseline(want{"a": "10.0.0.1:80", "b": "10.0.0.2:80", "y": "10.0.0.3:80"})
		calls := len(r.nginx[0].Calls())
		r.gone("a", "10.0.0.1:80")
		r.up("b", "10.0.0.4:80")
		r.up("z", "10.0.0.5:80")
		r.once().wants(t, status.ExitInSync, "1 added, 1 updated, 1 removed")
		var order []string
		for _, c := range r.nginx[0].Calls()[calls:] {
			if c.Method != http.MethodGet {
				order = append(order, c.Method+" "+strings.TrimPrefix(c.Path, "/upstream/"+r.prefix))
			}
		}
		if want := []string{"POST z", "POST b", "DELETE a"}; !slices.Equal(order, want) {
			t.Errorf("%q, want %q", order, want)
		}
	})
	t.Run("a gateway that hangs is given up and asked again", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.gateways = strings.Replace(gatewayTable("gw1", r.nginx[0].API()), `"2s"`, `"200ms"`, 1)
		r.configure()
		r.baseline(want{"a": "10.0.0.1:80"})
		d := r.daemon()
		d.says("is in sync")
		r.nginx[0].Hang(true)
		r.up("a", "10.0.0.2:80")
		again := func() []time.Duration {
			var waits []time.Duration
			for _, m := range regexp.MustCompile(`again_in=(\S+)`).FindAllStringSubmatch(d.log.String(), -1) {
				if wait, err := time.ParseDuration(m[1]); err == nil {
					waits = append(waits, wait)
				}
			}
			return waits
		}
		eventually(t, patience, "it is asked three times", func() bool { return len(again()) >= 3 })
		if waits := again(); waits[2] <= waits[0] {
			t.Errorf("the waits do not grow: %v", waits)
		}
		r.nginx[0].Hang(false)
		r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	})
	t.Run("a Consul that hangs ends a pass in time", func(t *testing.T) {
		t.Parallel()
		r := bareRig(t, hanging(t)).configure()
		before := r.state()
		began := time.Now()
		r.once("--timeout", "500ms").wants(t, status.ExitFailed, "registry consul gave no answer within 500ms")
		if took := time.Since(began); took > patience {
			t.Errorf("it took %s", took)
		}
		r.same(before)
	})
	t.Run("a Consul that fails is asked ever more seldom", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		var at []time.Time
		server := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			http.Error(w, "rpc error: No cluster leader", http.StatusInternalServerError)
		})
		r := bareRig(t, strings.TrimPrefix(server, "http://")).configure()
		r.once("--timeout", "3s").wants(t, status.ExitFailed, "No cluster leader")
		mu.Lock()
		defer mu.Unlock()
		if len(at) < 3 || len(at) > 12 {
			t.Errorf("asked %d times in 3 s", len(at))
		}
	})
}
