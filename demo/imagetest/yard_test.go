package imagetest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// images are what a yard runs.
type images struct{ gateway, consul string }

// yard is a network with containers of one test in it.
type yard struct {
	*engine
	images
	t    *testing.T
	name string // of the network, and what its containers' names begin with
}

func newYard(t *testing.T, e *engine, i images) *yard {
	t.Helper()
	parts := strings.Split(t.Name(), "/")
	y := &yard{engine: e, images: i, t: t, name: fmt.Sprintf("swallowkeeper-%d-%s", os.Getpid(), parts[len(parts)-1])}
	e.docker(t, "network", "create", y.name)
	e.later(t, "network", "rm", y.name)
	return y
}

// run starts a container that the others know by its name.
func (y *yard) run(name, image string, options []string, command ...string) {
	y.t.Helper()
	args := []string{"run", "--detach", "--name", y.of(name), "--network", y.name, "--network-alias", name}
	y.docker(y.t, append(append(append(args, options...), image), command...)...)
	y.t.Cleanup(func() {
		ctx := context.WithoutCancel(y.t.Context())
		if y.t.Failed() {
			log := access.ReplaceAllString(y.log(name), "") // they would hide all else
			y.t.Logf("log of %s:\n%s", name, log[max(0, len(log)-8000):])
		}
		_, _ = y.try(ctx, limit, "rm", "--force", "--volumes", y.of(name)) // it may be gone
	})
}

// access finds the lines of nginx's access log.
var access = regexp.MustCompile(`(?m)^.* "GET .* HTTP/1\.1" \d+ .*\n`)

func (y *yard) of(name string) string { return y.name + "-" + name }

// runConsul starts a Consul that knows nothing yet.
func (y *yard) runConsul() {
	y.t.Helper()
	y.run("consul", y.consul, []string{"--publish", "127.0.0.1::8500"},
		"agent", "-dev", "-client", "0.0.0.0", "-bind", "{{ GetPrivateIP }}", "-log-level", "warn")
	y.eventually("Consul has a leader", func() bool {
		status, body := y.get(y.url("consul", "8500")+"/v1/status/leader", "")
		return status == http.StatusOK && len(body) > len(`""`)
	})
}

// runGateway starts the image as docs/docker.md does, with nothing but what it needs.
func (y *yard) runGateway(options ...string) {
	y.t.Helper()
	y.run("gateway", y.gateway, append([]string{
		"--env", "CONSUL_HTTP_ADDR=consul:8500", "--env", "GATEWAY_HOSTS=*", "--publish", "127.0.0.1::80", "--publish", "127.0.0.1::8081",
		"--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
	}, options...))
}

// server answers with its name; /slow takes a while, and /waiting says how many of those are under way.
const server = `
import sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
waiting, lock = 0, threading.Lock()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global waiting
        text = "hello from " + sys.argv[1]
        if self.path == "/waiting":
            text = str(waiting)
        elif self.path == "/slow":
            with lock: waiting += 1
            time.sleep(4)
            with lock: waiting -= 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_): pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
Server(("", 8000), Handler).serve_forever()
`

// runServer starts a server that is no service yet, and returns its address.
func (y *yard) runServer(name string) (ip string) {
	y.t.Helper()
	y.run(name, y.gateway, []string{"--no-healthcheck"}, "python3", "-c", server, name)
	return y.docker(y.t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", y.of(name))
}

// register is the one request of the walk.
func (y *yard) register(service, id, ip string) {
	y.t.Helper()
	y.put("/v1/agent/service/register", fmt.Sprintf(
		`{"ID":%q,"Name":%q,"Tags":["slave"],"Address":%q,"Port":8000,"Check":{"HTTP":"http://%s:8000/","Interval":"1s"}}`,
		id, service, ip, ip))
}

func (y *yard) put(path, body string) {
	y.t.Helper()
	request, err := http.NewRequestWithContext(y.t.Context(), http.MethodPut, y.url("consul", "8500")+path, strings.NewReader(body))
	if err != nil {
		y.t.Fatal(err)
	}
	if status, text := y.do(request); status != http.StatusOK {
		y.t.Fatalf("put %s: %d %s", path, status, text)
	}
}

// url is where a container's port is on this machine, which changes when the container starts again.
func (y *yard) url(name, port string) string {
	y.t.Helper()
	return "http://" + y.docker(y.t, "port", y.of(name), port+"/tcp")
}

// get asks, by a host name of its own where there is one. Status 0 is no answer.
func (y *yard) get(url, host string) (status int, body string) {
	y.t.Helper()
	request, err := http.NewRequestWithContext(y.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	request.Host = host
	return y.do(request)
}

func (y *yard) do(request *http.Request) (status int, body string) {
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// eventually waits for what a test waits for in its yard.
func (y *yard) eventually(what string, holds func() bool) {
	y.t.Helper()
	eventually(y.t, limit, says(what), holds)
}

// shows waits until nginx has an upstream with exactly these servers, or none at all.
func (y *yard) shows(service string, ips ...string) {
	y.t.Helper()
	url, want, got := y.url("gateway", "8081")+"/detail", http.StatusNoContent, ""
	if len(ips) > 0 {
		want = http.StatusOK
	}
	eventually(y.t, limit, func() string { return fmt.Sprintf("%s has %q, /detail is %q", service, ips, got) }, func() bool {
		status, body := y.get(url, "")
		got = fmt.Sprint(status, " ", body)
		if status != want || len(ips) > 0 && !strings.HasPrefix(body, service+"\n") || strings.Count(body, "server ") != len(ips) {
			return false
		}
		for _, ip := range ips {
			if !strings.Contains(body, "server "+ip+":8000 weight=1 max_conns=0 max_fails=3 fail_timeout=2 backup=0 down=0\n") {
				return false
			}
		}
		return true
	})
}

// answers calls a service through port 80 by its name.
func (y *yard) answers(service, want string) {
	y.t.Helper()
	if status, body := y.get(y.url("gateway", "80"), service); status != http.StatusOK || body != want {
		y.t.Errorf("%s answers %d %q, want %q", service, status, body, want)
	}
}

// health is docker's word: starting, healthy or unhealthy.
func (y *yard) health() string {
	y.t.Helper()
	return y.docker(y.t, "inspect", "--format", "{{.State.Health.Status}}", y.of("gateway"))
}

// log is what a container wrote, on both outputs.
func (y *yard) log(name string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(y.t.Context()), limit)
	defer cancel()
	out, err := y.command(ctx, "docker", "logs", y.of(name)).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// says waits until the gateway's log has a text so many times.
func (y *yard) says(text string, times int) {
	y.t.Helper()
	y.eventually(fmt.Sprintf("the log has %d times %q", times, text), func() bool {
		return strings.Count(y.log("gateway"), text) >= times
	})
}

// status is what the command says in the container, whatever its exit code.
func (y *yard) status() string {
	out, err := y.try(y.t.Context(), limit, "exec", y.of("gateway"), "swallowkeeper", "status")
	return fmt.Sprint(out, err)
}

// pid is swallowkeeper's in its container.
func (y *yard) pid() string {
	y.t.Helper()
	return y.docker(y.t, "exec", y.of("gateway"), "cat", "/var/lib/swallowkeeper/.dyups.upstream.conf.lock")
}

// traffic sends requests to a service and counts, until it is told to end.
type traffic struct {
	good, bad atomic.Int64
	cancel    context.CancelFunc
	done      chan struct{}
}

func (y *yard) traffic(service string) *traffic {
	y.t.Helper()
	url := y.url("gateway", "80")
	ctx, cancel := context.WithCancel(y.t.Context())
	tr := &traffic{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(tr.done)
		for ctx.Err() == nil {
			if status, body := y.get(url, service); status == http.StatusOK {
				tr.good.Add(1)
			} else if ctx.Err() == nil {
				tr.bad.Add(1)
				y.t.Logf("%s: %d %s", service, status, body)
			}
		}
	}()
	y.t.Cleanup(tr.stop)
	return tr
}

func (tr *traffic) stop() {
	tr.cancel()
	<-tr.done
}

// faultless ends the traffic, none of which may have failed.
func (tr *traffic) faultless(y *yard) {
	y.t.Helper()
	tr.stop()
	if n := tr.bad.Load(); n != 0 {
		y.t.Errorf("%d of %d requests failed", n, n+tr.good.Load())
	}
}

// more waits until so many further requests were answered.
func (tr *traffic) more(y *yard, n int64) {
	y.t.Helper()
	from := tr.good.Load()
	y.eventually(fmt.Sprintf("%d more good requests", n), func() bool { return tr.good.Load() >= from+n })
}
