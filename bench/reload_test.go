package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// reloadGoal is what a change by reload may take longer than its floor, at the median.
const reloadGoal = 40 * time.Millisecond

// BenchmarkReload measures a change of one upstream on an nginx that is reloaded, until every worker has shown it. Its floor
// is nginx -t and a HUP to the moment of the last old answer, on the same nginx and in turn with it.
func BenchmarkReload(b *testing.B) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		b.Skip("no nginx is installed here")
	}
	for _, size := range []struct {
		name     string
		services int
		routes   bool
	}{{"10", 10, false}, {"1000", 1000, false}, {"1000-routes", 1000, true}, {"5000-routes", 5000, true}} {
		b.Run(size.name, func(b *testing.B) { measureReload(b, size.services, size.routes) })
	}
}

func measureReload(b *testing.B, services int, routes bool) {
	w := newReloadWorld(b, services, routes)
	log := logrus.New()
	log.SetOutput(io.Discard)
	c := nginx.DefaultConfig()
	c.Dir, c.PID, c.MinInterval = w.dir+"/generations", w.dir+"/pid", 0
	c.Check = w.check
	c.Verify = "http://" + w.addr + "/.swallowkeeper/generation"
	g := nginx.New(c, log)
	defer g.Close()
	before := w.set(0)
	if _, err := g.Apply(b.Context(), upstream.Diff(upstream.Set{}, before)); err != nil {
		b.Fatal(err)
	}
	var floor, ours, written []float64
	for i := range max(b.N, 1) {
		began := time.Now()
		w.reload(b, i+1)
		floor = append(floor, ms(w.lastOld(b, began, fmt.Sprint(i+1))))
		want := w.set(i + 1)
		changes := upstream.Diff(before, want)
		w.settle(b)
		began = time.Now()
		if _, err := g.Apply(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, ms(time.Since(began)))
		before = want
		written = append(written, float64(w.written(b)))
		w.settle(b)
	}
	over := Percentile(ours, 50) - Percentile(floor, 50)
	b.ReportMetric(Percentile(floor, 50), "floor-p50-ms")
	b.ReportMetric(Percentile(ours, 50), "ours-p50-ms")
	b.ReportMetric(over, "over-p50-ms")
	b.ReportMetric(Percentile(written, 100), "files-written")
	if over > ms(reloadGoal) {
		b.Logf("at %d services it takes %.0f ms longer than its floor, the goal is %s", services, over, reloadGoal)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// reloadWorld is an nginx with two workers. What the floor changes is a file of its own.
type reloadWorld struct {
	dir, addr string
	services  int
	routes    bool // each service has one
	master    int
	check     []string
}

func newReloadWorld(b *testing.B, services int, routes bool) *reloadWorld {
	b.Helper()
	w := &reloadWorld{dir: b.TempDir(), addr: nginxtest.Free(b), services: services, routes: routes}
	w.write(b, 0)
	w.master = nginxtest.StartMaster(b, nginxtest.Nginx, w.dir, "user root; worker_processes 2;", fmt.Sprintf(
		"include %s/generations/current/*.upstream.conf;\nserver { listen %s;\ninclude %s/floor.conf;\ninclude %s/generations/current/*.location.conf;\n}\n",
		w.dir, w.addr, w.dir, w.dir), w.addr)
	w.check = []string{nginxtest.Nginx, "-t", "-p", w.dir, "-c", filepath.Join(w.dir, "nginx.conf"), "-e", os.DevNull}
	return w
}

func (w *reloadWorld) write(b *testing.B, n int) {
	b.Helper()
	text := fmt.Sprintf("location = /floor { return 200 \"%d\"; }\n", n)
	if err := os.WriteFile(w.dir+"/floor.conf", []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// reload is the shortest way to reload an nginx that takes it.
func (w *reloadWorld) reload(b *testing.B, n int) {
	b.Helper()
	w.write(b, n)
	if out, err := exec.Command(w.check[0], w.check[1:]...).CombinedOutput(); err != nil { //nolint:gosec // the test's
		b.Fatalf("%v: %s", err, out)
	}
	if err := syscall.Kill(w.master, syscall.SIGHUP); err != nil {
		b.Fatal(err)
	}
}

// lastOld is how long after a moment the last old answer came.
func (w *reloadWorld) lastOld(b *testing.B, began time.Time, want string) time.Duration {
	b.Helper()
	const quiet = 300 * time.Millisecond
	last := time.Now()
	for fresh := false; !fresh || time.Since(last) < quiet; {
		time.Sleep(3 * time.Millisecond) // as ours: the processor is nginx's
		if got := w.get(b, "/floor"); got != want {
			last, fresh = time.Now(), false
		} else {
			fresh = true
		}
	}
	return last.Sub(began)
}

// written is how many files of the generation that nginx includes the one before does not have, too.
func (w *reloadWorld) written(b *testing.B) (n int) {
	b.Helper()
	entries, err := os.ReadDir(w.dir + "/generations/current")
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			b.Fatal(err)
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink == 1 {
			n++
		}
	}
	return n
}

// settle waits until the old workers have ended.
func (w *reloadWorld) settle(b *testing.B) {
	b.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		out, err := exec.Command("pgrep", "-c", "-P", fmt.Sprint(w.master)).Output() //nolint:gosec // the test's
		if err == nil && strings.TrimSpace(string(out)) == "2" {
			return
		}
	}
	b.Fatal("the old workers go on")
}

func (w *reloadWorld) get(b *testing.B, path string) string {
	b.Helper()
	conn, err := new(net.Dialer).DialContext(context.WithoutCancel(b.Context()), "tcp", w.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.0\r\n\r\n"); err != nil {
		return ""
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return ""
	}
	_, body, _ := strings.Cut(string(text), "\r\n\r\n")
	return body
}

// set is so many services of ten servers, of which the first has changed n times.
func (w *reloadWorld) set(n int) upstream.Set {
	var list []upstream.Upstream
	for i := range w.services {
		u := upstream.Upstream{Name: fmt.Sprintf("service-%d", i)}
		for j := range 10 {
			s := upstream.DefaultTemplate().Server()
			port := 1000 + j
			if i == 0 {
				port += 10 * n
			}
			s.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(1 + i&0x7f)}), uint16(port)) //nolint:gosec // small
			u.Servers = append(u.Servers, s)
		}
		if w.routes {
			u.Routes = []route.Route{{Path: fmt.Sprintf("/service-%d/{rest...}", i)}}
		}
		if err := nginxconf.Valid(u); err != nil {
			panic(err)
		}
		list = append(list, u)
	}
	return upstream.NewSet(list)
}
