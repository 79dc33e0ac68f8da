package persist

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// unlocked is the machine's file system where locks hold nobody off, as between two machines on one share.
type unlocked struct{ machine }

func (unlocked) Lock(string) (func() error, error) { return func() error { return nil }, nil }

// two opens one file for two processes, of which the first has written three servers.
func two(t *testing.T) (ours, theirs *File, g generation.Generation, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "u.conf")
	ours = openOn(t, unlocked{}, "ours", path)
	g = saved(t, ours, noting(one("1"), "web"))
	theirs = openOn(t, unlocked{}, "theirs", path)
	loaded(t, theirs)
	return ours, theirs, g, path
}

func noting(g generation.Generation, frozen ...generation.Scope) generation.Generation {
	g.Guard = []string{"sum 00", "size 1"}
	g.Frozen = nil
	for _, name := range frozen {
		g.Frozen = append(g.Frozen, generation.Freeze{Name: name})
	}
	return g
}

func saved(t *testing.T, f *File, g generation.Generation) generation.Generation {
	t.Helper()
	g, err := f.Save(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func loaded(t *testing.T, f *File) generation.Generation {
	t.Helper()
	g, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// What another process wrote into the header counts, although the generation is the same.
func TestNotesOfAnotherProcess(t *testing.T) {
	for name, change := range map[string]func(*generation.Generation){
		"a freeze":               func(g *generation.Generation) { g.Frozen = append(g.Frozen, generation.Freeze{}) },
		"a release":              func(g *generation.Generation) { g.Frozen = nil },
		"a longer freeze":        func(g *generation.Generation) { g.Frozen[0].Until = time.Unix(9e9, 0) },
		"somebody else's freeze": func(g *generation.Generation) { g.Frozen[0].Signed.By = "alice" },
		"what is leaving":        func(g *generation.Generation) { g.Leaving = []string{"old"} },
		"what is being pushed":   func(g *generation.Generation) { g.Pushing = []string{"web"} },
		"a stranger":             func(g *generation.Generation) { g.Strangers = []string{"legacy"} },
		"the guard's account":    func(g *generation.Generation) { g.Guard = []string{"sum 01", "spent"} },
		"all of it taken away":   func(g *generation.Generation) { g.Frozen, g.Guard = nil, nil },
		"a freeze and a release": func(g *generation.Generation) { g.Frozen = []generation.Freeze{{Name: "shop"}} },
		"a freeze of a rollback": func(g *generation.Generation) { g.Frozen = append(g.Frozen, generation.Freeze{}); g.Guard = nil },
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs, g, path := two(t)
			if err := ours.Overtaken(); err != nil {
				t.Errorf("before: %v", err)
			}
			changed := g
			changed.Frozen = slices.Clone(g.Frozen)
			change(&changed)
			changed = saved(t, theirs, changed)
			if changed.Number != g.Number {
				t.Fatalf("it is generation %d", changed.Number)
			}
			text := content(t, path)
			var newer *NewerError
			for range 2 {
				if err := ours.Overtaken(); !errors.As(err, &newer) || !newer.Notes {
					t.Errorf("overtaken: %v", err)
				}
				if _, err := ours.Save(t.Context(), noting(one("2"), "web")); !errors.As(err, &newer) || !newer.Newer() {
					t.Errorf("a new generation: %v", err)
				}
				if _, err := ours.Save(t.Context(), g); !errors.As(err, &newer) {
					t.Errorf("the same again: %v", err)
				}
			}
			if is := content(t, path); is != text {
				t.Errorf("the file is\n%s\nwant\n%s", is, text)
			}
			is := loaded(t, ours)
			if !notesOf(is).same(notesOf(changed)) {
				t.Errorf("loaded %+v", is)
			}
			if err := ours.Overtaken(); err != nil {
				t.Errorf("after: %v", err)
			}
			if is := saved(t, ours, noting(one("2"))); is.Number != g.Number+1 {
				t.Errorf("saved generation %d", is.Number)
			}
			if err := theirs.Overtaken(); !errors.As(err, &newer) || newer.Notes {
				t.Errorf("they are not overtaken: %v", err)
			}
		})
	}
}

// uncounted is a file without what it counts, and when.
func uncounted(text string) string {
	return regexp.MustCompile(`(?m)^# (Written by|generation:|time:) .*$`).ReplaceAllString(text, "")
}

// Whatever two processes do to one file, in whatever order: whoever has not read what is there does not write over it.
func TestTwoProcessesInAnyOrder(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "u.conf")
		files := []*File{openOn(t, unlocked{}, "A", path), openOn(t, unlocked{}, "B", path)}
		known, seen := make([]generation.Generation, 2), make([]string, 2)
		known[0] = saved(t, files[0], noting(one("1")))
		seen[0] = content(t, path)
		known[1], seen[1] = loaded(t, files[1]), seen[0]
		for range 60 {
			i := rng.IntN(2)
			g, text := known[i], content(t, path)
			switch rng.IntN(4) {
			case 0:
				g = noting(one(fmt.Sprint(1 + rng.IntN(3))))
			case 1:
				g = noting(g, []generation.Scope{"", "web", "shop"}[rng.IntN(3)])
			case 2:
				g = noting(g)
			case 3: // as it is
			}
			is, err := files[i].Save(t.Context(), g)
			var newer *NewerError
			switch {
			case err == nil && uncounted(seen[i]) != uncounted(text) && content(t, path) != text:
				t.Fatalf("seed %d: %d wrote over\n%s\nhaving seen\n%s", seed, i, text, seen[i])
			case err == nil:
				known[i], seen[i] = is, content(t, path)
			case !errors.As(err, &newer):
				t.Fatalf("seed %d: %v", seed, err)
			case seen[i] == text:
				t.Fatalf("seed %d: %d has seen that: %v", seed, i, err)
			case content(t, path) != text:
				t.Fatalf("seed %d: the file is another", seed)
			default:
				if files[i].Overtaken() == nil {
					t.Fatalf("seed %d: not overtaken", seed)
				}
				known[i], seen[i] = loaded(t, files[i]), text
			}
		}
	}
}

// A copy of the same generation from before its last freeze is older than what we have.
func TestACopyWithOlderNotes(t *testing.T) {
	ours, _, g, path := two(t)
	before := content(t, path)
	frozen := saved(t, ours, noting(g, "web", ""))
	want := content(t, path)
	replace(t, path, before)
	if err := ours.Overtaken(); err != nil {
		t.Errorf("overtaken by an older copy: %v", err)
	}
	saved(t, ours, frozen)
	if is := content(t, path); is != want {
		t.Errorf("the file is\n%s\nwant\n%s", is, want)
	}
}

// A version that does not count is believed: it may be the newer one.
func TestNotesOfAnOlderVersion(t *testing.T) {
	ours, _, g, path := two(t)
	text := content(t, path)
	text = strings.Replace(text, " Notes 1, with the guard's account.", "", 1)
	replace(t, path, strings.Replace(text, "# frozen: web\n", "", 1))
	var newer *NewerError
	if _, err := ours.Save(t.Context(), g); !errors.As(err, &newer) || !newer.Notes {
		t.Errorf("saved over it: %v", err)
	}
}

// What a failed Save brought into place is nobody else's.
func TestNotesOfOurOwnThatFailed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	on := &watched{}
	f := openOn(t, on, "ours", path)
	g := saved(t, f, noting(one("1")))
	on.fails = errors.New("the folder can't be synced")
	if _, err := f.Save(t.Context(), noting(g, "web")); !errors.Is(err, on.fails) {
		t.Fatalf("saved: %v", err)
	}
	on.fails = nil
	if !strings.Contains(content(t, path), "# frozen: web") {
		t.Fatal("the file is not in place")
	}
	if err := f.Overtaken(); err != nil {
		t.Errorf("overtaken by ourselves: %v", err)
	}
	saved(t, f, g)
	if strings.Contains(content(t, path), "# frozen: web") {
		t.Error("a freeze that failed is in force")
	}
	if err := f.Overtaken(); err != nil {
		t.Errorf("overtaken by ourselves: %v", err)
	}
}

// Nobody knows what a file has that can't be read, or is gone.
func TestAFileThatCanNotBeReadIsNoLeave(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"damaged": func(path string) error { return os.WriteFile(path, []byte("# Written by swallowkeeper\n"), 0o600) },
		"foreign": func(path string) error { return os.WriteFile(path, []byte("server {}\n"), 0o600) },
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"zeros":   func(path string) error { return os.WriteFile(path, make([]byte, 300), 0o600) },
		"gone":    os.Remove,
		"a folder": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours, _, _, path := two(t)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			var newer *NewerError
			if err := ours.Overtaken(); err == nil || errors.As(err, &newer) {
				t.Errorf("overtaken: %v", err)
			}
		})
	}
	fresh := openOn(t, unlocked{}, "ours", filepath.Join(t.TempDir(), "u.conf"))
	loaded(t, fresh)
	if err := fresh.Overtaken(); err != nil {
		t.Errorf("nothing was written yet: %v", err)
	}
}

// An account of the guard that is gone is not taken for none.
func TestAnAccountThatIsGone(t *testing.T) {
	_, _, _, path := two(t)
	good := content(t, path)
	lines := strings.SplitAfter(good, "\n")
	without := strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, "# guard: ") }), "")
	old := strings.Replace(without, " Notes 1, with the guard's account.", "", 1)
	for name, test := range map[string]struct {
		text   string
		strict bool
	}{
		"all of it":                      {without, true},
		"its digest":                     {strings.Replace(good, "# guard: sum 00\n", "", 1), true},
		"of a version that wrote none":   {old, false},
		"a history file has none either": {strings.Replace(without, " Notes 1, with the guard's account.", " Notes 3.", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			replace(t, path, test.text)
			g, _, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := guard.ReadHistory(g.Guard, time.Now(), time.Minute); (err != nil) != test.strict {
				t.Errorf("the account is %q, read with %v", g.Guard, err)
			}
		})
	}
	for _, end := range []string{" Notes 0.", " Notes x.", " Notes", "x", " Notes 1, with."} {
		replace(t, path, strings.Replace(good, " Notes 1, with the guard's account.", end, 1))
		if _, _, err := Read(path); !errors.Is(err, errDamaged) {
			t.Errorf("%q at the first line's end: %v", end, err)
		}
	}
}

// Gateways may have been told of what an older file had that is overwritten. What a hand wrote into ours is the hand's.
func TestWhatAnOverwrittenFileHad(t *testing.T) {
	ours, _, _, path := two(t)
	other := filepath.Join(t.TempDir(), "u.conf")
	f := openOn(t, unlocked{}, "theirs", other)
	g := one("9")
	shop, _ := g.Set.Get("web")
	shop.Name = "shop"
	g.Set, g.Leaving = g.Set.With([]upstream.Upstream{shop}, nil), []string{"old"}
	saved(t, f, g)
	text := content(t, other)
	now := saved(t, ours, noting(one("2")))

	replace(t, path, strings.Replace(text, "server 10.0.0.9:80 weight=1", "server 10.0.0.9:80 weight=2", 1))
	if is := saved(t, ours, now); len(is.Leaving) > 0 {
		t.Errorf("by a hand: leaving are %q", is.Leaving)
	}
	replace(t, path, text)
	for range 2 {
		if is := saved(t, ours, now); !slices.Equal(is.Leaving, []string{"old", "shop"}) || is.Number != now.Number {
			t.Errorf("generation %d, leaving are %q", is.Number, is.Leaving)
		} else {
			now = is
		}
	}
	now.Leaving = nil
	if is := saved(t, ours, now); len(is.Leaving) > 0 {
		t.Errorf("for ever: leaving are %q", is.Leaving)
	}
}
