package dyups_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/dyups"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/upstream"
)

// tengine is a real one: it runs where TENGINE_BIN names its binary.
type tengine struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
}

type tengineOptions struct {
	header, trylock bool
	timeout         string // dyups_read_msg_timeout
	location        string // more directives of the interface's location
	http            string // more of the http block
}

func startTengine(t *testing.T, o tengineOptions) *tengine {
	t.Helper()
	bin := os.Getenv("TENGINE_BIN")
	if bin == "" {
		t.Skip("TENGINE_BIN does not name a Tengine binary")
	}
	dir, err := os.MkdirTemp("", "tengine") //nolint:usetesting // a socket's path is limited to 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // nginx's workers are another user
		t.Fatal(err)
	}
	if o.header {
		o.location += "add_header X-Dyups-Worker $pid always;"
	}
	main := ""
	if o.timeout != "" {
		main += "dyups_read_msg_timeout " + o.timeout + ";"
	}
	if o.trylock {
		main += "dyups_trylock on;"
	}
	main += o.http
	address := loopback.Free(t, 1)[0]
	conf := fmt.Sprintf(`
daemon off;
master_process on;
worker_processes 4;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
events { worker_connections 256; }
http {
	access_log off;
	resolver 127.0.0.1:9 valid=1s;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	include %[1]s/upstreams.conf*;
	%[2]s
	server {
		listen %[3]s;
		location / { dyups_interface; %[4]s }
	}
}
`, dir, main, address, o.location)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &tengine{t: t, dir: dir, address: "http://" + address}
	n.cmd = exec.Command(bin, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	var out bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &out, &out
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.cmd.Process.Signal(syscall.SIGTERM)
		_ = n.cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("%s%.3000s", out.String(), n.alerts(log))
		}
	})
	c := dyups.NewClient(n.address)
	t.Cleanup(c.HTTPClient.CloseIdleConnections)
	eventually(t, "Tengine listens", func() bool { _, err := c.List(t.Context()); return err == nil })
	return n
}

func (n *tengine) alerts(log []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "[alert]") || strings.Contains(line, "[emerg]") || strings.Contains(line, "[error]") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (n *tengine) gateway(change func(*dyups.Config)) *dyups.Gateway {
	c := dyups.DefaultConfig()
	c.Address = n.address
	c.Timeout = 5 * time.Second
	if change != nil {
		change(&c)
	}
	g := dyups.New(c, quiet())
	n.t.Cleanup(func() { _ = g.Close() })
	return g
}

// holds checks, by a gateway that knows nothing, that all workers show the set.
func (n *tengine) holds(want upstream.Set) {
	n.t.Helper()
	g := n.gateway(nil)
	defer g.Close()
	g.Assume(want)
	live, err := g.Live(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	if c := upstream.Diff(live.Set, want); !c.Empty() {
		n.t.Fatalf("%d added, %d updated, %d removed: %.1000s", len(c.Added), len(c.Updated), len(c.Removed), fmt.Sprint(c))
	}
}

// settle waits until every worker has read the queue by its timer. Which of them answers
// can't be told, so many connections are tried.
func (n *tengine) settle(want upstream.Set) {
	n.t.Helper()
	g := n.gateway(nil)
	defer g.Close()
	g.Assume(want)
	inSync := 0
	eventually(n.t, "every worker has read the queue", func() bool {
		live, err := g.Live(n.t.Context())
		if inSync++; err != nil || !upstream.Diff(live.Set, want).Empty() {
			inSync = 0
		}
		return inSync == 20
	})
}

// workers lists the pids of the master's children.
func (n *tengine) workers() []int {
	n.t.Helper()
	master := n.cmd.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	if err != nil {
		n.t.Fatal(err)
	}
	var pids []int
	for f := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			n.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func TestTengineColdStartAndChanges(t *testing.T) {
	for _, o := range []tengineOptions{
		{header: true, timeout: "600s"},
		{header: true, timeout: "50ms", trylock: true},
		{timeout: "300ms"},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			n := startTengine(t, o)
			g := n.gateway(func(c *dyups.Config) {
				if d, err := time.ParseDuration(o.timeout); err == nil && d < time.Minute {
					c.ReadMsgTimeout = d
				}
			})
			want := many(3000, 10)
			began := time.Now()
			mustSync(t, g, want)
			t.Logf("3,000 upstreams in %s", time.Since(began))
			if !o.header {
				n.settle(want)
			}
			n.holds(want)
			began = time.Now()
			if c := mustSync(t, g, want); !c.Empty() {
				t.Errorf("again: %d added, %d updated", len(c.Added), len(c.Updated))
			}
			t.Logf("compared in %s", time.Since(began))

			list := slices.Collect(want.All())
			var took []time.Duration
			for i := range 100 {
				before := upstream.NewSet(list)
				list[i*7] = web(list[i*7].Name, uint16(i+1), uint16(i+2))
				after := upstream.NewSet(list)
				c := upstream.Diff(before, after)
				began := time.Now()
				if _, err := g.Apply(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("one change: p50 %s, p99 %s", took[50], took[98])
			want = upstream.NewSet(list)
			if !o.header {
				n.settle(want)
			}
			n.holds(want)

			want = upstream.NewSet(list[:10])
			mustSync(t, g, want)
			if !o.header {
				n.settle(want)
			}
			n.holds(want)
		})
	}
}

func TestTengineOptions(t *testing.T) {
	n := startTengine(t, tengineOptions{header: true, timeout: "600s"})
	g := n.gateway(nil)
	u := web("a", 1, 2, 3)
	mustSync(t, g, set(u))
	for _, change := range []func(){
		func() { u.Options.Keepalive = 40 },
		func() { u.Options.Method = "least_conn" },
		func() { u.Servers[1].Weight = 7 },
		func() { u.Servers[1].Down = true },
		func() { u.Servers[0].MaxConns = 5 },
		func() { u.Servers[2].Backup = true },
		func() { u.Servers[2].FailTimeout = time.Hour },
		func() { u = web("a", slices.Repeat([]uint16{1}, 1)...) },
	} {
		u.Servers = slices.Clone(u.Servers)
		change()
		if c := mustSync(t, g, set(u)); len(c.Updated) != 1 {
			t.Errorf("%d updates", len(c.Updated))
		}
		n.holds(set(u))
		if c := mustSync(t, g, set(u)); !c.Empty() {
			t.Errorf("again: %+v", c)
		}
	}
	big := upstream.Upstream{Name: "big"}
	for i := range uint16(1000) { // longer than nginx keeps in memory
		big.Servers = append(big.Servers, web("x", i+1).Servers[0])
	}
	mustSync(t, g, set(u, big))
	n.holds(set(u, big))
	big.Servers = big.Servers[:250] // about as long as it just keeps
	mustSync(t, g, set(u, big))
	n.holds(set(u, big))
}

func TestTengineCrash(t *testing.T) {
	n := startTengine(t, tengineOptions{header: true, timeout: "200ms"})
	g := n.gateway(func(c *dyups.Config) { c.ReadMsgTimeout = 200 * time.Millisecond })
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	n.holds(want)
	for range 3 {
		if err := syscall.Kill(n.workers()[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the crash is seen", func() bool { mustSync(t, g, want); return g.Incomplete() })
		eventually(t, "the new worker is there", func() bool { mustSync(t, g, want); return !g.Incomplete() })
		mustSync(t, g, want)
		n.holds(want)
	}
}

func TestTengineReload(t *testing.T) {
	n := startTengine(t, tengineOptions{header: true, timeout: "200ms"})
	g := n.gateway(nil)
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	writeConf(t, filepath.Join(n.dir, "upstreams.conf"), want)
	if err := os.Chmod(filepath.Join(n.dir, "upstreams.conf"), 0o644); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	for range 3 {
		old := n.workers()
		if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all workers are new", func() bool {
			now := n.workers()
			return len(now) == 4 && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(old, pid) })
		})
		if c := mustSync(t, g, want); !c.Empty() {
			t.Errorf("%+v", c)
		}
		n.holds(want)
	}
}

func TestTengineWithAHungWorker(t *testing.T) {
	n := startTengine(t, tengineOptions{header: true, timeout: "100ms"})
	g := n.gateway(func(c *dyups.Config) {
		c.ReadMsgTimeout = 100 * time.Millisecond
		c.Timeout = time.Second
	})
	mustSync(t, g, set(web("a", 1)))
	pid := n.workers()[1]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	want := many(3000, 10)
	eventually(t, "the others have it", func() bool {
		_, err := sync(t.Context(), g, want)
		if err != nil {
			t.Logf("%.300s", err)
		}
		return err == nil
	})
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has it too", func() bool {
		_, err := sync(t.Context(), g, want)
		if err != nil {
			t.Logf("%.300s", err)
		}
		if err != nil {
			return false
		}
		// The gateway may have gone on without it, and then finds it at some later look.
		other := n.gateway(nil)
		defer other.Close()
		other.Assume(want)
		live, err := other.Live(t.Context())
		return err == nil && upstream.Diff(live.Set, want).Empty()
	})
	n.holds(want)
}

// What nginx.conf has and we can't read stops no push of ours, and stays.
func TestTengineWithUpstreamsThatAreNotOurs(t *testing.T) {
	n := startTengine(t, tengineOptions{header: true, http: `
	upstream ext { zone ext 64k; server localhost:7003 resolve; }
	upstream "a b" { server 127.0.0.1:81; }
	upstream "" { server 127.0.0.1:82; }
	upstream "q\"x
y" { server 127.0.0.1:83; }
	upstream Tw { server 127.0.0.1:85; }
	upstream tw { server 127.0.0.1:86; }
	upstream un { server unix:/run/x.sock; server localhost:87 backup; }
`})
	g := n.gateway(nil)
	want := set(web("a", 1), web("b", 2))
	ours := func() upstream.Changes {
		live, err := g.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return upstream.Diff(live.Set, want).RemoveOnly(func(upstream.Upstream) bool { return false })
	}
	if _, err := g.Apply(t.Context(), ours()); err != nil {
		t.Fatal(err)
	}
	if left := ours(); !left.Empty() {
		t.Errorf("out of sync: %+v", left)
	}
	_, err := g.Apply(t.Context(), upstream.Changes{Want: set(web("tw", 3)), Added: []upstream.Upstream{web("tw", 3)}})
	if err == nil || !strings.Contains(err.Error(), "upstreams Tw and tw") {
		t.Errorf("a post that would replace one of nginx.conf: %v", err)
	}
}
