package monitoring_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/registry/consul/consultest"
)

// hostile is what somebody may register: a second line, colours, markup, a forged field.
const hostile = "a\" level=error msg=\"forged\nlevel=fatal \x1b[31m\u009b31m\u202e\u2028<script>"

// folder is where the program is built.
var folder = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "swallowkeeper-monitoring-") })

// program is swallowkeeper, built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := folder()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "swallowkeeper")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "../../cmd/swallowkeeper")
	if out, err := build.CombinedOutput(); err != nil {
		return binary, fmt.Errorf("build swallowkeeper: %w: %s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := folder(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// tour has a daemon live through a first decision, a service with a hostile name, a change and
// a hold, and returns its metrics and its log.
func tour(t *testing.T, format string) (metrics, log string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	consul := consultest.New(consultest.Options{})
	web := httptest.NewUnstartedServer(consul)
	web.Listener = consul.Listener(web.Listener)
	web.Start()
	defer func() { consul.Close(); web.Close() }()
	nginx, err := dyupstest.New(dyupstest.Options{Workers: 2, WorkerHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nginx.Close()

	dir, err := os.MkdirTemp("", "sk") //nolint:usetesting // a socket's path may not be long
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	toml := filepath.Join(dir, "c.toml")
	conf := fmt.Sprintf(`[log]
format = %q
level = "debug"
[[registry]]
name = "dc"
address = %q
[guard]
witness = "off" # what is registered here is not there
[persist]
path = %q
[status]
address = ""
socket = %q
[[gateway]]
name = "edge"
address = %q
`, format, web.URL, filepath.Join(dir, "u.conf"), filepath.Join(dir, "s"), nginx.API())
	if err := os.WriteFile(toml, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{1, 2, 3, 4} {
		register(t, consul, "web", port)
	}
	register(t, consul, hostile, 9)

	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "--config", toml)
	cmd.Stderr = &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v: %s", err, said.String())
			}
		}
	}
	defer end()

	scrape := scraper(t, filepath.Join(dir, "s"))
	shows := func(text string) string { return until(t, text, scrape) }
	shows("swallowkeeper_in_step 1\n")
	shows(`swallowkeeper_change_on_all_workers_seconds_count{gateway="edge"} 1`)
	register(t, consul, "web", 5)
	shows(`swallowkeeper_change_on_all_workers_seconds_count{gateway="edge"} 2`)
	for _, port := range []int{1, 2, 3, 4} {
		if err := consul.Deregister(api.CatalogDeregistration{Node: "n", ServiceID: fmt.Sprint("web", port)}); err != nil {
			t.Fatal(err)
		}
	}
	metrics = shows(`swallowkeeper_holds{rule="max_removal"} 1`)
	end()
	return metrics, said.String()
}

func register(t *testing.T, consul *consultest.Server, service string, port int) {
	t.Helper()
	err := consul.Register(api.CatalogRegistration{
		Node: "n", Address: "10.0.0.1",
		Service: &api.AgentService{ID: fmt.Sprint(service, port), Service: service, Port: port},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func scraper(t *testing.T, socket string) func() string {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	return func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return "" // it is not there yet
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("the metrics: %s, %v", resp.Status, err)
		}
		return string(body)
	}
}

func until(t *testing.T, text string, scrape func() string) string {
	t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got := scrape()
		if strings.Contains(got, text) {
			return got
		}
		select {
		case <-late.C:
			t.Fatalf("%q does not appear in\n%s", text, got)
		case <-tick.C:
		}
	}
}
