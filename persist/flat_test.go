package persist

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/upstream"
)

// flat saves changes of one upstream among n, one after the other.
type flat struct {
	f    *File
	sets [2]upstream.Set
	n    int
}

func newFlat(t testing.TB, n int) *flat {
	t.Helper()
	f := sharding(t, &counted{room: -1, lazy: true}, filepath.Join(t.TempDir(), "u.conf"), func(c *Config) { c.ShardAbove = DefaultConfig().ShardAbove })
	l := &flat{f: f}
	l.sets[0] = services(n, 10)
	l.sets[1] = l.sets[0].With([]upstream.Upstream{service(n/2, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, nil)
	for range 30 { // the history is as long as it gets
		l.change(t)
	}
	return l
}

func (l *flat) change(t testing.TB) {
	l.n++
	if _, err := l.f.Save(t.Context(), generation.Generation{Set: l.sets[l.n%2], Guard: []string{"sum 0"}}); err != nil {
		t.Fatal(err)
	}
	l.f.Archive()
}

func BenchmarkFlatSave(b *testing.B) {
	for _, n := range []int{50, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newFlat(b, n)
			on := l.f.on.(*counted)
			on.bytes = 0
			b.ReportAllocs()
			for b.Loop() {
				l.change(b)
			}
			b.ReportMetric(float64(on.bytes)/float64(b.N), "written/op")
		})
	}
}

// TestASaveCostsWhatChanged: at 5,000 services one takes at most three times the allocations of one at 50.
func TestASaveCostsWhatChanged(t *testing.T) { // counts allocations: not beside others
	costs := func(n int) float64 {
		l := newFlat(t, n)
		return testing.AllocsPerRun(20, func() { l.change(t) })
	}
	few, many := costs(50), costs(5000)
	t.Logf("%.0f allocations at 50, %.0f at 5,000", few, many)
	if many > 3*few {
		t.Errorf("%.0f allocations at 50, %.0f at 5,000", few, many)
	}
}

// failing is the machine's file system, of which one operation that changes something fails, and those after it.
type failing struct {
	machine
	left int
}

func (f *failing) use() error {
	if f.left--; f.left < 0 {
		return errNoRoom
	}
	return nil
}

func (f *failing) Folder(path string) Folder { return failingFolder{f.machine.Folder(path), f} }

func (f *failing) History(path string, create bool) (Folder, error) {
	if create {
		if err := f.use(); err != nil {
			return nil, err
		}
	}
	h, err := f.machine.History(path, create)
	if err != nil {
		return nil, err
	}
	return failingFolder{h, f}, nil
}

type failingFolder struct {
	Folder
	f *failing
}

func (d failingFolder) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	if flag != 0 && strings.Contains(name, "tmp-") {
		if err := d.f.use(); err != nil {
			return nil, err
		}
	}
	h, err := d.Folder.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return failingHandle{h, d.f}, nil
}

func (d failingFolder) Rename(from, to string) error {
	if err := d.f.use(); err != nil {
		return err
	}
	return d.Folder.Rename(from, to)
}

func (d failingFolder) Sync() error { return d.f.use() }

type failingHandle struct {
	Handle
	f *failing
}

func (h failingHandle) Write(p []byte) (int, error) {
	if err := h.f.use(); err != nil {
		n, _ := h.Handle.Write(p[:len(p)/2])
		return n, err
	}
	return h.Handle.Write(p)
}

func (h failingHandle) Sync() error { return h.f.use() }

// TestTheDiskFailsAtAnyWrite has each operation of a change fail once: what a reader finds is the whole old state or the
// whole new one, and when the disk is well again the change goes through, with the number that follows.
func TestTheDiskFailsAtAnyWrite(t *testing.T) {
	grow, shrink := services(60, 2), services(1, 1)
	for name, step := range map[string][2]generation.Generation{
		"a change":          {{Set: grow, Guard: longAccount(300)}, {Set: grow.With([]upstream.Upstream{service(7, 1)}, nil), Guard: longAccount(301)}},
		"over the size":     {{Set: shrink, Guard: longAccount(300)}, {Set: grow, Guard: longAccount(301)}},
		"and back":          {{Set: grow, Guard: longAccount(300)}, {Set: shrink, Guard: longAccount(2)}},
		"another long note": {{Set: grow}, {Set: grow.With([]upstream.Upstream{service(7, 1)}, nil), Leaving: manyNames(400)}},
	} {
		t.Run(name, func(t *testing.T) {
			for left := 0; ; left++ {
				path := filepath.Join(t.TempDir(), "u.conf")
				on := &failing{left: 1 << 30}
				f := sharding(t, on, path)
				old := saved(t, f, step[0])
				f.Archive()
				on.left = left
				_, err := f.Save(t.Context(), step[1])
				on.left = 1 << 30
				if err == nil {
					if left < 5 {
						t.Errorf("it has %d operations", left)
					}
					break
				}
				is, edited, failed := Read(path)
				if whole := is.Set.Identical(step[0].Set) && is.Number == old.Number || is.Set.Identical(step[1].Set) && is.Number == old.Number+1; failed != nil || edited || !whole {
					t.Fatalf("after %d operations there is generation %d of %d upstreams, %v, %v", left, is.Number, is.Set.Len(), edited, failed)
				}
				next, err := f.Save(t.Context(), step[1])
				if err != nil || next.Number != old.Number+1 {
					t.Fatalf("after %d operations: generation %d, %v", left, next.Number, err)
				}
				if is, edited, err := Read(path); err != nil || edited || !is.Set.Identical(step[1].Set) || !notesOf(is).same(notesOf(step[1])) {
					t.Fatalf("after %d operations and a second time: %d upstreams, %v, %v", left, is.Set.Len(), edited, err)
				}
			}
		})
	}
}

func manyNames(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("gone-%d", 1000+i))
	}
	return names
}

// TestAFileOfBefore: one file of any size, with its history, as versions before shards wrote them.
func TestAFileOfBefore(t *testing.T) {
	const old = `# Written by swallowkeeper on gateway-1 (process 4711, K7QWXN2D): edits are lost. See docs/operation.md. Notes 34, with the guard's account.
# generation: 12
# time: 2026-11-21T00:12:07.388608099Z
# digest: sha256:DIGEST
# reason: added api; changed web
# by: alice: deploy 42
# frozen: web until 2026-11-21T02:00:00Z by alice: deploy 42
# leaving: old-service
# pushing: web
# stranger: legacy
# guard: sum 0011223344556677

`
	const blocks = `upstream api {
    keepalive 20;
    server 10.0.1.1:8080 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
}

upstream web_b { # canary b
    least_conn;
    server 10.0.0.1:80 weight=2 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500 web.example:80
}
`
	for _, above := range []string{"256KB", "1KB"} {
		path := filepath.Join(t.TempDir(), "u.conf")
		text := strings.Replace(old, "DIGEST", digest([]byte(blocks)), 1) + blocks
		write(t, path, text)
		f := sharding(t, machine{}, path, func(c *Config) { c.ShardAbove = above })
		g := loaded(t, f)
		if g.Number != 12 || g.Set.Len() != 2 || g.Notes != 34 || len(g.Frozen) != 1 || len(g.Guard) != 1 || g.Signed.By != "alice" {
			t.Errorf("loaded %+v", g)
		}
		if again := saved(t, f, g); again.Number != 12 || confText(t, path) != text {
			t.Errorf("it was written again, as %+v", again)
		}
		kept, err := ReadGeneration(path, 12)
		if err != nil || !kept.Set.Identical(g.Set) || !kept.Time.Equal(time.Date(2026, 11, 21, 0, 12, 7, 388608099, time.UTC)) {
			t.Errorf("its history has %+v, %v", kept, err)
		}
		next := saved(t, f, generation.Generation{Set: services(60, 2)})
		if sharded := strings.Contains(confText(t, path), "\n"+shardsKey); next.Number != 13 || sharded != (above == "1KB") {
			t.Errorf("generation %d, shards: %v", next.Number, sharded)
		}
		if kept, err := ReadGeneration(path, 12); err != nil || !kept.Set.Identical(g.Set) {
			t.Errorf("its history has %+v, %v", kept, err)
		}
	}
}
