package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"swallowkeeper/persist"
	"swallowkeeper/status"
)

// Write errors were swallowed and the push went on.
func TestFaultFileNeverTruncatedOnABadDisk(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*rig, *keeper) {
		t.Parallel()
		r := newRig(t)
		mount(t, filepath.Dir(r.conf), 0)
		r.configure()
		r.baseline(want{"a": "10.0.0.1:80"})
		d := r.daemon()
		d.says("is in sync")
		return r, d
	}
	after := want{"a": "10.0.0.1:80 10.0.0.2:80"}
	t.Run("full", func(t *testing.T) {
		r, d := start(t)
		filler := filepath.Join(filepath.Dir(r.conf), "filler")
		if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("got %v, want a full disk", err)
		}
		before, err := os.ReadFile(r.conf)
		if err != nil {
			t.Fatal(err)
		}
		posts := r.nginx[0].Posts()
		r.up("a", "10.0.0.2:80")
		d.says("the conf file can't be written: nothing is pushed")
		d.says("no space left on device")
		d.says(r.conf)
		now, err := os.ReadFile(r.conf)
		if err != nil || string(now) != string(before) || r.nginx[0].Posts() != posts {
			t.Errorf("%d posts, the file is %q, %v", r.nginx[0].Posts()-posts, now, err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		r.inSync(after)
	})
	t.Run("read-only", func(t *testing.T) {
		r, d := start(t)
		posts := r.nginx[0].Posts()
		under := mount(t, filepath.Dir(r.conf), unix.MS_RDONLY)
		r.up("a", "10.0.0.2:80")
		d.says("the conf file can't be written: nothing is pushed")
		d.says("read-only file system")
		if n := r.nginx[0].Posts() - posts; n != 0 {
			t.Errorf("%d posts", n)
		}
		under()
		r.inSync(after)
	})
	t.Run("full at the start", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		mount(t, filepath.Dir(r.conf), 0)
		r.configure()
		if err := os.WriteFile(filepath.Join(filepath.Dir(r.conf), "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("got %v, want a full disk", err)
		}
		r.up("a", "10.0.0.1:80")
		r.once().wants(t, status.ExitFailed, r.conf, "no space left on device")
		if gen, _, err := persist.Read(r.conf); err != nil || gen.Number != 0 || r.nginx[0].Posts() != 0 {
			t.Errorf("generation %d, %d posts, %v", gen.Number, r.nginx[0].Posts(), err)
		}
		if entries, err := filepath.Glob(filepath.Join(filepath.Dir(r.conf), ".*tmp*")); err != nil || len(entries) > 0 {
			t.Errorf("left behind: %s, %v", strings.Join(entries, " "), err)
		}
	})
}

// check said ok for a file that it could not write.
func TestCheckTriesWhetherItMayWrite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.configure()
	r.up("a", "10.0.0.1:80")
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitInSync, "# file "+r.conf+": ok", "# socket "+r.socket+": ok")
	mount(t, filepath.Dir(r.socket), unix.MS_RDONLY)
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitFailed, "# socket "+r.socket+": failed: user 0 can't write its folder")
	mount(t, filepath.Dir(r.conf), unix.MS_RDONLY)
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitFailed, "# file "+r.conf+": failed: user 0 can't write the folder "+filepath.Dir(r.conf),
		"read-only file system")
}

// mount puts a tiny disk over a folder, until the test or who calls what it returns
// takes it away.
func mount(t *testing.T, dir string, flags uintptr) (unmount func()) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "size=64k"); err != nil {
		t.Skipf("only root can mount a small disk: %v", err)
	}
	there := true
	unmount = func() {
		if !there {
			return
		}
		there = false
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(unmount)
	return unmount
}
