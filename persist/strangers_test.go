package persist_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"swallowkeeper/persist"
)

// What other accounts of the machine may try with what stands beside the conf file.

func lockIn(dir string) string { return filepath.Join(dir, ".u.conf.lock") }

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// Whoever could read the lock could take it, and for good.
func TestTheLockIsForItsOwnerAlone(t *testing.T) {
	for _, test := range []struct {
		name         string
		folder, want os.FileMode
		there        os.FileMode // of a lock that an earlier version made; 0: none
	}{
		{"new", 0o755, 0o600, 0},
		{"of an earlier version", 0o755, 0o600, 0o644},
		{"new, in a folder of a group", 0o775, 0o660, 0},
		{"of an earlier version, in a folder of a group", 0o775, 0o640, 0o644},
		{"open to everybody", 0o777, 0o660, 0o666},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.there != 0 {
				put(t, lockIn(dir), "")
				if err := os.Chmod(lockIn(dir), test.there); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, test.folder); err != nil {
				t.Fatal(err)
			}
			f, _ := opened(t, filepath.Join(dir, "u.conf"))
			save(t, f, set(1, 1))
			if got := mode(t, lockIn(dir)); got != test.want {
				t.Errorf("the lock has mode %s, want %s", got, test.want)
			}
			if os.Geteuid() != 0 {
				return
			}
			other := exec.CommandContext(t.Context(), "/bin/sh", "-c", `: < "$0"`, lockIn(dir))
			other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
			if err := other.Run(); err == nil {
				t.Error("another account can open it")
			}
		})
	}
}

// A folder that a group may write is shared by accounts of that group: root's pass keeps none of them out.
func TestTheLockInAFolderOfAGroupIsTheGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 0, 4712); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o775); err != nil {
		t.Fatal(err)
	}
	opened(t, filepath.Join(dir, "u.conf"))
	if got, want := owner(t, lockIn(dir)), [2]int{0, 4712}; got != want || mode(t, lockIn(dir)) != 0o660 {
		t.Errorf("the lock has owner %v and mode %s, want %v", got, mode(t, lockIn(dir)), want)
	}
}

func TestALockThatIsNoFileOfItsOwn(t *testing.T) {
	for name, create := range map[string]func(t *testing.T, lock, victim string) error{
		"another name of a file": func(_ *testing.T, lock, victim string) error { return os.Link(victim, lock) },
		"a pipe":                 func(_ *testing.T, lock, _ string) error { return unix.Mkfifo(lock, 0o600) },
		"a folder":               func(_ *testing.T, lock, _ string) error { return os.Mkdir(lock, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			victim := filepath.Join(dir, "victim")
			put(t, victim, "precious")
			if err := create(t, lockIn(dir), victim); err != nil {
				t.Fatal(err)
			}
			if _, _, err := open(filepath.Join(dir, "u.conf")); err == nil {
				t.Error("it is taken")
			}
			if got := text(t, victim); got != "precious" {
				t.Errorf("the other file is now %q", got)
			}
		})
	}
}

// The account that has the folder puts a link in the history's place again and again, while root writes:
// nothing is written, removed or given away where the link leads.
func TestAHistoryThatIsSwappedMeanwhile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir, elsewhere := t.TempDir(), t.TempDir()
	path, history := filepath.Join(dir, "u.conf"), filepath.Join(dir, ".u.conf.history")
	if err := os.Chown(dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1", "2", "3", "4", "5", ".tmp-1"} {
		put(t, filepath.Join(elsewhere, name), "precious")
	}
	f := keeping(t, path, 2)
	load(t, f)

	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			away := filepath.Join(dir, fmt.Sprintf("away%d", i))
			_ = os.Rename(history, away)
			_ = os.Symlink(elsewhere, history)
			_ = os.Remove(history)
			_ = os.Rename(away, history)
		}
	})
	for n := range 300 {
		save(t, f, set(1+n%7, 1+n%3))
		f.Archive()
		_, _ = persist.ReadGeneration(path, 1) // it may be there or not
	}
	close(stop)
	swapping.Wait()

	left, err := os.ReadDir(elsewhere)
	if err != nil || len(left) != 6 {
		t.Errorf("there are %v, %v", left, err)
	}
	for _, e := range left {
		name := filepath.Join(elsewhere, e.Name())
		if got := text(t, name); got != "precious" || owner(t, name) != [2]int{0, os.Getegid()} {
			t.Errorf("%s is %q of %v", name, got, owner(t, name))
		}
	}
	if got := owner(t, elsewhere); got != [2]int{0, os.Getegid()} {
		t.Errorf("the folder was given to %v", got)
	}
}

// A generation that is a link, or a pipe, is none.
func TestAGenerationThatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	path, history := filepath.Join(dir, "u.conf"), filepath.Join(dir, ".u.conf.history")
	f := keeping(t, path, 5)
	save(t, f, set(1, 1))
	f.Archive()
	good := text(t, filepath.Join(history, "1"))
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, outside, good)
	link(t, outside, filepath.Join(history, "2"))
	if err := unix.Mkfifo(filepath.Join(history, "3"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := 2; n <= 3; n++ {
		if _, err := persist.ReadGeneration(path, n); err == nil {
			t.Errorf("%d is read", n)
		}
	}
	if _, err := persist.Headers(path); err != nil {
		t.Error(err)
	}
}
