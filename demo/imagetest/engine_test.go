// Package imagetest has no code: its test builds the demo image with a real Docker Engine
// and walks through what docs/docker.md tells people to do. It needs Linux and an engine, or
// root and Debian's docker.io and debootstrap to run one of its own.
package imagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/internal/dockerdtest"
)

const (
	root = "../.." // of the repository, as the test runs in its folder

	// limit is for what takes a few seconds, patience for what may take minutes on a busy machine.
	limit    = 45 * time.Second
	patience = 12 * time.Minute
)

// engine is a Docker Engine to ask.
type engine struct {
	env []string
	own bool // started by this test: all that is in it is of this test
}

// command is a call of a program in the repository's folder that talks to the engine.
func (e *engine) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = root, append(os.Environ(), e.env...)
	c.WaitDelay = time.Second
	return c
}

// try calls docker and returns what it printed on standard output.
func (e *engine) try(ctx context.Context, within time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c := e.command(ctx, "docker", args...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s%s", strings.Join(args, " "), err, out, errs.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}

// docker calls docker, which must succeed.
func (e *engine) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.try(t.Context(), limit, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// later calls docker at the test's end, when its context is over.
func (e *engine) later(t *testing.T, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		if out, err := e.try(context.WithoutCancel(t.Context()), limit, args...); err != nil {
			t.Errorf("clean up: %v\n%s", err, out)
		}
	})
}

// theEngine is the one that answers, or one that this test starts and ends.
func theEngine(t *testing.T) *engine {
	t.Helper()
	if testing.Short() {
		t.Skip("builds an image, which takes minutes")
	}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("no docker here: scripts/setup-tests.sh installs it on Debian")
	}
	e := &engine{}
	if _, err := e.try(t.Context(), limit, "version"); err == nil {
		return e
	}
	// dockerd is in /usr/sbin, which is not on everybody's PATH.
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	dockerd, err := exec.LookPath("dockerd")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("no Docker Engine answers, and to start one takes root and dockerd")
	}
	e.own = true
	e.start(t, dockerd)
	return e
}

// start runs a daemon whose data stays in the cache, so that a second run builds little.
func (e *engine) start(t *testing.T, dockerd string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "swallowkeeper", "docker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	takeTurns(t, filepath.Join(dir, "lock"))

	socket := "unix://" + filepath.Join(dir, "docker.sock")
	e.env = []string{"DOCKER_HOST=" + socket}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// The shell ends the daemon when its standard input ends, which it does however this
	// process ends. In a process group of its own it outlives the interrupt of a terminal.
	run := append([]string{"-c", `"$@" & pid=$!; read -r _; kill "$pid"; wait "$pid"`, "sh"}, dockerdtest.InMountedRoot(
		dockerd, "--host", socket, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"))...)
	c := e.command(context.WithoutCancel(t.Context()), "sh", run...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Stdout, c.Stderr = log, log
	alive, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		_ = c.Wait() // the signal's exit code
	})
	ready := func() bool {
		_, err := e.try(t.Context(), limit, "version")
		return err == nil
	}
	eventually(t, limit, func() string { return "dockerd answers; its log:\n" + tail(log.Name()) }, ready)

	// What a run left that was killed.
	if left := e.docker(t, "ps", "--all", "--quiet"); left != "" {
		e.docker(t, append([]string{"rm", "--force", "--volumes"}, strings.Fields(left)...)...)
	}
	e.docker(t, "network", "prune", "--force")
	e.docker(t, "volume", "prune", "--force")
	e.docker(t, "image", "prune", "--force", "--filter", "until=24h")
}

// takeTurns waits until no other run of this test has the daemon's folder.
func takeTurns(t *testing.T, path string) {
	t.Helper()
	lock, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	eventually(t, patience, says("no other run of this test"), func() bool {
		return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	})
}

// argument finds what the Dockerfile begins with.
var argument = regexp.MustCompile(`(?m)^ARG (?:GO_IMAGE|BASE_IMAGE)=(.+)$`)

// bases sees that the images are there which the Dockerfile begins with, and returns the Debian.
func (e *engine) bases(t *testing.T) (debian string) {
	t.Helper()
	text, err := os.ReadFile(root + "/demo/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	missing := false
	for _, m := range argument.FindAllStringSubmatch(string(text), -1) {
		name := m[1]
		if strings.HasPrefix(name, "debian:") {
			debian = name
		}
		if _, err := e.try(t.Context(), limit, "image", "inspect", name); err == nil {
			continue
		}
		if !e.own { // in an engine of somebody else nothing takes a real image's name if it can be had
			if _, err := e.try(t.Context(), patience, "pull", name); err == nil {
				continue
			}
		}
		missing = true
	}
	if missing {
		if out, err := e.command(t.Context(), "scripts/docker-base.sh").CombinedOutput(); err != nil {
			t.Fatalf("docker-base.sh: %v\n%s", err, out)
		}
	}
	return debian
}

// build makes an image. In an engine of this test's own it stays, so that a second run builds little.
func (e *engine) build(t *testing.T, name string, args ...string) {
	t.Helper()
	began := time.Now()
	if _, err := e.try(t.Context(), patience, append([]string{"build", "--tag", name}, args...)...); err != nil {
		t.Fatal(err)
	}
	t.Logf("built %s in %s", name, time.Since(began).Round(time.Second))
	if !e.own {
		e.later(t, "image", "rm", name)
	}
}

// buildConsul makes an image of the Consul that the other tests use.
func (e *engine) buildConsul(t *testing.T, debian, name string) {
	t.Helper()
	dir := t.TempDir()
	copyTo(t, filepath.Join(dir, "consul"), consultestserver.Binary(t))
	write(t, filepath.Join(dir, "Dockerfile"), "FROM "+debian+"\nCOPY consul /bin/\nENTRYPOINT [\"/bin/consul\"]\n")
	e.build(t, name, dir)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

func says(what string) func() string { return func() string { return what } }

// eventually waits for a condition.
func eventually(t *testing.T, within time.Duration, what func() string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(within); !holds(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %s: %s", within, what())
		}
	}
}
