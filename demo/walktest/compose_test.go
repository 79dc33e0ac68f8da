//go:build linux

package walktest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

// TestCompose brings demo/compose.etcd.yaml up, does with it what its first lines say, and brings it down. Its images are made here
// of the programs of this machine, under their names: there may be no registry to pull them from.
func TestCompose(t *testing.T) {
	etcdctl, err := exec.LookPath("etcdctl")
	if err != nil || !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx or no etcdctl here: scripts/setup-tests.sh installs them on Debian")
	}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		suite.Absent(t, "no docker-compose here: scripts/setup-tests.sh installs it on Debian")
	}
	d := dockerdtest.Start(t)
	users := map[string]string{"/etc/passwd": "root:x:0:0::/:\nnobody:x:65534:65534::/:\n", "/etc/group": "root:x:0:\nnogroup:x:65534:\n"}
	image(t, d, "nginx:test", users, []string{"/etc/nginx", "/tmp", "/var/log/nginx", "/var/lib/nginx", "/run"}, nginxtest.Nginx, "/bin/sleep")
	image(t, d, "etcd:test", nil, []string{"/tmp"}, etcdtestserver.Binary(t), etcdctl)

	demo := t.TempDir()
	if err := os.CopyFS(filepath.Join(demo, "etcd"), os.DirFS("../etcd")); err != nil {
		t.Fatal(err)
	}
	build(t, filepath.Join(demo, "bin", "swallowkeeper"))
	compose := func(args ...string) string {
		t.Helper()
		c := d.Command("docker-compose", append([]string{"--project-name", "walk", "--project-directory", demo, "--file", "../compose.etcd.yaml"}, args...)...)
		c.Env = append(os.Environ(), "DOCKER_HOST="+d.Host(), "DOCKER_SOCKET="+d.Socket, "NGINX_IMAGE=nginx:test", "ETCD_IMAGE=etcd:test", "WEB_IMAGE="+dockerdtest.App)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(compose("logs", "--tail", "40"))
		}
		compose("down", "--volumes")
	})
	y := &yard{t: t, docker: d, client: &http.Client{Transport: &http.Transport{DialContext: d.Dial, DisableKeepAlives: true}, Timeout: patience}}
	serves := func(n int) {
		t.Helper()
		ids := strings.Fields(d.Docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=web"))
		if len(ids) != n {
			t.Fatalf("%d containers run, want %d", len(ids), n)
		}
		y.serve([]string{"127.0.0.1"}, "/web/", ids...)
	}

	compose("up", "--detach", "--build")
	serves(3)
	compose("up", "--detach", "--scale", "web=5")
	serves(5)
	if said := compose("exec", "-T", "swallowkeeper", "swallowkeeper", "explain", "web"); !strings.Contains(said, "web: 5 in, 0 out") {
		t.Errorf("explain says\n%s", said)
	}
	if said := compose("exec", "-T", "etcd", "etcdctl", "get", "--prefix", "/swallowkeeper/services"); strings.Count(said, "/swallowkeeper/services/web/demo:walk_web_") != 5 {
		t.Errorf("etcd has\n%s", said)
	}
	if page, err := get(t.Context(), y.client, "http://127.0.0.1:9180/"); err != nil || !strings.Contains(page, "web") {
		t.Errorf("the page: %v\n%s", err, page)
	}

	if said := compose("exec", "-T", "swallowkeeper", "swallowkeeper", "doctor"); strings.TrimSpace(said) != "nothing found" {
		t.Errorf("doctor finds\n%s", said)
	}

	// Whichever part starts anew, the others go on.
	for _, part := range []string{"agent", "etcd", "swallowkeeper", "nginx"} {
		compose("restart", part)
		dockerdtest.Eventually(t, patience, func() error {
			id := strings.TrimSpace(compose("ps", "--quiet", "swallowkeeper"))
			if out, err := d.Try("exec", id, "swallowkeeper", "status"); err != nil {
				return fmt.Errorf("after the restart of %s: %w\n%s", part, err, out)
			}
			return nil
		})
		serves(5)
	}
}

// image imports a container image of programs of this machine, with the libraries that they want.
func image(t *testing.T, d *dockerdtest.Daemon, name string, files map[string]string, folders []string, programs ...string) {
	t.Helper()
	root := t.TempDir()
	into := func(path string) string {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, text := range files {
		if err := os.WriteFile(into(path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range folders {
		into(folder + "/x")
	}
	for _, program := range programs {
		libraries, err := exec.CommandContext(t.Context(), "ldd", program).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", program, err)
		}
		for _, path := range append(strings.Fields(string(libraries)), program) {
			if filepath.IsAbs(path) {
				if out, err := exec.CommandContext(t.Context(), "cp", "--dereference", path, into(path)).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
		}
	}
	archive := filepath.Join(t.TempDir(), "root.tar")
	if out, err := exec.CommandContext(t.Context(), "tar", "--create", "--file", archive, "--directory", root, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.Docker("import", archive, name)
}
