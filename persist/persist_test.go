package persist_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

var (
	_ syncer.Store     = (*persist.File)(nil)
	_ syncer.Overtaken = (*persist.File)(nil)
)

// TestMain also is the other process that some tests need: see child.
func TestMain(m *testing.M) {
	if os.Getenv(childRole) != "" {
		os.Exit(runChild())
	}
	goleak.VerifyTestMain(m)
}

// opened is a File at path whose log the test can read.
func opened(t *testing.T, path string, check ...string) (*persist.File, *bytes.Buffer) {
	t.Helper()
	f, log, err := open(path, check...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, log
}

func open(path string, check ...string) (*persist.File, *bytes.Buffer, error) {
	cfg := persist.DefaultConfig()
	cfg.Path, cfg.Check = path, check
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	f, err := persist.Open(cfg, log)
	return f, &out, err
}

// set has n upstreams of m servers. The same numbers make the same set.
func set(n, m int) upstream.Set {
	list := make([]upstream.Upstream, n)
	for i := range list {
		u := upstream.Upstream{Name: "service-" + strconv.Itoa(10000+i), Options: upstream.Options{Keepalive: 20}}
		for j := range m {
			u.Servers = append(u.Servers, upstream.Server{
				Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j + 1)}), 8080),
				Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "consul@127.0.0.1:8500",
			})
		}
		list[i] = u
	}
	return upstream.NewSet(list)
}

func save(t *testing.T, f *persist.File, s upstream.Set, leaving ...string) generation.Generation {
	t.Helper()
	g, err := f.Save(t.Context(), generation.Generation{Set: s, Leaving: leaving})
	if err != nil {
		t.Fatal(err)
	}
	f.Archive()
	return g
}

func load(t *testing.T, f *persist.File) generation.Generation {
	t.Helper()
	g, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func same(t *testing.T, got, want generation.Generation) {
	t.Helper()
	if got.Number != want.Number || !got.Time.Equal(want.Time) || got.Digest != want.Digest ||
		!slices.Equal(got.Leaving, want.Leaving) || !got.Set.Identical(want.Set) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// files lists what is in the folder, apart from the lock.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") && !strings.HasSuffix(e.Name(), ".history") && !strings.HasSuffix(e.Name(), ".shards") {
			names = append(names, e.Name())
		}
	}
	return names
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Fatalf("got error %v, want one with %q", err, p)
		}
	}
}

func TestTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	if _, err := f.Save(t.Context(), generation.Generation{Time: at, Set: set(2, 1), Leaving: []string{"b", "a", "b"}}); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	got := text(t, path)
	first, _, _ := strings.Cut(got, "\n")
	if of := fmt.Sprintf(`^# Written by swallowkeeper on %s \(process %d, [A-Z2-7]{8}\): edits are lost\. See docs/operation\.md\. Notes 1\.$`,
		regexp.QuoteMeta(host), os.Getpid()); !regexp.MustCompile(of).MatchString(first) {
		t.Errorf("the first line is %s", first)
	}
	want := first + `
# generation: 1
# time: 2026-01-02T03:04:05.6Z
# digest: sha256:` + load(t, f).Digest + `
# leaving: a
# leaving: b

upstream service-10000 {
    keepalive 20;
    server 10.0.0.1:8080 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
}

upstream service-10001 {
    keepalive 20;
    server 10.0.1.1:8080 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLoadReturnsWhatWasSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	if g := load(t, f); g.Number != 0 || g.Set.Len() != 0 {
		t.Errorf("got %+v of no file, want the zero Generation", g)
	}
	one := save(t, f, set(3, 2), "gone")
	if one.Number != 1 || one.Time.IsZero() {
		t.Errorf("got number %d at %s, want 1 at some time", one.Number, one.Time)
	}
	same(t, load(t, f), one)
	two := save(t, f, set(4, 2))
	if two.Number != 2 {
		t.Errorf("got number %d, want 2", two.Number)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	g, edited, err := persist.Read(path)
	if err != nil || edited {
		t.Fatalf("edited %v, %v", edited, err)
	}
	same(t, g, two)
	again, _ := opened(t, path)
	same(t, load(t, again), two)
	if three := save(t, again, set(0, 0)); three.Number != 3 {
		t.Errorf("got number %d, want 3", three.Number)
	}
	if g := load(t, again); g.Number != 3 || g.Set.Len() != 0 {
		t.Errorf("got %+v, want the empty generation 3", g)
	}
}

func TestSaveLeavesUnchangedContentAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	first := save(t, f, set(3, 2), "gone")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	same(t, save(t, f, set(3, 2), "gone"), first)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, _ = opened(t, path) // and without a Load
	same(t, save(t, f, set(3, 2), "gone"), first)
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was written again")
	}

	// Only the list of those that leave differs: the same generation, written again.
	now := save(t, f, set(3, 2))
	if now.Number != first.Number || !now.Time.Equal(first.Time) || now.Digest != first.Digest {
		t.Errorf("got %+v, want generation 1 as it was", now)
	}
	if g := load(t, f); len(g.Leaving) != 0 {
		t.Errorf("got leaving %q, want none", g.Leaving)
	}
}

func TestNotesAreKept(t *testing.T) {
	f, _ := opened(t, filepath.Join(t.TempDir(), "u.conf"))
	first := save(t, f, set(3, 2))
	for _, names := range [][]string{{"b", "a"}, {"a"}, nil} {
		g, err := f.Save(t.Context(), generation.Generation{Set: set(3, 2), Leaving: names, Pushing: names, Strangers: names})
		if err != nil || g.Number != first.Number {
			t.Fatalf("saved %+v, %v", g, err)
		}
		want := slices.Sorted(slices.Values(names))
		if g := load(t, f); !slices.Equal(g.Leaving, want) || !slices.Equal(g.Pushing, want) || !slices.Equal(g.Strangers, want) || g.Digest != first.Digest {
			t.Errorf("read leaving %q, pushing %q, want %q", g.Leaving, g.Pushing, want)
		}
	}
}

func TestWhatTheGuardRemembersIsKept(t *testing.T) {
	f, _ := opened(t, filepath.Join(t.TempDir(), "u.conf"))
	first := save(t, f, set(3, 2))
	for _, lines := range [][]string{{"sum 00", "all 0 40@noon"}, {"sum 01"}, nil} {
		g, err := f.Save(t.Context(), generation.Generation{Set: set(3, 2), Guard: lines})
		if err != nil || !slices.Equal(g.Guard, lines) || g.Number != first.Number {
			t.Errorf("saved %+v, %v", g, err)
		}
		if g := load(t, f); !slices.Equal(g.Guard, lines) || g.Digest != first.Digest {
			t.Errorf("read %q, want %q", g.Guard, lines)
		}
	}
}

// A file of a version that wrote a base loads, and loses it with the next write.
func TestBaseIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	save(t, f, set(3, 2))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Replace(string(text), "\n\n", "\n# base: 40\n\n", 1)
	if err := os.WriteFile(path, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	if g, edited, err := persist.Read(path); err != nil || edited || g.Base != 40 || g.Number != 1 {
		t.Errorf("read %+v, %v, %v", g, edited, err)
	}
}

func TestSaveRefusesWhatNginxWould(t *testing.T) {
	good := set(1, 1)
	bad := func(change func(*upstream.Upstream)) upstream.Set {
		u, _ := good.Get("service-10000")
		u.Servers = slices.Clone(u.Servers)
		change(&u)
		return upstream.NewSet([]upstream.Upstream{u})
	}
	web := func(name string) upstream.Upstream { u, _ := good.Get("service-10000"); u.Name = name; return u }
	for _, tt := range []struct {
		name    string
		set     upstream.Set
		leaving string
		want    string
	}{
		{name: "name", set: bad(func(u *upstream.Upstream) { u.Name = "a;b" }), want: `upstream "a;b": the name has`},
		{name: "no server", set: bad(func(u *upstream.Upstream) { u.Servers = nil }), want: "it has no server"},
		{name: "host", set: bad(func(u *upstream.Upstream) { u.Servers[0].Origin, u.Servers[0].Host = "r", "lb\nx" }), want: "it could not be read back"},
		{name: "weight", set: bad(func(u *upstream.Upstream) { u.Servers[0].Weight = 0 }), want: "weight 0 is not"},
		{name: "method", set: bad(func(u *upstream.Upstream) { u.Options.Method = "zone" }), want: "unknown balancing method"},
		{name: "one name", set: upstream.NewSet([]upstream.Upstream{web("Web"), web("web")}), want: "upstreams Web and web are one to nginx"},
		{name: "leaving", set: good, leaving: "a\nb", want: `leaving upstream "a\nb"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f, _ := opened(t, path)
			g := generation.Generation{Set: tt.set}
			if tt.leaving != "" {
				g.Leaving = []string{tt.leaving}
			}
			_, err := f.Save(t.Context(), g)
			wantError(t, err, "save the conf file "+path, tt.want)
			if left := files(t, filepath.Dir(path)); len(left) != 0 {
				t.Errorf("found %q, want nothing", left)
			}
		})
	}
}

func TestLoadOfOtherFiles(t *testing.T) {
	scratch := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, scratch)
	save(t, f, set(2, 1), "gone")
	ours := text(t, scratch)
	header, _, _ := strings.Cut(ours, "\n\n")
	for _, tt := range []struct{ name, content, want string }{
		{"foreign", "upstream a { server 10.0.0.1:80; }\n", "u.conf: it was not written by swallowkeeper and is left alone: move it away"},
		{"zeros of a crash", strings.Repeat("\x00", 100), "it was not written by swallowkeeper"},
		{"cut within the first line", ours[:40], "line 1: the file ends within its header"},
		{"cut within the header", ours[:100], "the file ends within its header: correct that, or move the file away"},
		{"cut behind the header", header + "\n\n", "line 6: found no upstream although the header says there are some"},
		{"cut within a block", ours[:len(ours)-10], "line 14: found"},
		{"cut before the end of a block", strings.TrimSuffix(ours, "}\n"), "line 14: found the end of the text, expected }"},
		{"no number", strings.Replace(ours, "generation: 1", "generation: x", 1), `line 2: found generation "x"`},
		{"number 0", strings.Replace(ours, "generation: 1", "generation: 0", 1), `line 2: found generation "0"`},
		{"no generation", strings.Replace(ours, "generation:", "generatio:", 1), `line 2: found "# generatio: 1", expected "# generation: "`},
		{"bad time", strings.Replace(ours, "time: 2", "time: x", 1), "line 3: found time"},
		{"bad digest", strings.Replace(ours, "sha256:", "sha256:x", 1), "line 4: found digest"},
		{"bad base", strings.Replace(ours, "# leaving: gone", "# base: -1\n# leaving: gone", 1), `line 5: found base "-1"`},
		{"bad leaving", strings.Replace(ours, "leaving: gone", "leaving: ../x", 1), `line 5: found leaving "../x"`},
		{"a further comment", strings.Replace(ours, "# leaving", "# hello", 1), `line 5: found "# hello: gone", expected the empty line`},
		{"bad edit", strings.Replace(ours, "weight=1", "weight=x", 1), `line 9: invalid parameter "weight=x": correct that, or move the file away`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			put(t, path, tt.content)
			f, _ := opened(t, path)
			_, err := f.Load()
			wantError(t, err, path, tt.want)
			_, err = f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
			wantError(t, err, path, tt.want)
			_, _, err = persist.Read(path)
			wantError(t, err, path, tt.want)
			if strings.HasPrefix(tt.name, "foreign") != errors.Is(err, persist.ErrForeign) && tt.name != "zeros of a crash" {
				t.Errorf("ErrForeign does not tell the cause of %v", err)
			}
			if got := text(t, path); got != tt.content {
				t.Errorf("the file was changed to\n%s", got)
			}
		})
	}
}

func TestAnEmptyFileIsNoneYet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	put(t, path, "")
	f, log := opened(t, path)
	if g := load(t, f); g.Number != 0 {
		t.Errorf("got %+v, want the zero Generation", g)
	}
	if g := save(t, f, set(1, 1)); g.Number != 1 {
		t.Errorf("got number %d, want 1", g.Number)
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", log)
	}
}

func TestAHugeFileIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	put(t, path, "x")
	if err := os.Truncate(path, 1<<30); err != nil { // with a hole: it takes no room
		t.Fatal(err)
	}
	_, _, err := persist.Read(path)
	wantError(t, err, "it has 1073741824 bytes, at most")
}

func TestReadTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := persist.Read(filepath.Join(dir, "u.conf")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("found %v, %v, want an empty folder", entries, err)
	}
}

func TestEditedBeforeTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	first := save(t, f, set(2, 1))
	ours := text(t, path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, path, strings.Replace(ours, "weight=1", "weight=7", 1))

	if _, edited, err := persist.Read(path); err != nil || !edited {
		t.Errorf("edited %v, %v, want true", edited, err)
	}
	f, log := opened(t, path)
	g := load(t, f)
	if u, _ := g.Set.Get("service-10000"); u.Servers[0].Weight != 7 || g.Digest == first.Digest {
		t.Errorf("got %+v, want the edited set and its digest", g)
	}
	if !strings.Contains(log.String(), "edited") {
		t.Errorf("logged %q, want a warning", log)
	}
	// What the header says is not what is there.
	if g := save(t, f, set(2, 1)); g.Number != 2 {
		t.Errorf("got number %d, want 2", g.Number)
	}
	if got := text(t, path); strings.Contains(got, "weight=7") {
		t.Errorf("the edit is still there:\n%s", got)
	}
}

func TestChangedWhileRunning(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, path, ours string)
		log    string
		err    string
	}{
		{"edited", func(t *testing.T, path, ours string) {
			put(t, path, strings.Replace(ours, "weight=1", "weight=7", 1))
		}, "changed by someone else", ""},
		{"header edited", func(t *testing.T, path, ours string) {
			put(t, path, strings.Replace(ours, "# digest: sha256:", "# digest: sha256:"+strings.Repeat("0", 64)+"\n#", 1))
		}, "changed by someone else", ""},
		{"digest edited", func(t *testing.T, path, ours string) {
			at := strings.Index(ours, "sha256:") + len("sha256:")
			put(t, path, ours[:at]+strings.Repeat("0", 64)+ours[at+64:])
		}, "changed by someone else", ""},
		{"broken", func(t *testing.T, path, ours string) { put(t, path, ours+"hello") }, "changed by someone else", ""},
		{"replaced by an old copy", func(t *testing.T, path, _ string) {
			other := filepath.Join(t.TempDir(), "u.conf")
			f, _ := opened(t, other)
			save(t, f, set(1, 1))
			put(t, path, text(t, other))
		}, "changed by someone else", ""},
		{"removed", func(t *testing.T, path, _ string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "vanished", ""},
		{"emptied", func(t *testing.T, path, _ string) { put(t, path, "") }, "vanished", ""},
		{"foreign", func(t *testing.T, path, _ string) { put(t, path, "hello\n") }, "", "not written by swallowkeeper"},
		{"touched", func(t *testing.T, path, _ string) {
			if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f, log := opened(t, path)
			first := save(t, f, set(2, 1))
			ours := text(t, path)
			tt.change(t, path, ours)
			g, err := f.Save(t.Context(), generation.Generation{Set: set(2, 1)})
			if tt.err != "" {
				wantError(t, err, tt.err)
				if got := text(t, path); got != "hello\n" {
					t.Errorf("the foreign file was changed to %q", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, g, first)
			if got := text(t, path); got != ours {
				t.Errorf("got\n%s\nwant\n%s", got, ours)
			}
			if tt.log == "" != (log.Len() == 0) || !strings.Contains(log.String(), tt.log) {
				t.Errorf("logged %q, want %q", log, tt.log)
			}
		})
	}
}

func TestModeAndOwnerAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	save(t, f, set(1, 1))
	stat := func() *syscall.Stat_t {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t)
	}
	if mode := stat().Mode & 0o777; mode != 0o644 {
		t.Errorf("a new file has mode %o, want 644", mode)
	}
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 4711, 4712
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	save(t, f, set(2, 1))
	if got := stat(); got.Mode&0o777 != 0o620 || int(got.Uid) != uid || int(got.Gid) != gid {
		t.Errorf("got mode %o, owner %d:%d, want 620, %d:%d", got.Mode&0o777, got.Uid, got.Gid, uid, gid)
	}
}

func TestWritesThroughSymlinks(t *testing.T) {
	dir, behind := t.TempDir(), t.TempDir()
	link, target := filepath.Join(dir, "u.conf"), filepath.Join(behind, "real.conf")
	for at, to := range map[string]string{link: filepath.Join(dir, "middle"), filepath.Join(dir, "middle"): target} {
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := opened(t, link)
	g := save(t, f, set(1, 1)) // to where nothing was yet
	save(t, f, set(2, 1))
	if got := files(t, behind); !slices.Equal(got, []string{"real.conf"}) {
		t.Errorf("found %q behind the link", got)
	}
	if to, err := os.Readlink(link); err != nil || g.Number != 1 {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if _, _, err := open(target); err == nil {
		t.Error("the target could be opened beside its link")
	}

	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "other"), link); err != nil {
		t.Fatal(err)
	}
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, link+" leads to "+filepath.Join(dir, "other")+" now")
}

func TestSymlinksInACircle(t *testing.T) {
	link := filepath.Join(t.TempDir(), "u.conf")
	if err := os.Symlink(link, link); err != nil {
		t.Fatal(err)
	}
	_, _, err := open(link)
	wantError(t, err, link, "too many levels of symbolic links")
}

func TestFolderIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	path := filepath.Join(dir, "u.conf")
	_, _, err := open(path)
	wantError(t, err, path, "no such file or directory")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not tell its cause", err)
	}

	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, _ := opened(t, path)
	first := save(t, f, set(1, 1))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err = f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, path, "no such file or directory")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	same(t, save(t, f, set(1, 1)), first)
}

func TestFolderIsAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	put(t, dir, "")
	_, _, err := open(filepath.Join(dir, "u.conf"))
	wantError(t, err, dir, "not a directory")
}

func TestThePathIsAFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f, _ := opened(t, path)
	_, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)})
	wantError(t, err, path, "it is no regular file")
}

func TestLeftoversOfAKillAreRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	put(t, filepath.Join(dir, ".u.conf.tmp-123"), "half")
	put(t, filepath.Join(dir, ".other.conf.tmp-123"), "someone else's")
	opened(t, path)
	if got := files(t, dir); !slices.Equal(got, []string{".other.conf.tmp-123"}) {
		t.Errorf("found %q", got)
	}
}

func TestNoFurtherFileIsIncludedByNginx(t *testing.T) {
	dir := t.TempDir()
	f, _ := opened(t, filepath.Join(dir, "u.conf"), "true")
	save(t, f, set(1, 1))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("found %v, %v, want the file, its lock and its history", entries, err)
	}
	for _, e := range entries { // glob(3), unlike Go's, leaves out names that begin with a dot
		if e.Name() != "u.conf" && (e.Name()[0] != '.' || strings.HasSuffix(e.Name(), ".conf")) {
			t.Errorf("%s may be included", e.Name())
		}
	}
}

func TestSaveAfterClose(t *testing.T) {
	f, _ := opened(t, filepath.Join(t.TempDir(), "u.conf"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1)}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestSaveAfterTheContextEnded(t *testing.T) {
	f, _ := opened(t, filepath.Join(t.TempDir(), "u.conf"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Save(ctx, generation.Generation{Set: set(1, 1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

func TestLockOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	cmd, out := child(t, "hold", path)
	if line, err := out.ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	_, _, err := open(path)
	var locked *persist.LockedError
	if !errors.As(err, &locked) || locked.PID != cmd.Process.Pid {
		t.Fatalf("got %v, want a *LockedError with process %d", err, cmd.Process.Pid)
	}
	wantError(t, err, fmt.Sprintf("process %d writes it already", cmd.Process.Pid))

	kill(t, cmd)
	f, _ := opened(t, path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), ".u.conf.lock")); err != nil {
		t.Errorf("the lock's file is gone: %v", err)
	}
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
}

// What one Save kept of its blocks does not show in a later one.
func TestSaveOfManySetsInTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	for i, s := range []upstream.Set{set(3, 2), set(3, 3), set(1, 3), set(0, 0), set(4, 1), set(3, 2)} {
		g := save(t, f, s)
		if g.Number != i+1 {
			t.Errorf("got number %d, want %d", g.Number, i+1)
		}
		same(t, load(t, f), g)
	}
}

func BenchmarkSave(b *testing.B) {
	f, _, err := open(filepath.Join(b.TempDir(), "u.conf"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sets := []upstream.Set{set(1000, 10), set(1000, 9)}
	run := func(b *testing.B, sets []upstream.Set) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := f.Save(b.Context(), generation.Generation{Set: sets[i%len(sets)]}); err != nil {
				b.Fatal(err)
			}
		}
	}
	one, _ := sets[0].Get("service-10500")
	one.Servers = one.Servers[1:]
	var rest []upstream.Upstream
	for u := range sets[0].All() {
		if u.Name == one.Name {
			u = one
		}
		rest = append(rest, u)
	}
	b.Run("one changed", func(b *testing.B) { run(b, []upstream.Set{sets[0], upstream.NewSet(rest)}) })
	b.Run("changed", func(b *testing.B) { run(b, sets) })
	b.Run("unchanged", func(b *testing.B) { run(b, sets[:1]) })
}
