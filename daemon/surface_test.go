package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/config"
	"swallowkeeper/generation"
	"swallowkeeper/internal/logs"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
)

// TestADamagedGenerationIsAConflict has a person ask for one that can't be used: that is what the
// API says of it, and no fault of the daemon.
func TestADamagedGenerationIsAConflict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, ".u.conf.history")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "1"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSurface("test")
	s.take(work{cfg: config.Config{Persist: persist.Config{Path: filepath.Join(dir, "u.conf")}}})
	for n, kind := range map[int]error{1: status.ErrConflict, 2: status.ErrNotFound} {
		if _, err := s.Rollback(t.Context(), n, generation.Signature{}); !errors.Is(err, kind) {
			t.Errorf("rolling back to %d: %v", n, err)
		}
		if _, err := s.Diff(n, n); !errors.Is(err, kind) {
			t.Errorf("the difference to %d: %v", n, err)
		}
	}
}

// TestABadTokenKeepsNobodyFromTheSocket has a token file that can't be used: over the socket
// nobody needs it, and whoever watches the health of the program there goes on.
func TestABadTokenKeepsNobodyFromTheSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sk") //nolint:usetesting // a socket's path may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	s := newSurface("test")
	s.take(work{syncer: syncer.New(syncer.Parts{})})
	ctx, cancel := context.WithCancel(t.Context())
	served := s.serve(ctx, status.Config{Address: "127.0.0.1:0", Socket: socket, TokenFile: dir + "/none"}, logs.Silent())
	defer func() {
		cancel()
		<-served
	}()
	// Its loop has not come round yet, which is no reason to stop it.
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	for {
		req, err := http.NewRequestWithContext(limit, http.MethodGet, "http://localhost/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("healthz: %d", resp.StatusCode)
			}
			return
		}
		select {
		case <-limit.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// TestSystemdIsTold: the status line says what is worst.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	line := statusLine(syncer.Status{Unserved: []syncer.Unserved{{Upstream: "a", Servers: 1}}})
	if !strings.Contains(line, "a has no healthy server") {
		t.Errorf("systemd is told %q", line)
	}
}
