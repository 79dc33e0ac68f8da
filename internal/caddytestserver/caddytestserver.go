// Package caddytestserver runs real Caddys for tests, and can kill, stop and restart them.
package caddytestserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/childtest"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/suite"
)

// Debian returns Debian's Caddy, 2.6. If it is not installed, it skips the test with that reason.
func Debian(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("/usr/bin/caddy")
	if err != nil {
		suite.Absent(t, "no Caddy here: apt-get install caddy")
	}
	return path
}

// pinned matches the version in the go.mod of the module that scripts/caddy.sh builds.
var pinned = regexp.MustCompile(`(?m)\bgithub\.com/caddyserver/caddy/v2 v(\S+)`)

// Module returns the newer Caddy that scripts/caddy.sh builds: CADDY_BIN, or the one in the cache. Without one it skips
// the test with that reason.
func Module(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("CADDY_BIN"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			t.Fatalf("CADDY_BIN: %v", err)
		}
		return found
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache")
	}
	path, err := exec.LookPath(filepath.Join(cache, "swallowkeeper", "caddy-"+version(t)))
	if err != nil {
		suite.Absent(t, "no Caddy 2.11 here: run `make caddy` once to build it, or set CADDY_BIN")
	}
	return path
}

// version finds the module from the working directory upwards.
func version(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "scripts", "caddy", "go.mod")); err == nil {
			if match := pinned.FindSubmatch(text); match != nil {
				return string(match[1])
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no scripts/caddy/go.mod above the working directory names a Caddy")
		}
		dir = parent
	}
}

// Server is one Caddy.
type Server struct {
	// Admin is the address of its admin API, host and port.
	Admin string

	t      testing.TB
	binary string
	dir    string
	config string
	flags  []string
	cmd    *exec.Cmd
	ended  chan struct{}
	log    *os.File
	socket string // in place of Admin
}

// Start starts a Caddy and waits until it answers. In the JSON configuration, ADMIN stands for the address of its admin
// API. The flags are added to `caddy run`.
func Start(t testing.TB, binary, config string, flags ...string) *Server {
	t.Helper()
	return start(&Server{t: t, binary: binary, Admin: loopback.Free(t, 1)[0], flags: flags}, config)
}

// StartOn starts a Caddy with its admin API on a socket.
func StartOn(t testing.TB, binary, config, socket string) *Server {
	t.Helper()
	return start(&Server{t: t, binary: binary, socket: socket}, config)
}

func start(s *Server, config string) *Server {
	t := s.t
	t.Helper()
	s.dir = t.TempDir()
	s.config = strings.ReplaceAll(config, "ADMIN", s.Admin)
	if err := os.WriteFile(s.file(), []byte(s.config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	t.Cleanup(func() { _ = log.Close() })
	t.Cleanup(s.Kill)
	s.Run()
	return s
}

func (s *Server) file() string { return filepath.Join(s.dir, "caddy.json") }

// Config is what it is started with.
func (s *Server) Config() string { return s.config }

// Run starts it again and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, append([]string{"run", "--config", s.file()}, s.flags...)...) //nolint:noctx // it lives longer than a call
	s.cmd.SysProcAttr = childtest.EndWithParent()
	s.cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start Caddy: %v", err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(s.cmd, s.ended)
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		if s.answers() {
			return
		}
		select {
		case <-s.ended:
			s.t.Fatalf("Caddy does not start: %s", s.Log())
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.t.Fatalf("Caddy does not answer: %s", s.Log())
}

func (s *Server) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.socket != "" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", s.socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+"/config/", nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return true
}

// Log is what it has written.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log.Name())
	return string(text)
}

// Kill ends it as a crash does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Resume is a crash, and another start by caddy run --resume, which takes what was told last.
func (s *Server) Resume() {
	s.t.Helper()
	s.Kill()
	s.flags = append(s.flags, "--resume")
	s.Run()
}

// Pause keeps it from answering until it is released.
func (s *Server) Pause() (release func()) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	if err := childtest.AwaitStopped(s.cmd.Process.Pid); err != nil {
		s.t.Fatal(err)
	}
	return func() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }
}

// Reload is `caddy reload` with what it was started with, by a person.
func (s *Server) Reload() {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), s.binary, "reload", "--config", s.file(), "--address", s.Admin, "--force").CombinedOutput()
	if err != nil {
		s.t.Fatalf("caddy reload: %v: %s", err, out)
	}
}
