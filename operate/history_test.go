package operate

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// TestHistoryIsReadOnce has the history of a daemon and one that is read anew say the same,
// while the first reads no file of which it knows everything: what it read before, and what it
// was told of when it was written.
func TestHistoryIsReadOnce(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]bool{"read": false, "told": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := persist.DefaultConfig()
			cfg.Path, cfg.History = filepath.Join(t.TempDir(), "u.conf"), 3
			h := &History{Path: cfg.Path, Most: cfg.History}
			file := func(n int) string { return filepath.Join(filepath.Dir(cfg.Path), ".u.conf.history", fmt.Sprint(n)) }
			list := func(h *History) []status.Generation {
				t.Helper()
				all, err := h.List()
				if err != nil {
					t.Fatal(err)
				}
				return all
			}
			damage := func(n int) {
				t.Helper()
				if err := os.WriteFile(file(n), []byte("no conf file"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			writeGenerations(t, cfg, 5, func(e syncer.Event) {
				if told {
					h.Written(e)
				}
				if told && e.Generation < 4 { // what it is told of while nobody looks is known too
					return
				}
				if diff := cmp.Diff(list(&History{Path: cfg.Path}), list(h), cmpopts.EquateComparable(reason.Reason{})); diff != "" {
					t.Errorf("generation %d: %s", e.Generation, diff)
				}
			})
			all := list(h)
			if len(all) != 3 || all[0].Number != 5 || all[0].Summary.String() != "0 added, 1 updated, 0 removed" || !all[2].Summary.IsZero() {
				t.Errorf("the history is %+v", all)
			}
			damage(4)
			if diff := cmp.Diff(all, list(h), cmpopts.EquateComparable(reason.Reason{})); diff != "" {
				t.Errorf("what is known was read again: %s", diff)
			}
			if fresh := list(&History{Path: cfg.Path}); fresh[1].Damaged == "" || !fresh[0].Summary.IsZero() || fresh[0].Servers != 5 {
				t.Errorf("with one that is damaged: %+v", fresh)
			}
		})
	}
}

// TestHistoryReadsNothingOfItsOwn damages every file before the first look: what the process wrote
// itself it knows, but for what its first generation changed.
func TestHistoryReadsNothingOfItsOwn(t *testing.T) {
	t.Parallel()
	cfg := persist.DefaultConfig()
	cfg.Path, cfg.History = filepath.Join(t.TempDir(), "u.conf"), 3
	h := &History{Path: cfg.Path, Most: cfg.History}
	writeGenerations(t, cfg, 5, h.Written)
	for n := 3; n <= 5; n++ {
		if err := os.WriteFile(filepath.Join(filepath.Dir(cfg.Path), ".u.conf.history", fmt.Sprint(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := h.List()
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, g := range all {
		if g.Damaged != "" {
			t.Errorf("generation %d was read: %s", g.Number, g.Damaged)
		}
	}
	if len(h.known) != 3 {
		t.Errorf("it remembers %d generations, 3 are kept", len(h.known))
	}
}

// writeGenerations writes so many, each with a server more, and tells of each.
func writeGenerations(t *testing.T, cfg persist.Config, n int, tell func(syncer.Event)) {
	t.Helper()
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
	var before upstream.Set
	u := upstream.Upstream{Name: "web"}
	for i := range n {
		server := upstream.DefaultTemplate().Server()
		server.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		u.Servers = append(slices.Clone(u.Servers), server)
		g, err := f.Save(t.Context(), generation.Generation{Set: upstream.NewSet([]upstream.Upstream{u})})
		if err != nil {
			t.Fatal(err)
		}
		f.Archive()
		c := upstream.Diff(before, g.Set)
		before = g.Set
		tell(syncer.Event{
			Kind: syncer.EventGeneration, Generation: g.Number, Written: g,
			Added: len(c.Added), Updated: len(c.Updated), Removed: len(c.Removed),
		})
	}
}
