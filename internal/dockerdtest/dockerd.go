// Package dockerdtest runs a real dockerd for tests. It has its own network, and a folder that is removed afterwards.
package dockerdtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/suite"
)

// The images of each daemon: App exposes 8080/tcp, and Checked has a health check as well.
const (
	App     = "app"
	Checked = "checked"
)

const (
	startLimit = 90 * time.Second
	callLimit  = 60 * time.Second
)

// Daemon is a dockerd. Its containers reach nobody: its network namespace has only a loopback and its own bridges.
type Daemon struct {
	t       testing.TB
	dir     string
	netns   string
	program string
	Socket  string

	process *exec.Cmd
	ended   chan struct{}
}

// Start starts a daemon with both images. If that is not possible here, it skips the test with the reason.
func Start(t testing.TB) *Daemon {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // dockerd and ip are there
	program, err := exec.LookPath("dockerd")
	switch {
	case err != nil:
		suite.Absent(t, "no dockerd here: scripts/setup-tests.sh installs it on Debian")
	case runtime.GOOS != "linux" || os.Geteuid() != 0:
		suite.Absent(t, "to start a dockerd takes Linux and root")
	}
	for _, tool := range []string{"docker", "ip", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			suite.Absent(t, "no "+tool+" here")
		}
	}
	dir, err := os.MkdirTemp("", "dockerd") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{t: t, dir: dir, netns: filepath.Base(dir), program: program, Socket: filepath.Join(dir, "sock")}
	d.must("ip", "netns", "add", d.netns)
	t.Cleanup(d.remove)
	d.InNetwork("ip", "link", "set", "lo", "up")
	d.Boot()
	d.images()
	return d
}

// Host returns the value for DOCKER_HOST.
func (d *Daemon) Host() string { return "unix://" + d.Socket }

// Boot starts the daemon and returns when it answers. One that gives up, as after the death of the one before where
// containerd takes long, is started again: who runs one has systemd do that.
func (d *Daemon) Boot() {
	d.t.Helper()
	d.launch()
	Eventually(d.t, startLimit, func() error {
		select {
		case <-d.ended:
			d.launch()
		default:
		}
		_, err := d.Try("version")
		return err
	})
}

func (d *Daemon) launch() {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	c := exec.CommandContext(context.WithoutCancel(d.t.Context()), "nsenter", append([]string{"--net=" + d.namespace()}, InMountedRoot(d.program,
		"--host", d.Host(), "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"), "--bip", "172.29.0.1/24", "--shutdown-timeout", "5")...)...)
	c.Stdout, c.Stderr = log, log
	// It ends with this process, and is in its own process group.
	c.SysProcAttr = endWithUs()
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // its death would end the daemon
		defer close(ended)
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait()
		}
	}()
	if err := <-started; err != nil {
		d.t.Fatal(err)
	}
	d.process, d.ended = c, ended
}

// Signal sends the daemon a signal.
func (d *Daemon) Signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.process.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// Await waits until the daemon has ended.
func (d *Daemon) Await() {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(startLimit):
		d.t.Fatal("dockerd does not end")
	}
}

// AwaitApp waits until an [App] handles signals: an earlier one would kill it.
func (d *Daemon) AwaitApp(container string) {
	d.t.Helper()
	Eventually(d.t, startLimit, func() error {
		out, err := d.Try("logs", container)
		if err == nil && out != "ready" {
			err = fmt.Errorf("%s says %q", container, out)
		}
		return err
	})
}

// Docker runs docker, which must succeed, and returns its output.
func (d *Daemon) Docker(args ...string) string {
	d.t.Helper()
	out, err := d.Try(args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// Try runs docker.
func (d *Daemon) Try(args ...string) (string, error) {
	return run("docker", append([]string{"--host", d.Host()}, args...)...)
}

// InNetwork runs a program in the daemon's network namespace.
func (d *Daemon) InNetwork(name string, args ...string) string {
	d.t.Helper()
	return d.must("nsenter", append([]string{"--net=" + d.namespace(), name}, args...)...)
}

func (d *Daemon) namespace() string { return "/run/netns/" + d.netns }

func (d *Daemon) must(name string, args ...string) string {
	d.t.Helper()
	out, err := run(name, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = time.Second
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}

// images builds both images from one static program: nothing is pulled.
func (d *Daemon) images() {
	d.t.Helper()
	root := filepath.Join(d.dir, "root")
	c := exec.CommandContext(d.t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(root, "app"),
		"swallowkeeper/internal/dockerdtest/testdata/app")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		d.t.Fatalf("build the app: %v\n%s", err, out)
	}
	archive := filepath.Join(d.dir, "root.tar")
	d.must("tar", "--create", "--file", archive, "--directory", root, "app")
	app := []string{"import", "--change", `ENTRYPOINT ["/app"]`, "--change", "EXPOSE 8080/tcp"}
	d.Docker(append(app, archive, App)...)
	d.Docker(append(app, "--change", `HEALTHCHECK --interval=1s --timeout=20s --retries=1 CMD ["/app", "health"]`, archive, Checked)...)
}

// remove ends the daemon and everything that it runs.
func (d *Daemon) remove() {
	if d.t.Failed() {
		if text, err := os.ReadFile(filepath.Join(d.dir, "log")); err == nil {
			d.t.Logf("dockerd's log ends with:\n%s", text[max(0, len(text)-3000):])
		}
	}
	if d.process != nil {
		_ = d.process.Process.Signal(syscall.SIGCONT)
		if all, err := d.Try("ps", "--all", "--quiet"); err == nil && all != "" {
			_, _ = d.Try(append([]string{"rm", "--force"}, strings.Fields(all)...)...)
		}
		_ = d.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(startLimit):
			d.t.Error("dockerd does not end: it is killed")
			_ = d.process.Process.Kill()
		}
	}
	if _, err := run("ip", "netns", "delete", d.netns); err != nil {
		d.t.Error(err)
	}
	// A daemon that was killed leaves mounts.
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], d.dir+"/") {
			_, _ = run("umount", "--lazy", f[4])
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Errorf("what it left: %v", err)
	}
}

// Eventually waits until a condition holds, and fails with its last error.
func Eventually(t testing.TB, within time.Duration, holds func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(within)
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %s: %v", within, err)
		}
	}
}
