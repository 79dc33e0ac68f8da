package persist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/upstream"
)

// grownTwice has two generations in shards, of which the second changed one upstream, and is closed.
func grownTwice(t *testing.T) (path string, first, second generation.Generation, changed string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, machine{}, path)
	first = saved(t, f, generation.Generation{Set: services(60, 2)})
	f.Archive()
	before := shardFiles(t, path)
	second = saved(t, f, generation.Generation{Set: first.Set.With([]upstream.Upstream{service(7, 1)}, nil), Guard: longAccount(200)})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range shardFiles(t, path) {
		if strings.HasSuffix(name, shardSuffix) && !slices.Contains(before, name) {
			changed = filepath.Join(shardsFolder(path), name)
		}
	}
	return path, first, second, changed
}

func longAccount(n int) []string {
	lines := []string{"sum 0"}
	for i := range n {
		lines = append(lines, fmt.Sprintf("left service-%d 10.0.0.1:8080 2026-01-02T03:04:05Z 1 -", i))
	}
	return lines
}

// A shard that is missing or can't be read is damage: the history takes its place, never a smaller state.
func TestADamagedShardGivesWayToTheHistory(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, shard string){
		"missing":      func(t *testing.T, shard string) { remove(t, shard) },
		"empty":        func(t *testing.T, shard string) { write(t, shard, "") },
		"blank":        func(t *testing.T, shard string) { write(t, shard, "\n\n") },
		"NUL bytes":    func(t *testing.T, shard string) { write(t, shard, strings.Repeat("\x00", 500)) },
		"cut":          func(t *testing.T, shard string) { write(t, shard, confText(t, shard)[:100]) },
		"another file": func(t *testing.T, shard string) { write(t, shard, "server {}\n") },
		"another's name": func(t *testing.T, shard string) {
			write(t, shard, "upstream Service-10000 {\n    server 10.0.0.1:1 weight=1 max_fails=1 fail_timeout=1s;\n}\n")
		},
		"a folder":    func(t *testing.T, shard string) { remove(t, shard); must(t, os.Mkdir(shard, 0o700)) },
		"all of them": func(t *testing.T, shard string) { must(t, os.Rename(filepath.Dir(shard), filepath.Dir(shard)+"-away")) },
	} {
		t.Run(name, func(t *testing.T) {
			path, first, second, shard := grownTwice(t)
			bad := confText(t, path)
			spoil(t, shard)
			if _, _, err := Read(path); err == nil || !strings.Contains(err.Error(), shardsFolder(path)) {
				t.Errorf("it is read: %v", err)
			}
			if name == "a folder" { // somebody's, and no damage of ours
				return
			}
			if name == "all of them" {
				f := sharding(t, machine{}, path)
				if g, err := f.Load(); !errors.Is(err, errDamaged) {
					t.Errorf("loaded generation %d of %d upstreams, %v", g.Number, g.Set.Len(), err)
				}
				return
			}
			f := sharding(t, machine{}, path)
			g := loaded(t, f)
			if g.Number != first.Number || !g.Set.Identical(first.Set) {
				t.Fatalf("loaded generation %d of %d upstreams", g.Number, g.Set.Len())
			}
			if h, err := guard.ReadHistory(g.Guard, time.Now(), time.Minute); err == nil {
				t.Errorf("the guard's account is %v", h)
			}
			aside, err := Damaged(path)
			if err != nil || len(aside) != 1 || confText(t, aside[0]) != bad {
				t.Errorf("kept aside: %q, %v", aside, err)
			}
			is, edited, err := Read(path)
			if err != nil || edited || !is.Set.Identical(first.Set) {
				t.Errorf("it reads back as %d upstreams, %v, %v", is.Set.Len(), edited, err)
			}
			if next := saved(t, f, generation.Generation{Set: second.Set}); next.Number != second.Number+1 {
				t.Errorf("the next one is %d", next.Number)
			}
		})
	}
}

// While the daemon runs it knows the state: what is missing is written again, under the same number.
func TestAShardThatVanishesIsWrittenAgain(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, folder string, names []string){
		"one is missing": func(t *testing.T, folder string, names []string) { remove(t, filepath.Join(folder, names[3])) },
		"all are":        func(t *testing.T, folder string, _ []string) { must(t, os.RemoveAll(folder)) },
		"one is edited": func(t *testing.T, folder string, names []string) {
			write(t, filepath.Join(folder, names[3]), "upstream x {\n    server 10.9.9.9:1 weight=1 max_fails=1 fail_timeout=1s;\n}\n")
		},
		"the notes are": func(t *testing.T, folder string, names []string) {
			i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, notesSuffix) })
			write(t, filepath.Join(folder, names[i]), "# guard: nothing\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f := sharding(t, machine{}, path)
			g := saved(t, f, generation.Generation{Set: services(60, 2), Guard: longAccount(300)})
			before := confText(t, path)
			spoil(t, shardsFolder(path), shardFiles(t, path))
			again := saved(t, f, g)
			if again.Number != g.Number || again.Digest != g.Digest {
				t.Errorf("saved generation %d", again.Number)
			}
			is, edited, err := Read(path)
			if err != nil || edited || !is.Set.Identical(g.Set) || !slices.Equal(is.Guard, g.Guard) {
				t.Errorf("it reads back as %d upstreams with %d lines, %v, %v", is.Set.Len(), len(is.Guard), edited, err)
			}
			if _, after, _ := strings.Cut(confText(t, path), "\n\n"); !strings.HasSuffix(before, after) {
				t.Errorf("the file is\n%s", after)
			}
		})
	}
}

// A careful edit is taken as it is, as in one file, and told.
func TestAnEditedShardIsTaken(t *testing.T) {
	const byHand = "\nupstream by-hand {\n    server 10.9.9.9:1 weight=1 max_fails=1 fail_timeout=1s;\n}\n"
	for name, in := range map[string]func(path, shard string) string{
		"in a shard":      func(_, shard string) string { return shard },
		"in the manifest": func(path, _ string) string { return path },
	} {
		t.Run(name, func(t *testing.T) {
			path, _, second, shard := grownTwice(t)
			file := in(path, shard)
			write(t, file, confText(t, file)+byHand)
			log, said := test.NewNullLogger()
			c := DefaultConfig()
			c.Path, c.ShardAbove = path, "1KB"
			f, err := Open(c, log)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			g := loaded(t, f)
			if _, is := g.Set.Get("by-hand"); !is || g.Set.Len() != second.Set.Len()+1 {
				t.Errorf("loaded %d upstreams", g.Set.Len())
			}
			if len(said.AllEntries()) != 1 || !strings.Contains(said.LastEntry().Message, "the file was edited") {
				t.Errorf("it said %v", said.AllEntries())
			}
			if next := saved(t, f, generation.Generation{Set: second.Set}); next.Number != second.Number+1 {
				t.Errorf("the next one is %d", next.Number)
			}
			if is, edited, err := Read(path); err != nil || edited || !is.Set.Identical(second.Set) {
				t.Errorf("it reads back as %d upstreams, %v, %v", is.Set.Len(), edited, err)
			}
		})
	}
}

// What another process appends to the notes counts for nobody, and is no damage: its manifest never came.
func TestNotesThatAnotherProcessAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, machine{}, path)
	g := saved(t, f, generation.Generation{Set: services(60, 2), Guard: longAccount(300)})
	names := shardFiles(t, path)
	notes := filepath.Join(shardsFolder(path), names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, notesSuffix) })])
	for range 2 {
		write(t, notes, confText(t, notes)+"# change: 0 1 0\n")
		before, err := os.Stat(path)
		must(t, err)
		if again := saved(t, f, g); again.Number != g.Number {
			t.Errorf("saved generation %d", again.Number)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("the manifest was written again, %v", err)
		}
	}
	g.Guard = longAccount(301) // another journal, for the end of this one is somebody else's
	saved(t, f, g)
	if is, edited, err := Read(path); err != nil || edited || !slices.Equal(is.Guard, g.Guard) {
		t.Errorf("it reads back with %d lines, %v, %v", len(is.Guard), edited, err)
	}
}

// Notes that are lost cost the guard's account, and nothing else.
func TestLostNotes(t *testing.T) {
	path, _, second, _ := grownTwice(t)
	for _, name := range shardFiles(t, path) {
		if strings.HasSuffix(name, notesSuffix) {
			remove(t, filepath.Join(shardsFolder(path), name))
		}
	}
	f := sharding(t, machine{}, path)
	g := loaded(t, f)
	if g.Number != second.Number || !g.Set.Identical(second.Set) {
		t.Errorf("loaded generation %d of %d upstreams", g.Number, g.Set.Len())
	}
	if _, err := guard.ReadHistory(g.Guard, time.Now(), time.Minute); err == nil {
		t.Errorf("the guard's account is %q", g.Guard)
	}
}

// TestWhatNobodyNamesGoes: not at once, for an nginx may be reading the file that named it, and not what the history has.
func TestWhatNobodyNamesGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := sharding(t, machine{}, path, func(c *Config) { c.History = 2 })
	loaded(t, f)
	set := services(60, 2)
	for n := range 6 {
		set = set.With([]upstream.Upstream{service(7, n+1)}, nil)
		saved(t, f, generation.Generation{Set: set, Guard: longAccount(100 + n)})
		f.Archive()
	}
	named := func() map[string]bool {
		t.Helper()
		all, _, err := f.named()
		must(t, err)
		return all
	}
	write(t, filepath.Join(shardsFolder(path), "not ours"), "")
	temp := filepath.Join(shardsFolder(path), keepTemp+"X")
	write(t, temp, "")
	all := len(shardFiles(t, path))
	if n := len(named()); all-n < 5 {
		t.Fatalf("of %d files %d are named", all, n)
	}
	begun := time.Now()
	f.sweep(begun.Add(grace)) // now they are known
	f.sweep(begun.Add(grace + grace/2))
	if n := len(shardFiles(t, path)); n != all {
		t.Errorf("%d of %d files are left at once", n, all)
	}
	f.sweep(begun.Add(2*grace + time.Second))
	want := named()
	for _, name := range shardFiles(t, path) {
		if !want[name] && name != "not ours" {
			t.Errorf("%s stays", name)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("%v are gone", want)
	}
	if f.sweepDue {
		t.Error("it goes on looking")
	}
	for _, n := range []int{6, 5} {
		if _, err := ReadGeneration(path, n); err != nil {
			t.Error(err)
		}
	}

	// What a crash left is gone with the next start, when it is old.
	must(t, f.Close())
	left := filepath.Join(shardsFolder(path), contentName([]byte("left"))+shardSuffix)
	young := filepath.Join(shardsFolder(path), contentName([]byte("young"))+shardSuffix)
	write(t, left, "left")
	write(t, young, "young")
	write(t, temp, "")
	old := time.Now().Add(-2 * grace)
	must(t, os.Chtimes(left, old, old))
	now := time.Now() // an nginx may be reading the file that named it
	must(t, os.Chtimes(path, now, now))
	f = sharding(t, machine{}, path)
	loaded(t, f)
	if !slices.Contains(shardFiles(t, path), filepath.Base(left)) {
		t.Error("it is gone although the conf file has just changed")
	}
	must(t, f.Close())
	must(t, os.Chtimes(path, old, old))
	write(t, temp, "")
	loaded(t, sharding(t, machine{}, path))
	is := shardFiles(t, path)
	if slices.Contains(is, filepath.Base(left)) || slices.Contains(is, filepath.Base(temp)) || !slices.Contains(is, filepath.Base(young)) {
		t.Errorf("after a start there are %q", is)
	}
}

// TestFormsOfOneState: another size or another folder is no other generation, and takes effect with the next write that
// makes sure of the file.
func TestFormsOfOneState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	g := generation.Generation{Set: services(60, 2), Leaving: []string{"old"}, Guard: longAccount(300), Frozen: []generation.Freeze{{Name: "web"}}}
	f := sharding(t, machine{}, path)
	first := saved(t, f, g)
	for _, as := range []struct{ above, include, want string }{
		{"0", "", "upstream Service-10000 {"},
		{"1KB", "/etc/nginx/up", "include /etc/nginx/up/.u.conf.shards/"},
		{"1KB", "", "include " + shardsFolder(path) + "/"},
		{"256KB", "", "upstream Service-10000 {"},
	} {
		must(t, f.Close())
		f = sharding(t, machine{}, path, func(c *Config) { c.ShardAbove, c.IncludeAs = as.above, as.include })
		is := loaded(t, f)
		again := saved(t, f, is)
		if again.Number != first.Number || again.Notes != first.Notes || !again.Set.Identical(first.Set) || !slices.Equal(again.Guard, g.Guard) ||
			!slices.Equal(again.Leaving, g.Leaving) || len(again.Frozen) != 1 {
			t.Errorf("as %v it is %+v", as, again)
		}
		if text := confText(t, path); !strings.Contains(text, "\n"+as.want) {
			t.Errorf("as %v the file is\n%.900s", as, text)
		}
		if is, edited, err := Read(path); err != nil || edited || !is.Set.Identical(first.Set) {
			t.Errorf("as %v it reads back as %d upstreams, %v, %v", as, is.Set.Len(), edited, err)
		}
	}
}

// TestNginxReadsAManifest has the real ones check each write, and start with the last.
func TestNginxReadsAManifest(t *testing.T) {
	for name, program := range nginxtest.Programs() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o755))
			path := filepath.Join(dir, "up", "u.conf")
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
			temp := "access_log off;"
			for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				temp += fmt.Sprintf(" %s_temp_path %s/%s;", kind, dir, kind)
			}
			main := filepath.Join(dir, "check.conf")
			write(t, main, "pid "+dir+"/pid;\nevents {}\nhttp { "+temp+"\ninclude "+filepath.Dir(path)+"/*.conf;\n}\n")
			f := sharding(t, machine{}, path, func(c *Config) { c.Check = []string{program, "-t", "-q", "-p", dir, "-c", main} })
			set := services(80, 3)
			for _, n := range []int{80, 60, 1, 80} {
				g := saved(t, f, generation.Generation{Set: services(n, 3), Guard: longAccount(300)})
				if sharded := strings.Contains(confText(t, path), "\n"+shardsKey); sharded != (n > 10) || g.Set.Len() != n {
					t.Errorf("%d upstreams, shards: %v", n, sharded)
				}
			}
			before := confText(t, path)
			write(t, filepath.Join(filepath.Dir(path), "other.conf"), "upstream Service-10100 { server 127.0.0.1:1; }\n")
			var check *CheckError
			if _, err := f.Save(t.Context(), generation.Generation{Set: services(101, 3)}); !errors.As(err, &check) || !strings.Contains(err.Error(), "duplicate upstream") {
				t.Errorf("nginx took it: %v", err)
			}
			if confText(t, path) != before {
				t.Error("the file of before is not back")
			}
			if is, edited, err := Read(path); err != nil || edited || !is.Set.Identical(set) {
				t.Errorf("it reads back as %d upstreams, %v, %v", is.Set.Len(), edited, err)
			}
			address := nginxtest.Free(t)
			nginxtest.Start(t, program, dir, "", "include "+filepath.Dir(path)+"/*.conf; server { listen "+address+"; return 204; }", address)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	must(t, os.Remove(path))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}
