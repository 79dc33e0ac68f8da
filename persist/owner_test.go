package persist_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// owner is who has the file; symbolic links are not followed.
func owner(t *testing.T, path string) [2]int {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return [2]int{int(stat.Uid), int(stat.Gid)}
}

// A pass by root's hand must not lock a daemon out that runs as the folder's owner.
func TestWhatRootMakesIsTheFoldersOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for _, test := range []struct {
		name         string
		folder, want [2]int
	}{
		{"of another account", [2]int{4711, 4712}, [2]int{4711, 4712}},
		{"of root", [2]int{0, 4712}, [2]int{0, os.Getegid()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chown(dir, test.folder[0], test.folder[1]); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "u.conf")
			lock := filepath.Join(dir, ".u.conf.lock")
			f, _ := opened(t, path)
			save(t, f, set(1, 1))
			for _, made := range []string{path, lock} {
				if got := owner(t, made); got != test.want {
					t.Errorf("%s has owner %v, want %v", made, got, test.want)
				}
			}
			save(t, f, set(2, 1))
			if got := owner(t, path); got != test.want {
				t.Errorf("the next file has owner %v, want %v", got, test.want)
			}
		})
	}
}

func TestALockThatWasThereKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, ".u.conf.lock")
	put(t, lock, "")
	if err := os.Chown(lock, 4713, 4714); err != nil {
		t.Fatal(err)
	}
	opened(t, filepath.Join(dir, "u.conf"))
	if got, want := owner(t, lock), [2]int{4713, 4714}; got != want {
		t.Errorf("the lock has owner %v, want %v", got, want)
	}
}

// Whoever may write the folder must not choose where a process id is written.
func TestALockThatIsALinkIsRefused(t *testing.T) {
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	put(t, victim, "precious")
	if err := os.Symlink(victim, filepath.Join(dir, ".u.conf.lock")); err != nil {
		t.Fatal(err)
	}
	_, _, err := open(filepath.Join(dir, "u.conf"))
	if !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v, want ELOOP", err)
	}
	if got := text(t, victim); got != "precious" {
		t.Errorf("the file behind the link is now %q", got)
	}
}
