//go:build linux

package walktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

// yard is an engine, an nginx in the engine's network, and the program beside it.
type yard struct {
	t       *testing.T
	docker  *dockerdtest.Daemon
	dir     string
	program string
	client  *http.Client
}

// process is a program that was started.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

func newYard(t *testing.T) *yard {
	t.Helper()
	if !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx here: scripts/setup-tests.sh installs it on Debian")
	}
	y := &yard{t: t, docker: dockerdtest.Start(t)}
	dir, err := os.MkdirTemp("", "walk") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	y.dir, y.program = dir, filepath.Join(dir, "swallowkeeper")
	transport := &http.Transport{DialContext: y.docker.Dial, MaxIdleConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	y.client = &http.Client{Transport: transport, Timeout: patience}

	build(t, y.program)
	y.proxies("nginx", "", site, "")
	return y
}

// build builds the program.
func build(t *testing.T, to string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", to, "swallowkeeper/cmd/swallowkeeper")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
}

// proxies starts an nginx that includes what is rendered for it. One client may ask on one connection for as long as it likes.
func (y *yard) proxies(name, modules, site, more string) {
	y.t.Helper()
	y.write(name+".conf", strings.ReplaceAll(modules+`
daemon off;
worker_processes 2;
worker_shutdown_timeout 10s;
pid DIR/NAME.pid;
error_log DIR/NAME.log;
events {}
http {
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    `+more+`
    include DIR/NAME/current/*.upstream.conf;
    server {
        listen `+site+`;
        include DIR/NAME/current/*.location.conf;
    }
}`, "NAME", name))
	y.runs(nginxtest.Nginx, "-c", filepath.Join(y.dir, name+".conf"))
	y.t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(y.dir, name+".log")); err == nil && y.t.Failed() {
			y.t.Logf("the log of %s ends with:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
}

// takesDyups starts a second nginx, which gets servers by the dyups API in Lua, and returns the gateways for it.
func (y *yard) takesDyups() string {
	y.t.Helper()
	if !nginxtest.Exists(nginxtest.Lua) {
		suite.Absent(y.t, "no module for Lua here: scripts/setup-tests.sh installs it on Debian")
	}
	api := "unix:" + filepath.Join(y.dir, "dyups.sock")
	if err := y.is("nginx", "install-lua", "--dir", filepath.Join(y.dir, "dyups"), "--listen", api, "--upstreams", filepath.Join(y.dir, "upstreams.conf")); err != nil {
		y.t.Fatal(err)
	}
	y.proxies("second", "load_module "+filepath.Dir(nginxtest.Lua)+"/ndk_http_module.so; load_module "+nginxtest.Lua+";", dyupsSite, "include DIR/dyups/dyups.conf;")
	return `
[[gateway]]
type    = "dyups"
address = "` + api + `"
nginx_conf = "DIR/second.conf"
` + gateway("second", dyupsSite, `servers = "dyups"`)
}

func gateway(name, site, more string) string {
	return strings.ReplaceAll(`
[[gateway]]
type         = "nginx"
dir          = "DIR/NAME"
pid          = "DIR/NAME.pid"
check        = ["`+nginxtest.Nginx+`", "-t", "-q", "-c", "DIR/NAME.conf"]
verify       = "http://`+site+`/.swallowkeeper/generation"
min_interval = "100ms"
`, "NAME", name) + more + "\n"
}

// configuration is a daemon's with one registry.
func configuration(registry string) string {
	return "[[registry]]" + registry + `
[guard]
damping  = false           # one container is stopped and started again many times
window   = "1m"
recovery = "30s"

[persist]
path = "DIR/upstreams.conf"

[status]
address = ""
socket  = "DIR/status.sock"
` + gateway("nginx", site, "")
}

func (y *yard) write(name, text string) {
	y.t.Helper()
	text = strings.ReplaceAll(text, "DIR", y.dir)
	if err := os.WriteFile(filepath.Join(y.dir, name), []byte(text), 0o600); err != nil {
		y.t.Fatal(err)
	}
}

// runs starts a program in the engine's network until the test ends.
func (y *yard) runs(name string, args ...string) process {
	y.t.Helper()
	c := y.docker.Command(name, args...)
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		y.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait()
	}()
	y.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-ended
		if y.t.Failed() {
			y.t.Logf("%s said:\n%s", filepath.Base(name), log.Bytes()[max(0, log.Len()-4000):])
		}
	})
	return process{c, ended}
}

// keeps starts the daemon, and registers an agent.
func (y *yard) keeps() process {
	y.t.Helper()
	return y.runs(y.program, "--config", filepath.Join(y.dir, "swallowkeeper.toml"))
}

func (y *yard) registers() process {
	y.t.Helper()
	return y.runs(y.program, "agent", "--config", filepath.Join(y.dir, "agent.toml"))
}

func (p process) kill(t *testing.T) {
	t.Helper()
	if err := p.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// says is what a command of the daemon's prints.
func (y *yard) says(args ...string) string {
	y.t.Helper()
	c := exec.CommandContext(y.t.Context(), y.program, append(args, "--socket", filepath.Join(y.dir, "status.sock"))...)
	out, err := c.CombinedOutput()
	if err != nil {
		y.t.Errorf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// is an error where a command does not end well.
func (y *yard) is(args ...string) error {
	out, err := exec.CommandContext(y.t.Context(), y.program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w\n%s", args, err, out)
	}
	return nil
}

func (y *yard) inSync() {
	y.t.Helper()
	dockerdtest.Eventually(y.t, patience, func() error { return y.is("status", "--socket", filepath.Join(y.dir, "status.sock")) })
}

func (y *yard) file() string {
	y.t.Helper()
	text, err := os.ReadFile(filepath.Join(y.dir, "upstreams.conf"))
	if err != nil {
		y.t.Fatal(err)
	}
	_, blocks, _ := strings.Cut(string(text), "\n\n") // the notes on top have times
	return blocks
}

// starts has a container of a service begin, and returns its short ID, which is what it answers.
func (y *yard) starts(service string) string {
	y.t.Helper()
	id := y.docker.Docker("run", "--detach", "--label", "swallowkeeper.name="+service,
		"--label", "swallowkeeper.route=/"+service+"/*", dockerdtest.App)
	return id[:12]
}

// get returns who answers.
func get(ctx context.Context, client *http.Client, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return strings.TrimSpace(string(text)), err
}

// serve waits until, at each site, ten answers in a row come from these alone, and from each.
func (y *yard) serve(sites []string, path string, ids ...string) {
	y.t.Helper()
	for _, site := range sites {
		dockerdtest.Eventually(y.t, patience, func() error {
			seen := map[string]int{}
			for range 10 {
				who, err := get(y.t.Context(), y.client, "http://"+site+path)
				if err != nil {
					return err
				}
				seen[who]++
			}
			for _, id := range ids {
				if seen[id] == 0 || len(seen) != len(ids) {
					return fmt.Errorf("%s of %s is served by %v, want %v", path, site, seen, ids)
				}
			}
			return nil
		})
	}
}

func (y *yard) serves(path string, ids ...string) {
	y.t.Helper()
	y.serve([]string{site}, path, ids...)
}

func (y *yard) bothServe(one, two string) {
	y.t.Helper()
	y.serves("/web/", one, two)
}

// load is clients that ask again and again, each on a connection that it keeps.
type load struct {
	site            string
	stop            context.CancelFunc
	running         sync.WaitGroup
	answered, ended atomic.Int64
	mu              sync.Mutex
	failed          []error
}

// pause is what each client leaves between two requests: the machine is to have something left for the engine.
const pause = 10 * time.Millisecond

func (y *yard) load(site string) *load {
	ctx, stop := context.WithCancel(y.t.Context())
	l := &load{site: site, stop: stop}
	for range clients {
		l.running.Go(func() {
			// Else a connection is made where the last answer's is not back yet.
			transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := y.docker.Dial(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &connection{Conn: c, ended: &l.ended}, nil
			}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: announced{transport, &l.ended}, Timeout: patience}
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for ctx.Err() == nil {
				_, err := get(ctx, client, "http://"+site+"/web/")
				switch {
				case err == nil:
					l.answered.Add(1)
				case !errors.Is(err, context.Canceled):
					l.mu.Lock()
					l.failed = append(l.failed, err)
					l.mu.Unlock()
				}
				<-tick.C
			}
		})
	}
	return l
}

// connection counts where the server ends it. The client ends one by itself where its own writing takes 50 ms to be noticed, as on
// a busy machine (maxWriteWaitBeforeConnReuse of net/http): so nothing follows from a connection that is made anew.
type connection struct {
	net.Conn
	ours  atomic.Bool
	ended *atomic.Int64
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !c.ours.Load() {
		c.ended.Add(1)
	}
	return n, err
}

func (c *connection) Close() error {
	c.ours.Store(true)
	return c.Conn.Close()
}

// announced counts answers that end their connection.
type announced struct {
	http.RoundTripper
	ended *atomic.Int64
}

func (a announced) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.RoundTripper.RoundTrip(r)
	if err == nil && resp.Close {
		a.ended.Add(1)
	}
	return resp, err
}

// ends stops it, and returns how many connections nginx has ended. Not one request may have failed: what a reload cut before it
// was answered the client sent again.
func (l *load) ends(t *testing.T) (ended int64) {
	t.Helper()
	l.stop()
	l.running.Wait()
	ended = l.ended.Load()
	t.Logf("%s: %d requests were answered, %d failed, nginx ended %d connections", l.site, l.answered.Load(), len(l.failed), ended)
	if l.answered.Load() < 1000 {
		t.Errorf("only %d requests were answered", l.answered.Load())
	}
	for i, err := range l.failed {
		if i < 10 {
			t.Errorf("a request failed: %v", err)
		}
	}
	return ended
}
