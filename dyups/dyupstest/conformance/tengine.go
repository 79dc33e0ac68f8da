package conformance

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/suite"
)

// BinaryEnv names the environment variable with the path of a real Tengine.
const BinaryEnv = "TENGINE_BIN"

// Tengine starts the real thing on loopback with four workers, or skips where none is
// named. Its resolver is a port where nobody answers, so no look-up leaves the machine.
func Tengine(t *testing.T, c Config) Target {
	t.Helper()
	binary := os.Getenv(BinaryEnv)
	if binary == "" {
		suite.Absent(t, "no "+BinaryEnv+" in the environment: the real Tengine is not tried")
	}
	const workers = 4
	dir := t.TempDir()
	free := loopback.Free(t, 2)
	api, proxy := free[0], free[1]
	write(t, filepath.Join(dir, "upstreams.conf"), c.Conf)
	write(t, filepath.Join(dir, "nginx.conf"), tengineConf(dir, api, proxy, workers, c))
	cmd := exec.CommandContext(t.Context(), binary, "-p", dir, "-c", "nginx.conf", "-e", "error.log")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = limit
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Tengine: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		if log, err := os.ReadFile(filepath.Join(dir, "error.log")); err == nil && t.Failed() {
			t.Logf("error log, its end:\n%s", log[max(0, len(log)-4000):])
		}
	})
	g := Target{API: "http://" + api, Proxy: "http://" + proxy, Workers: workers, Fragile: true}
	eventually(t, "Tengine listens", func() bool {
		k, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", api)
		return err == nil && k.Close() == nil
	})
	// A worker that comes up when another has sent a change already takes itself for the
	// successor of a crashed one.
	g.workers(t)
	g.Kill = func(t *testing.T, pid string) {
		t.Helper()
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 1 {
			t.Fatalf("no pid: %q", pid)
		}
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
			t.Fatalf("kill the worker: %v", err)
		}
	}
	g.Reload = func(t *testing.T, conf string) {
		t.Helper()
		before := g.workers(t)
		write(t, filepath.Join(dir, "upstreams.conf"), conf)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatalf("reload: %v", err)
		}
		eventually(t, "the old workers are gone", func() bool {
			for _, c := range before {
				if _, err := c.try("GET", bare("GET", "/list", "x")); err == nil {
					return false
				}
			}
			return true
		})
	}
	return g
}

func tengineConf(dir, api, proxy string, workers int, c Config) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the folder is the test's own
	}
	size := ""
	if c.QueueBytes > 0 {
		size = fmt.Sprintf("dyups_shm_zone_size %d;", c.QueueBytes)
	}
	return strings.NewReplacer("DIR", dir, "USER", user, "API", api, "PROXY", proxy, "SIZE", size,
		"WORKERS", strconv.Itoa(workers), "TIMEOUT", strconv.FormatInt(c.ReadMsgTimeout.Milliseconds(), 10)+"ms",
	).Replace(`daemon off; USER
worker_processes WORKERS;
pid DIR/nginx.pid;
error_log DIR/error.log notice;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	resolver 127.0.0.1:9; resolver_timeout 1s;
	keepalive_requests 1000000;
	dyups_read_msg_timeout TIMEOUT;
	SIZE
	include DIR/upstreams.conf;
	server {
		listen PROXY;
		location / {
			set $ups $host;
			proxy_pass http://$ups;
			add_header X-Proxy-Worker $pid always;
		}
	}
	server {
		listen API;
		location / { dyups_interface; add_header X-Dyups-Worker $pid always; }
	}
}
`)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

var _ Starter = Tengine
