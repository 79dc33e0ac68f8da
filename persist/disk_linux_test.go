package persist_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
)

// mounted is a folder with a tiny disk of its own.
func mounted(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		if os.Getuid() == 0 && os.Getenv("CI") != "" {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("only root can mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestTheDiskIsFull(t *testing.T) {
	dir := mounted(t)
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path)
	first := save(t, f, set(10, 2))
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1000, 2)})
	wantError(t, err, path, "no space left on device")
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v does not tell its cause", err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"u.conf"}) {
		t.Errorf("found %q", got)
	}
	same(t, load(t, f), first)
	same(t, save(t, f, set(10, 2)), first)
	if g := save(t, f, set(11, 2)); g.Number != 2 {
		t.Errorf("got number %d, want 2", g.Number)
	}
}

func TestTheDiskIsFullAtTheStart(t *testing.T) {
	dir := mounted(t)
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v, want a full disk", err)
	}
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path) // no room for the process's id; the lock holds all the same
	if _, _, err := open(path); err == nil {
		t.Error("the lock was given twice")
	}
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, path, "no space left on device")
	if err := os.Remove(filepath.Join(dir, "big")); err != nil {
		t.Fatal(err)
	}
	save(t, f, set(1, 1))
}

// A disk that turns read-only is here one that is mounted above the folder.
func TestTheFolderIsReadOnly(t *testing.T) {
	dir := mounted(t)
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path)
	save(t, f, set(1, 1))
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := f.Save(t.Context(), generation.Generation{Set: set(2, 1)})
	_, _, openErr := open(filepath.Join(dir, "other.conf"))
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, err, path, "read-only file system")
	wantError(t, openErr, "other.conf", "read-only file system")
	if g := save(t, f, set(2, 1)); g.Number != 2 {
		t.Errorf("got number %d, want 2", g.Number)
	}
}

// Root may write everywhere but where nobody may.
func TestWritableOnAReadOnlyDisk(t *testing.T) {
	dir := mounted(t)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c := persist.DefaultConfig()
	c.Path = filepath.Join(dir, "u.conf")
	wantError(t, persist.Writable(c), "can't write the folder "+dir, "read-only file system")
}

// A full disk is told once, the conf file's room is left alone, and what was recorded can be read.
func TestTheRecordFillsTheDisk(t *testing.T) {
	dir := mounted(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRecorded(t, 3, func(c *persist.Config) { c.Path = filepath.Join(dir, "upstreams.conf") })
		r.begin()
		for range 1000 {
			r.Note(r.next())
			synctest.Wait()
		}
		said := r.said.AllEntries()
		if len(said) != 1 || !errors.Is(said[0].Data["error"].(error), unix.ENOSPC) {
			t.Fatalf("it said %v", said)
		}
		got, notes := r.read(t)
		if len(got) < 10 || len(notes) > 1 {
			t.Errorf("%d moments, %q", len(got), notes)
		}
		if err := os.Remove(filepath.Join(r.folder, "record-1.jsonl")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		r.Note(r.next())
		r.Close()
		if got, notes := r.read(t); len(got) != 1 || len(notes) > 0 {
			t.Errorf("%d moments, %q", len(got), notes)
		}
	})
}
