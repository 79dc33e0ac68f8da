package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/upstream"
)

// TestHistoryIsReadOnce has the history of a daemon and one that is read anew say the same,
// while the first reads no file of which it knows everything.
func TestHistoryIsReadOnce(t *testing.T) {
	t.Parallel()
	cfg := persist.DefaultConfig()
	cfg.Path, cfg.History = filepath.Join(t.TempDir(), "u.conf"), 3
	log := logrus.New()
	log.SetOutput(io.Discard)
	f, err := persist.Open(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Load(); err != nil {
		t.Fatal(err)
	}
	file := func(n int) string { return filepath.Join(filepath.Dir(cfg.Path), ".u.conf.history", fmt.Sprint(n)) }
	h := &history{path: cfg.Path}
	list := func(h *history) []status.Generation {
		t.Helper()
		all, err := h.list()
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for n := 1; n <= 5; n++ {
		u := upstream.Upstream{Name: "web"}
		for i := range n {
			u.Servers = append(u.Servers, upstream.DefaultTemplate().Server())
			u.Servers[i].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		}
		if _, err := f.Save(t.Context(), upstream.Generation{Set: upstream.NewSet([]upstream.Upstream{u})}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list(&history{path: cfg.Path}), list(h)); diff != "" {
			t.Errorf("generation %d: %s", n, diff)
		}
	}
	all := list(h)
	if len(all) != 3 || all[0].Number != 5 || all[0].Summary != "0 added, 1 updated, 0 removed" || all[2].Summary != "" {
		t.Errorf("the history is %+v", all)
	}

	if err := os.WriteFile(file(4), []byte("no conf file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, list(h)); diff != "" {
		t.Errorf("what is known was read again: %s", diff)
	}
	if fresh := list(&history{path: cfg.Path}); fresh[1].Damaged == "" || fresh[0].Summary != "" || fresh[0].Servers != 5 {
		t.Errorf("with one that is damaged: %+v", fresh)
	}
}

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
	s := newSurface()
	s.take(work{cfg: config.Config{Persist: persist.Config{Path: filepath.Join(dir, "u.conf")}}})
	for n, kind := range map[int]error{1: status.ErrConflict, 2: status.ErrNotFound} {
		if _, err := s.Rollback(t.Context(), n); !errors.Is(err, kind) {
			t.Errorf("rolling back to %d: %v", n, err)
		}
		if _, err := s.Diff(n, n); !errors.Is(err, kind) {
			t.Errorf("the difference to %d: %v", n, err)
		}
	}
}
