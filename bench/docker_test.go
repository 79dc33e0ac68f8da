//go:build linux

package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"swallowkeeper/dyups/lua"
	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/internal/nginxtest"
)

// dockerGoal is what an event of the engine may take longer to the first request than a put in etcd, at the median.
const dockerGoal = 25 * time.Millisecond

// BenchmarkDocker measures how long the event "start" of a real engine takes to the first request at that container, by dyups, and
// the event "unpause", of which Docker tells before its list shows it. Beside them, in turn and through the same nginx, a put in a
// real etcd to the first request.
func BenchmarkDocker(b *testing.B) {
	if !nginxtest.Exists(nginxtest.Lua) {
		b.Skip("no nginx with Lua is installed here")
	}
	w := newDockerWorld(b)
	var put, unpaused, started []float64
	for b.Loop() {
		for i, id := range w.put {
			time.Sleep(between)
			began := time.Now()
			w.puts(b, i)
			put = append(put, w.first(b, "/put", id).Sub(began).Seconds()*1000)
		}
		for _, act := range []struct {
			out, in string
			took    *[]float64
		}{{"pause", "unpause", &unpaused}, {"kill", "start", &started}} {
			w.docker.Docker(act.out, w.comes)
			w.out(b)
			time.Sleep(between)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = w.docker.Try(act.in, w.comes)
			}()
			began := w.event(b, act.in)
			*act.took = append(*act.took, w.first(b, "/web", w.comes).Sub(began).Seconds()*1000)
			<-done
		}
	}
	over := Percentile(started, 50) - Percentile(put, 50)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(Percentile(put, 50), "put-p50-ms")
	b.ReportMetric(Percentile(unpaused, 50), "unpause-p50-ms")
	b.ReportMetric(Percentile(started, 50), "start-p50-ms")
	b.ReportMetric(over, "over-p50-ms")
	if over > ms(dockerGoal) {
		b.Logf("an event takes %.0f ms longer than a put, the goal is %s", over, dockerGoal)
	}
}

// dockerWorld is an engine, an etcd, an nginx that takes servers by dyups, and the program, all in the engine's network.
type dockerWorld struct {
	docker *dockerdtest.Daemon
	etcd   *clientv3.Client
	client *http.Client
	events *bufio.Scanner
	put    []string // the containers that are put in turn
	values []string // of their keys
	comes  string   // the one that comes and goes
}

const (
	dockerSite  = "127.0.0.1:8080"
	dockerEtcd  = "http://127.0.0.1:2379"
	dockerPeer  = "http://127.0.0.1:2380"
	dockerUntil = 30 * time.Second
)

func newDockerWorld(b *testing.B) *dockerWorld {
	b.Helper()
	binary, etcd, dir := build(b), etcdtestserver.Binary(b), b.TempDir()
	w := &dockerWorld{docker: dockerdtest.Start(b)}
	transport := &http.Transport{DialContext: w.docker.Dial}
	b.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: time.Second} // one that is being paused answers nothing
	w.begins(b, w.docker.Command(etcd, "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", dockerEtcd, "--advertise-client-urls", dockerEtcd,
		"--listen-peer-urls", dockerPeer, "--initial-advertise-peer-urls", dockerPeer, "--initial-cluster", "default="+dockerPeer, "--log-level", "error", "--logger", "zap"))
	var err error
	w.etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{dockerEtcd}, DialOptions: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return w.docker.Dial(ctx, "tcp", address)
		}),
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.etcd.Close() })
	for range 2 {
		id := w.runs()[:12]
		w.put = append(w.put, id)
		w.values = append(w.values, fmt.Sprintf(`{"address":"%s:8080"}`, w.docker.Docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", id)))
	}
	w.runs("--label", "swallowkeeper.name=web")
	w.comes = w.runs("--label", "swallowkeeper.name=web")[:12]

	c := lua.DefaultConfig()
	c.Dir, c.Listen, c.Upstreams = filepath.Join(dir, "dyups"), "unix:"+filepath.Join(dir, "api"), filepath.Join(dir, "upstreams.conf")
	if _, err := lua.Install(c, false); err != nil {
		b.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		text = strings.NewReplacer("DIR", dir, "SITE", dockerSite, "ETCD", dockerEtcd, "HOST", w.docker.Host(),
			"MODULES", filepath.Dir(nginxtest.Lua), "WORKERS", fmt.Sprint(workers)).Replace(text)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	w.begins(b, w.docker.Command(nginxtest.Nginx, "-c", write("nginx.conf", `
user root;
load_module MODULES/ndk_http_module.so;
load_module MODULES/ngx_http_lua_module.so;
daemon off;
worker_processes WORKERS;
pid DIR/nginx.pid;
error_log DIR/error.log;
events {}
http {
	access_log off;
	keepalive_requests 1000000;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	include DIR/dyups/dyups.conf;
	server {
		listen SITE;
		location /put { set $dyups_upstream put; include DIR/dyups/proxy.conf; }
		location /web { set $dyups_upstream web; include DIR/dyups/proxy.conf; }
	}
}`)))
	w.begins(b, w.docker.Command(binary, "--log-level", "error", "--config", write("swallowkeeper.toml", `
[[registry]]
type = "docker"
host = "HOST"

[[registry]]
type    = "etcd"
address = ["ETCD"]

[guard]
damping = false

[persist]
path = "DIR/upstreams.conf"

[[gateway]]
type       = "dyups"
address    = "unix:DIR/api"
nginx_conf = ""

[status]
address = ""
socket  = "DIR/status"
`)))
	w.puts(b, 1)
	w.first(b, "/put", w.put[1])
	w.first(b, "/web", w.comes)
	w.hears(b)
	return w
}

// begins starts a program until the benchmark ends. A death signal would come too early: threads that have dialled in the
// engine's network end.
func (w *dockerWorld) begins(b *testing.B, c *exec.Cmd) {
	b.Helper()
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	})
}

func (w *dockerWorld) runs(args ...string) string {
	return w.docker.Docker(append(append([]string{"run", "--detach"}, args...), dockerdtest.App)...)
}

// puts registers a container in etcd.
func (w *dockerWorld) puts(b *testing.B, i int) {
	b.Helper()
	if _, err := w.etcd.Put(b.Context(), "/swallowkeeper/services/put/one", w.values[i]); err != nil {
		b.Fatal(err)
	}
}

// hears opens a stream of the engine's events.
func (w *dockerWorld) hears(b *testing.B) {
	b.Helper()
	c := w.docker.Command("docker", "--host", w.docker.Host(), "events", "--filter", "container="+w.comes, "--format", "{{.Action}}")
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	w.events = bufio.NewScanner(out)
	w.begins(b, c)
}

// event is when an event came.
func (w *dockerWorld) event(b *testing.B, action string) time.Time {
	b.Helper()
	for w.events.Scan() {
		if w.events.Text() == action {
			return time.Now()
		}
	}
	b.Fatalf("no event %s: %v", action, w.events.Err())
	return time.Time{}
}

// first asks until a container answers, and returns when it did.
func (w *dockerWorld) first(b *testing.B, path, id string) time.Time {
	b.Helper()
	for end := time.Now().Add(dockerUntil); time.Now().Before(end); {
		if w.asks(b, path) == id {
			return time.Now()
		}
	}
	b.Fatalf("%s does not answer", id)
	return time.Time{}
}

// out waits until the one that comes and goes has not answered for a while.
func (w *dockerWorld) out(b *testing.B) {
	b.Helper()
	end := time.Now().Add(dockerUntil)
	for in := 0; in < 20; in++ {
		if w.asks(b, "/web") == w.comes {
			in = 0
		}
		if time.Now().After(end) {
			b.Fatal("it does not go")
		}
	}
}

func (w *dockerWorld) asks(b *testing.B, path string) string {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+dockerSite+path, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(text))
}
