package persist_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
)

// refusing is a check that fails while the file has three upstreams.
func refusing(path string) []string {
	return []string{"sh", "-c", `grep -q service-10002 "$1" || exit 0; echo "$1 is refused"; exit 3`, "sh", path}
}

func TestCheckSeesTheNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path, "grep", "-q", "service-10000", path)
	first := save(t, f, set(1, 1))
	same(t, load(t, f), first)
}

func TestTheOldFileGoesBackWhereTheCheckFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path, refusing(path)...)
	first := save(t, f, set(2, 1))
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the same again is checked again
		_, err := f.Save(t.Context(), generation.Generation{Set: set(3, 1)})
		wantError(t, err, path, "exit status 3", path+" is refused")
		var failed interface{ CheckFailed() bool }
		if !errors.As(err, &failed) || !failed.CheckFailed() {
			t.Errorf("%v does not say that the check failed", err)
		}
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("another file is in place, %v", err)
	}
	same(t, load(t, f), first)
	if got := files(t, dir); !slices.Equal(got, []string{"u.conf"}) {
		t.Errorf("found %q", got)
	}
	same(t, save(t, f, set(2, 1)), first)
	if g := save(t, f, set(1, 1)); g.Number != 2 {
		t.Errorf("got number %d, want 2", g.Number)
	}
}

func TestAFirstFileThatFailsTheCheckIsRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path, "false")
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, path, `check "false": exit status 1`)
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("found %q, want nothing", got)
	}
}

func TestAnEmptyFileGoesBackToo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	put(t, path, "")
	f, _ := opened(t, path, "false")
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, "exit status 1")
	if got := files(t, dir); !slices.Equal(got, []string{"u.conf"}) || text(t, path) != "" {
		t.Errorf("found %q, want the empty file", got)
	}
}

func TestNoCheckOfWhatNginxDoesNotRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path, "sh", "-c", `echo >> "$1"`, "sh", filepath.Join(dir, "runs"))
	save(t, f, set(1, 1), "gone")
	save(t, f, set(1, 1))
	if runs := text(t, filepath.Join(dir, "runs")); runs != "\n" {
		t.Errorf("the check ran %d times, want once", len(runs))
	}
}

func TestCheckThatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path, "/no/such/nginx", "-t")
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, path, `check "/no/such/nginx -t"`, "no such file or directory")
}

func TestOutputOfACheckIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path, "sh", "-c", `head -c 1000000 /dev/zero | tr '\0' x; printf 'the \033 end'; exit 1`)
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, ": …xxx", "xxxthe ? end")
	if n := len(err.Error()); n > 5000 {
		t.Errorf("the error has %d bytes", n)
	}
}

// hanging starts a check whose grandchild hangs, and says which process that is.
func hanging(dir string) []string {
	return []string{"sh", "-c", `sleep 600 & echo $! > "$1"; wait`, "sh", filepath.Join(dir, "pid")}
}

func TestACheckThatHangsIsKilledWithItsChildren(t *testing.T) {
	dir := t.TempDir()
	cfg := persist.DefaultConfig()
	cfg.Path, cfg.Check, cfg.CheckTimeout = filepath.Join(dir, "u.conf"), hanging(dir), 300*time.Millisecond
	f, err := persist.Open(cfg, logrus.New())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, "no answer within 300ms")
	gone(t, filepath.Join(dir, "pid"))
	if _, err := os.Stat(cfg.Path); err == nil {
		t.Error("the unchecked file is in place")
	}
}

func TestACheckEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path, hanging(dir)...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := f.Save(ctx, generation.Generation{Set: set(1, 1)})
		done <- err
	}()
	until(t, func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		return err == nil && strings.HasSuffix(string(text), "\n")
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	} else if strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v sounds like the limit", err)
	}
	gone(t, filepath.Join(dir, "pid"))
}

func TestACheckThatPassesAndLeavesAChild(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path, "sh", "-c", `sleep 600 & echo $! > "$1"`, "sh", filepath.Join(dir, "pid"))
	same(t, save(t, f, set(1, 1)), load(t, f))
	gone(t, filepath.Join(dir, "pid"))
}

// gone waits until the process whose id stands in the file is no more.
func gone(t *testing.T, path string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return true // nobody reaps it in a container without an init
		}
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
}

func until(t *testing.T, isSo func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !isSo(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("still not so after 10 s")
		}
	}
}

func TestAnUncheckedFileOfAKilledRunGivesWay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		there bool // a file was there before
	}{{"an old file", true}, {"a first file", false}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "u.conf")
			var first generation.Generation
			if tt.there {
				f, _ := opened(t, path)
				first = save(t, f, set(1, 1))
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			cmd, out := child(t, "check hangs", path)
			if line, err := out.ReadString('\n'); err != nil || line != "checking\n" {
				t.Fatalf("the other process said %q, %v", line, err)
			}
			if g, _, err := persist.Read(path); err != nil || g.Set.Len() != 2 {
				t.Fatalf("the unchecked file is not in place: %+v, %v", g, err)
			}
			kill(t, cmd)
			until(t, func() bool { _, err := os.Stat(path + ".running"); return err != nil })

			f, log := opened(t, path)
			same(t, load(t, f), first)
			if !strings.Contains(log.String(), "the previous one is back") {
				t.Errorf("logged %q", log)
			}
			want := []string{"u.conf"}
			if !tt.there {
				want = nil
			}
			if got := files(t, dir); !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}

func TestKilledBeforeTheNewFileCameIntoPlace(t *testing.T) {
	dir := t.TempDir()
	path, previous := filepath.Join(dir, "u.conf"), filepath.Join(dir, ".u.conf.previous")
	f, _ := opened(t, path)
	first := save(t, f, set(1, 1))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, previous); err != nil {
		t.Fatal(err)
	}
	f, log := opened(t, path)
	same(t, load(t, f), first)
	if got := files(t, dir); !slices.Equal(got, []string{"u.conf"}) || log.Len() > 0 {
		t.Errorf("found %q, logged %q", got, log)
	}
}
