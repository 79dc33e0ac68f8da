// Package etcdtestserver runs real etcd servers for tests, and can kill, stop and restart them.
package etcdtestserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/childtest"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/suite"
)

// Binary returns the etcd that tests run: ETCD_BIN, or Debian's. Without one it skips the test with that reason.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ETCD_BIN"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			t.Fatalf("ETCD_BIN: %v", err)
		}
		return found
	}
	path, err := exec.LookPath("/usr/bin/etcd")
	if err != nil {
		suite.Absent(t, "no etcd here: apt-get install etcd-server, or set ETCD_BIN")
	}
	return path
}

// Server is one etcd member, by default a cluster of one.
type Server struct {
	// URL is its client URL.
	URL string
	// Peer is the URL for other members.
	Peer string

	t     testing.TB
	dir   string
	name  string
	flags []string
	cmd   *exec.Cmd
	ended chan struct{}
	check string // where its health is asked for, by plain HTTP
}

// Start starts a server with additional flags, and waits until it answers.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return Cluster(t, 1, flags...)[0]
}

// Cluster starts the members of a cluster.
func Cluster(t testing.TB, n int, flags ...string) []*Server {
	t.Helper()
	Binary(t)
	scheme := "http"
	for _, f := range flags {
		if strings.HasPrefix(f, "--cert-file") {
			scheme = "https"
		}
	}
	all, free := make([]*Server, n), loopback.Free(t, 3*n)
	var peers []string
	for i := range all {
		s := &Server{
			t: t, name: fmt.Sprintf("m%d", i), dir: filepath.Join(t.TempDir(), "data"), URL: scheme + "://" + free[3*i], Peer: "http://" + free[3*i+1],
			check: "http://" + free[3*i+2],
		}
		s.flags = append(s.flags, flags...)
		peers = append(peers, s.name+"="+s.Peer)
		all[i] = s
	}
	for _, s := range all {
		s.flags = append(
			s.flags, "--name="+s.name, "--listen-client-urls="+s.URL, "--advertise-client-urls="+s.URL, "--listen-peer-urls="+s.Peer,
			"--initial-advertise-peer-urls="+s.Peer, "--initial-cluster="+strings.Join(peers, ","), "--initial-cluster-token=swallowkeeper",
			"--listen-metrics-urls="+s.check, "--unsafe-no-fsync", "--log-level=error", "--logger=zap",
		)
		s.start()
		t.Cleanup(s.Stop)
	}
	for _, s := range all {
		s.await()
	}
	return all
}

func (s *Server) start() {
	s.t.Helper()
	flags := append([]string{"--data-dir=" + s.dir}, s.flags...)
	if strings.Contains(version(s.t), " 3.4.") { // where it is called so
		for i, f := range flags {
			if f == "--unsafe-no-fsync" {
				flags = append(flags[:i], flags[i+1:]...)
				break
			}
		}
	}
	s.cmd = exec.Command(Binary(s.t), flags...) //nolint:noctx // it lives longer than a call
	s.cmd.SysProcAttr = childtest.EndWithParent()
	log := &strings.Builder{}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start etcd: %v", err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(s.cmd, s.ended)
}

// version returns the version that the binary reports.
func version(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Binary(t), "--version").CombinedOutput()
	if err != nil && t.Context().Err() == nil {
		t.Fatalf("ask etcd for its version: %v", err)
	}
	return string(out)
}

// await waits until the server is healthy.
func (s *Server) await() {
	s.t.Helper()
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		if s.healthy() {
			return
		}
		select {
		case <-s.ended:
			s.t.Fatalf("etcd ended: %s", s.cmd.Stderr)
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.t.Fatal("etcd does not become healthy")
}

func (s *Server) healthy() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.check+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	return err == nil && strings.Contains(string(body), `"true"`)
}

// Stop kills the server.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Restart starts the server again with its data, and waits until it is healthy.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
	s.await()
}

// StartAgain is Restart without waiting, for a member whose peers are down.
func (s *Server) StartAgain() {
	s.t.Helper()
	s.Stop()
	s.start()
}

// Await waits until the server is healthy.
func (s *Server) Await() {
	s.t.Helper()
	s.await()
}

// Lose starts the server again without its data.
func (s *Server) Lose() {
	s.t.Helper()
	s.Stop()
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.start()
	s.await()
}

// Pause stops all threads of the server until Continue.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	if err := childtest.AwaitStopped(s.cmd.Process.Pid); err != nil {
		s.t.Fatal(err)
	}
}

// Continue ends a Pause.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
