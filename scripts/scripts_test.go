// Package scripts has no code: its tests try what stands in this folder for operators
// and developers, each with the tool that it is written for.
package scripts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/config"
	"swallowkeeper/kinds"
)

// limit is for what takes a few seconds at most.
const limit = 30 * time.Second

// find skips the test where a tool is not installed; scripts/setup-tests.sh installs it.
func find(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("no %s here: scripts/setup-tests.sh installs it", tool)
	}
	return path
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// instead replaces text that must be there.
func instead(t *testing.T, s, old, with string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("no %q in it", old)
	}
	return strings.ReplaceAll(s, old, with)
}

func TestShellcheck(t *testing.T) {
	tool := find(t, "shellcheck")
	files, err := filepath.Glob("*.sh")
	if err != nil || len(files) == 0 {
		t.Fatalf("no shell scripts: %v", err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, files...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUnit has systemd read the unit, alone and as the template that docs/install.md makes of it.
func TestUnit(t *testing.T) {
	tool := find(t, "systemd-analyze")
	dir := t.TempDir()
	binary := write(t, filepath.Join(dir, "swallowkeeper"), "#!/bin/sh\n", 0o755)
	unit := instead(t, read(t, "swallowkeeper.service"), "ExecStart=/usr/local/bin/swallowkeeper", "ExecStart="+binary)
	template := instead(t, unit, "/etc/swallowkeeper.toml", "/etc/swallowkeeper/%i.toml")
	template = instead(t, template, "StateDirectory=swallowkeeper", "StateDirectory=swallowkeeper-%i")
	for _, test := range []struct{ name, file, check, text string }{
		{"alone", "swallowkeeper.service", "swallowkeeper.service", unit},
		{"template", "swallowkeeper@.service", "swallowkeeper@edge.service", template},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, filepath.Join(dir, test.file), test.text, 0o644)
			path := filepath.Join(dir, test.check)
			// What it does not understand systemd ignores, with a warning and exit code 0.
			if out, err := exec.CommandContext(t.Context(), tool, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("verify: %v\n%s", err, out)
			}
		})
	}
	// The threshold is in tenths: exposure 1.5 of 10.
	out, err := exec.CommandContext(t.Context(), tool, "security", "--offline=true", "--threshold=15", "--no-pager",
		filepath.Join(dir, "swallowkeeper.service")).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// TestTheUnitLetsTheExampleBeWritten holds the example's paths to what the unit lets be written: the
// shipped one named a folder that the shipped unit protects.
func TestTheUnitLetsTheExampleBeWritten(t *testing.T) {
	unit := map[string][]string{}
	for line := range strings.Lines(read(t, "swallowkeeper.service")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			unit[key] = append(unit[key], strings.Fields(value)...)
		}
	}
	if slices.Compare(unit["ProtectSystem"], []string{"strict"}) != 0 {
		t.Fatalf("ProtectSystem is %q: this test reads strict alone", unit["ProtectSystem"])
	}
	writable := unit["ReadWritePaths"]
	for key, above := range map[string]string{"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"} {
		for _, name := range unit[key] {
			writable = append(writable, filepath.Join(above, name))
		}
	}
	cfg, err := config.Kinds{Registries: kinds.Registries(), Gateways: kinds.Gateways()}.Load("swallowkeeper.toml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{"persist.path": cfg.Persist.Path, "status.socket": cfg.Status.Socket} {
		if !slices.Contains(writable, filepath.Dir(path)) {
			t.Errorf("%s is %s; the unit lets be written: %q", what, path, writable)
		}
	}
}

// TestTheUnitKnowsUsers: behind PrivateUsers everybody who gives an order over the socket is nobody.
func TestTheUnitKnowsUsers(t *testing.T) {
	for line := range strings.Lines(read(t, "swallowkeeper.service")) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key == "PrivateUsers" && value != "no" {
			t.Errorf("the unit has %s", line)
		}
	}
}

// TestSupervisor has supervisord run the program file: what is killed comes back, and what
// is told to stop ends cleanly. Neither registry nor gateway is there, which ends no daemon.
func TestSupervisor(t *testing.T) {
	tool := find(t, "supervisord")
	dir := t.TempDir()
	binary := filepath.Join(dir, "swallowkeeper")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "swallowkeeper/cmd/swallowkeeper").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	config := write(t, filepath.Join(dir, "sk.toml"), fmt.Sprintf(
		"[[registry]]\naddress = %q\n[persist]\npath = %q\n[[gateway]]\naddress = %q\n",
		"127.0.0.1:1", filepath.Join(dir, "dyups.conf"), "http://127.0.0.1:1"), 0o644)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	program := instead(t, read(t, "swallowkeeper.supervisor.conf"),
		"command=/usr/local/bin/swallowkeeper --config /etc/swallowkeeper.toml", "command="+binary+" --config "+config)
	program = instead(t, program, "\nuser=swallowkeeper\n", "\nuser="+me.Username+"\n")
	program = instead(t, program, "/var/log/supervisor/", dir+"/")
	conf := write(t, filepath.Join(dir, "supervisord.conf"), "[supervisord]\nnodaemon=true\nuser="+me.Username+
		"\nlogfile="+dir+"/supervisord.log\npidfile="+dir+"/supervisord.pid\n\n"+program, 0o644)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "-c", conf)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = limit
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, ".dyups.conf.lock")
	first := pidIn(t, lock, 0)
	// Until startsecs are over, supervisord tries again whatever autorestart says.
	eventually(t, "supervisord takes it for running", func() bool {
		log, _ := os.ReadFile(filepath.Join(dir, "supervisord.log"))
		return strings.Contains(string(log), "entered RUNNING state")
	})
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := pidIn(t, lock, first)

	cancel()
	_ = cmd.Wait() // the context has ended it
	if err := syscall.Kill(second, 0); err == nil {
		t.Errorf("process %d goes on after supervisord's end", second)
	}
	log := read(t, filepath.Join(dir, "swallowkeeper.log"))
	if n := strings.Count(log, "swallowkeeper starts"); n != 2 || !strings.Contains(log, "swallowkeeper ends") {
		t.Errorf("%d starts, want 2, and an end; its log:\n%s\nsupervisord:\n%s", n, log, out.String())
	}
}

// pidIn waits until the lock names a process that is not the one before.
func pidIn(t *testing.T, lock string, before int) (pid int) {
	t.Helper()
	eventually(t, "a new process has the lock", func() bool {
		text, _ := os.ReadFile(lock)
		var err error
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && pid > 1 && pid != before
	})
	return pid
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(limit); !holds(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// TestSetup runs setup-tests.sh among tools that only note how they were called.
func TestSetup(t *testing.T) {
	all := []string{
		"go", "shellcheck", "supervisord", "systemd-analyze", "debootstrap", "rpm", "nginx", "curl", "ngx_http_lua_module.so",
		"dockerd", "etcd", "etcdctl", "caddy", "dnsmasq", "docker-compose", "chromium", "liberation/LiberationSans-Regular.ttf", "dejavu/DejaVuSans.ttf",
		"wqy/wqy-microhei.ttc", "promtool", "gcc", "apt-get", "sudo",
	}
	without := func(missing ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(tool string) bool { return slices.Contains(missing, tool) })
	}
	const install = "update -qq\ninstall -qq -y --no-install-recommends "
	for _, test := range []struct {
		name  string
		tools []string
		calls string // of apt-get
		says  string
		fails bool
	}{
		{name: "all is there", tools: without("sudo"), says: "ready"},
		{
			name: "two are missing", tools: without("supervisord", "systemd-analyze"), says: "installed supervisor systemd",
			calls: install + "supervisor systemd\n",
		},
		{
			name: "fonts and promtool", tools: without("wqy/wqy-microhei.ttc", "liberation/LiberationSans-Regular.ttf", "promtool"),
			says: "ready", calls: install + "fonts-liberation fonts-wqy-microhei prometheus\n",
		},
		{name: "no etcd", tools: append(without("etcd"), "invoke-rc.d", "update-rc.d"), says: "installed etcd-server", calls: install + "etcd-server\ninvoke-rc.d --quiet etcd stop\nupdate-rc.d etcd disable\n"},
		{name: "no Caddy", tools: append(without("caddy"), "invoke-rc.d", "update-rc.d"), says: "installed caddy", calls: install + "caddy\ninvoke-rc.d --quiet caddy stop\nupdate-rc.d caddy disable\n"},
		{name: "no C compiler", tools: without("gcc"), says: "installed gcc libc6-dev", calls: install + "gcc libc6-dev\n"},
		{name: "no apt-get, as on macOS", tools: []string{"go", "shellcheck"}, says: "are skipped: supervisor systemd"},
		{name: "no Go", tools: []string{"shellcheck"}, says: "go is not on the PATH", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, tool := range []string{"bash", "env", "dirname"} {
				if err := os.Symlink(find(t, tool), filepath.Join(dir, tool)); err != nil {
					t.Fatal(err)
				}
			}
			calls := filepath.Join(dir, "calls")
			for _, tool := range test.tools {
				text := "#!" + filepath.Join(dir, "bash") + "\n"
				switch tool {
				case "apt-get":
					text += `echo "$*" >> ` + calls + "\n"
				case "invoke-rc.d", "update-rc.d":
					text += `echo "` + tool + ` $*" >> ` + calls + "\n"
				case "sudo":
					text += `exec "$@"` + "\n"
				}
				path := filepath.Join(dir, tool)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, path, text, 0o755)
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "bash"), "setup-tests.sh")
			cmd.Env = []string{"PATH=" + dir, "NGINX_MODULES=" + dir, "FONTS=" + dir, "CONSUL_BIN=" + filepath.Join(dir, "bash"), "CADDY_BIN=" + filepath.Join(dir, "bash")}
			out, err := cmd.CombinedOutput()
			if (err != nil) != test.fails || !strings.Contains(string(out), test.says) {
				t.Errorf("%v, want %q in\n%s", err, test.says, out)
			}
			called, _ := os.ReadFile(calls)
			if string(called) != test.calls {
				t.Errorf("apt-get was called with %q, want %q", called, test.calls)
			}
		})
	}
}
