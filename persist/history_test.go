package persist_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// keeping opens a conf file in a folder of its own that keeps so many generations.
func keeping(t *testing.T, path string, history int) *persist.File {
	t.Helper()
	cfg := persist.DefaultConfig()
	cfg.Path, cfg.History = path, history
	log := logrus.New()
	log.SetOutput(t.Output())
	f, err := persist.Open(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func numbers(t *testing.T, path string) []int {
	t.Helper()
	all, err := persist.History(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if _, err := persist.ReadGeneration(path, n); err != nil {
			t.Error(err)
		}
	}
	return all
}

func TestTheLastGenerationsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	if all := numbers(t, path); len(all) != 0 {
		t.Errorf("before the first there are %v", all)
	}
	f := keeping(t, path, 3)
	load(t, f)
	var want []generation.Generation
	for n := 1; n <= 5; n++ {
		g, err := f.Save(t.Context(), generation.Generation{
			Set: set(n, 2), Reason: reason.Text("reason " + strconv.Itoa(n)), Leaving: []string{"old"}, Guard: []string{"sum 00"},
		})
		if err != nil {
			t.Fatal(err)
		}
		f.Archive()
		g.Leaving, g.Guard = nil, nil // these count only while it is the newest
		want = append(want, g)
	}
	if diff := cmp.Diff([]int{5, 4, 3}, numbers(t, path)); diff != "" {
		t.Error(diff)
	}
	for _, w := range want[2:] {
		g, err := persist.ReadGeneration(path, w.Number)
		if err != nil {
			t.Fatal(err)
		}
		if g.Reason != w.Reason {
			t.Errorf("generation %d has the reason %q", g.Number, g.Reason)
		}
		same(t, g, w)
	}
	_, err := persist.ReadGeneration(path, 2)
	if !errors.Is(err, persist.ErrNotKept) {
		t.Errorf("of one that was pruned: %v", err)
	}
}

// TestTheHistoryIsOnNobodysWay: Save leaves it for later, and none is forgotten.
func TestTheHistoryIsOnNobodysWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 5)
	load(t, f)
	step := func(n int, want ...int) {
		t.Helper()
		if _, err := f.Save(t.Context(), generation.Generation{Set: set(n, 1)}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, numbers(t, path)); diff != "" {
			t.Errorf("after %d was saved: %s", n, diff)
		}
	}
	step(1)
	f.Archive()
	f.Archive() // there is nothing more to do
	step(2, 1)
	step(3, 2, 1) // the next one sees to it, before its memory is used again
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{3, 2, 1}, numbers(t, path)); diff != "" {
		t.Errorf("after the end: %s", diff)
	}
}

func TestNoHistoryIsKeptWhereNoneIsWanted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 0)
	save(t, f, set(1, 1))
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Errorf("found %v, %v", entries, err)
	}
}

func TestTheBaselineEntersTheHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 0)
	save(t, f, set(1, 1))
	f.Close()
	load(t, keeping(t, path, 5))
	if diff := cmp.Diff([]int{1}, numbers(t, path)); diff != "" {
		t.Error(diff)
	}
}

func TestHeaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	if all, err := persist.Headers(path); err != nil || len(all) != 0 {
		t.Errorf("without a history: %v, %v", all, err)
	}
	f := keeping(t, path, 4)
	load(t, f)
	var want []generation.Generation
	for n := 1; n <= 6; n++ {
		g, err := f.Save(t.Context(), generation.Generation{Set: set(n, 2), Reason: reason.Text("reason " + strconv.Itoa(n))})
		if err != nil {
			t.Fatal(err)
		}
		f.Archive()
		g.Set = upstream.Set{}
		want = append(want, g)
	}
	folder := filepath.Join(filepath.Dir(path), ".u.conf.history")
	whole, err := os.ReadFile(filepath.Join(folder, "6"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"4": "no header", "99": string(whole), ".tmp-1": "", "x": "y"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := persist.Headers(path)
	if err != nil || len(all) != 3 {
		t.Fatalf("the headers are %+v, %v", all, err)
	}
	for i, w := range []generation.Generation{want[2], want[4], want[5]} { // 4 has none, and 99 another's
		same(t, all[i], w)
		if all[i].Reason != w.Reason || all[i].Set.Len() != 0 {
			t.Errorf("the header of %d is %+v", w.Number, all[i])
		}
	}
}

func TestADamagedGenerationIsNotUsed(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"another server": func(s string) string { return strings.Replace(s, "server 10.", "server 11.", 1) },
		"cut off":        func(s string) string { return s[:len(s)/2] },
		"another number": func(s string) string { return strings.Replace(s, "generation: 1", "generation: 2", 1) },
		"empty":          func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			save(t, keeping(t, path, 5), set(1, 1))
			file := filepath.Join(filepath.Dir(path), ".u.conf.history", "1")
			before := text(t, file)
			put(t, file, damage(before))
			if text(t, file) == before {
				t.Fatal("nothing was damaged")
			}
			if _, err := persist.ReadGeneration(path, 1); err == nil || errors.Is(err, persist.ErrNotKept) {
				t.Errorf("reading it: %v", err)
			}
			kept, err := persist.History(path)
			if err != nil || !slices.Equal(kept, []int{1}) {
				t.Errorf("the history is %v, %v", kept, err)
			}
		})
	}
}

func TestAHistoryThatCannotBeWrittenStopsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 5)
	put(t, filepath.Join(filepath.Dir(path), ".u.conf.history"), "no folder")
	if g := save(t, f, set(1, 1)); g.Number != 1 {
		t.Errorf("saved generation %d", g.Number)
	}
}

func TestFreezesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	end := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	want := []generation.Freeze{{}, {Name: "s0", Until: end}}
	f := keeping(t, path, 5)
	first := save(t, f, set(1, 1))
	g, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1), Frozen: []generation.Freeze{want[1], want[0]}})
	if err != nil || g.Number != first.Number {
		t.Fatalf("a freeze made generation %d, %v", g.Number, err)
	}
	if diff := cmp.Diff(want, g.Frozen); diff != "" {
		t.Error(diff)
	}
	f.Close()
	if diff := cmp.Diff(want, load(t, keeping(t, path, 5)).Frozen); diff != "" {
		t.Error(diff)
	}
	if _, err := f.Save(t.Context(), generation.Generation{Frozen: []generation.Freeze{{Name: "a\nb"}}}); err == nil {
		t.Error("a freeze of a name with a line break is written")
	}
}

func TestAReasonStaysOnItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 5)
	if _, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1), Reason: reason.Text("a\n}\r\nb\u202e\u2028c\xff")}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if g := load(t, keeping(t, path, 5)); g.Reason.String() != `a\n}\r\nb\u202e\u2028c\xff` {
		t.Errorf("the reason is %q", g.Reason)
	}
	g := keeping(t, filepath.Join(t.TempDir(), "u.conf"), 5)
	if _, err := g.Save(t.Context(), generation.Generation{Set: set(1, 1), Reason: upstream.RolledBack(7)}); err != nil {
		t.Fatal(err)
	}
	if got := load(t, g).Reason; got != upstream.RolledBack(7) {
		t.Errorf("the reason is %q", got)
	}
}

func TestNoHistoryKeepsNobodyFromTheConfFile(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, folder string){
		"a file":       func(t *testing.T, folder string) { put(t, folder, "no folder") },
		"a stray link": func(t *testing.T, folder string) { link(t, filepath.Join(folder, "nowhere"), folder) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			spoil(t, filepath.Join(filepath.Dir(path), ".u.conf.history"))
			f := keeping(t, path, 5)
			load(t, f)
			if g := save(t, f, set(1, 1)); g.Number != 1 {
				t.Errorf("saved generation %d", g.Number)
			}
			if all, err := persist.History(path); err == nil {
				t.Errorf("the history is %v", all)
			}
		})
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// TestAHistoryThatLeadsElsewhere has a link in place of the folder: nothing is written or removed
// where it leads.
func TestAHistoryThatLeadsElsewhere(t *testing.T) {
	path, elsewhere := filepath.Join(t.TempDir(), "u.conf"), t.TempDir()
	names := []string{".tmp-a", "1", "2", "3"}
	for _, name := range names {
		put(t, filepath.Join(elsewhere, name), "not ours")
	}
	link(t, elsewhere, filepath.Join(filepath.Dir(path), ".u.conf.history"))
	f := keeping(t, path, 1)
	load(t, f)
	save(t, f, set(1, 1))
	entries, err := os.ReadDir(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
		if got := text(t, filepath.Join(elsewhere, e.Name())); got != "not ours" {
			t.Errorf("%s is now %q", e.Name(), got)
		}
	}
	if diff := cmp.Diff(names, left); diff != "" {
		t.Error(diff)
	}
}

// TestNumbersGoOnWithoutTheFile has the conf file lost, or an old one brought back: no number is
// used twice, and what is new enters the history.
func TestNumbersGoOnWithoutTheFile(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(t *testing.T, path, old string)
		want []int // afterwards
	}{
		{"lost", func(t *testing.T, path, _ string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, []int{6, 5, 4}},
		{"emptied", func(t *testing.T, path, _ string) { put(t, path, "") }, []int{6, 5, 4}},
		{"an old one", put, []int{6, 5, 4}},
		{"lost, and the last one damaged", func(t *testing.T, path, _ string) {
			put(t, filepath.Join(filepath.Dir(path), ".u.conf.history", "5"), "")
			put(t, path, "")
		}, []int{5, 4, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f := keeping(t, path, 3)
			old := ""
			for n := 1; n <= 5; n++ {
				save(t, f, set(n, 1))
				if n == 3 {
					old = text(t, path)
				}
			}
			f.Close()
			c.with(t, path, old)
			f = keeping(t, path, 3)
			load(t, f)
			save(t, f, set(9, 1))
			if diff := cmp.Diff(c.want, numbers(t, path)); diff != "" {
				t.Error(diff)
			}
			g, err := persist.ReadGeneration(path, c.want[0])
			if err != nil || g.Set.Len() != 9 {
				t.Errorf("the newest has %d upstreams, %v", g.Set.Len(), err)
			}
		})
	}
}

// TestNumbersOfTwoProcesses has a second one write generations of which the conf file says nothing any more when the
// first one writes next.
func TestNumbersOfTwoProcesses(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(t *testing.T, path, old string)
	}{
		{"lost", func(t *testing.T, path, _ string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"emptied", func(t *testing.T, path, _ string) { put(t, path, "") }},
		{"the first one's was brought back", put},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f := keeping(t, path, 9)
			save(t, f, set(1, 1))
			ours := text(t, path)
			for n := 2; n <= 3; n++ { // as another process leaves them, file and history
				put(t, filepath.Join(filepath.Dir(path), ".u.conf.history", strconv.Itoa(n)), elsewhere(t, n))
			}
			c.with(t, path, ours)
			if g := save(t, f, set(9, 1)); g.Number != 4 {
				t.Errorf("saved generation %d over one of another process", g.Number)
			}
			if g, err := persist.ReadGeneration(path, 2); err != nil || g.Set.Len() != 2 {
				t.Errorf("generation 2 has %d upstreams, %v", g.Set.Len(), err)
			}
		})
	}
}

// elsewhere is generation n of another process.
func elsewhere(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 9)
	for i := 1; i <= n; i++ {
		save(t, f, set(i, 1))
	}
	return text(t, path)
}

func TestForeignNumbersPushNothingOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 2)
	save(t, f, set(1, 1))
	for _, n := range []string{"100", "101", "102"} {
		put(t, filepath.Join(filepath.Dir(path), ".u.conf.history", n), "not ours")
	}
	save(t, f, set(2, 1))
	save(t, f, set(3, 1))
	if all, err := persist.History(path); err != nil || !slices.Equal(all, []int{102, 101, 100, 3, 2}) {
		t.Errorf("the history is %v, %v", all, err)
	}
}
