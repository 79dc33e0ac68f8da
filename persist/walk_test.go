package persist

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/upstream"
)

// TestWalks grows and shrinks a state to and fro over the threshold, with notes, restarts, a full disk and files that
// vanish, and holds the conf file and the history against a plain model.
func TestWalks(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &walk{T: t, rng: rand.New(rand.NewPCG(seed, 7)), on: &counted{room: -1, lazy: true}, path: filepath.Join(t.TempDir(), "u.conf"), sets: map[int]upstream.Set{}}
			w.open()
			for range 80 {
				w.step()
			}
			if w.turns < 2 || w.failed == 0 {
				t.Errorf("it changed its form %d times, and %d writes failed", w.turns, w.failed)
			}
		})
	}
}

type walk struct {
	*testing.T
	rng    *rand.Rand
	on     *counted
	path   string
	f      *File
	model  generation.Generation // what was saved last
	sets   map[int]upstream.Set  // of all generations
	forms  bool
	turns  int
	failed int
	spoilt bool
}

func (w *walk) open() {
	w.f = sharding(w, w.on, w.path, func(c *Config) { c.History = 5 })
	g, err := w.f.Load()
	if err != nil {
		w.Fatal(err)
	}
	w.same("loaded", g)
}

func (w *walk) same(what string, g generation.Generation) {
	w.Helper()
	m := w.model
	if g.Number != m.Number || !g.Time.Equal(m.Time) || !g.Set.Identical(m.Set) || !notesOf(g).same(notesOf(m)) || g.Notes != m.Notes || g.Writer != m.Writer || g.Reason != m.Reason {
		w.Fatalf("%s generation %d of %d upstreams with notes %d %.100q, want %d of %d with notes %d %.100q",
			what, g.Number, g.Set.Len(), g.Notes, fmt.Sprint(notesOf(g)), m.Number, m.Set.Len(), m.Notes, fmt.Sprint(notesOf(m)))
	}
}

func (w *walk) step() {
	next := w.model
	switch n := w.rng.IntN(20); {
	case n < 4:
		next.Set = w.grown(1 + w.rng.IntN(30))
	case n < 8:
		names := next.Set.Names()
		w.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		next.Set = next.Set.Without(names[:w.rng.IntN(len(names)+1)])
	case n < 11:
		next.Set = w.grown(1)
	case n < 14:
		next.Leaving, next.Strangers = w.names(), w.names()
		next.Frozen = []generation.Freeze{{Name: "web"}}
	case n < 16:
		next.Guard = []string{"sum 0"}
		for i := range w.rng.IntN(200) {
			next.Guard = append(next.Guard, fmt.Sprintf("left service-%d 10.0.0.1:80 %d", i, w.rng.IntN(2)))
		}
	case n < 17:
		w.reopen()
		return
	case n < 18:
		w.spoil()
	}
	w.f.Archive()
	if w.rng.IntN(5) == 0 {
		w.on.room = w.rng.IntN(6000)
	}
	g, err := w.f.Save(w.Context(), next)
	w.on.room = -1
	if err != nil {
		if !strings.Contains(err.Error(), errNoRoom.Error()) {
			w.Fatal(err)
		}
		w.failed++
		if is, edited, err := Read(w.path); err == nil && !edited && is.Number > 0 { // else a hand has spoilt it
			w.same("after a full disk there is", is)
		}
		return
	}
	if changed := !next.Set.Equal(w.model.Set) || w.model.Number == 0; changed != (g.Number == w.model.Number+1) {
		w.Fatalf("generation %d follows %d, changed: %v", g.Number, w.model.Number, changed)
	}
	next.Number, next.Time, next.Notes, next.Writer, next.Reason = g.Number, g.Time, g.Notes, g.Writer, g.Reason
	w.model, w.sets[g.Number] = next, next.Set
	w.same("saved", g)
	w.read()
}

// read looks at the file as a stranger does.
func (w *walk) read() {
	is, edited, err := Read(w.path)
	if err != nil || edited {
		w.Fatalf("edited %v, %v", edited, err)
	}
	w.same("read", is)
	if form := strings.Contains(confText(w, w.path), "\n"+shardsKey); form != w.forms {
		w.forms, w.turns = form, w.turns+1
	}
	if len(is.Guard) > 0 && w.rng.IntN(4) == 0 {
		w.f.Archive()
		all, err := History(w.path)
		if err != nil || len(all) < min(5, w.model.Number) && !w.spoilt {
			w.Fatalf("the history is %v, %v", all, err)
		}
		r := NewReader(w.path)
		defer r.Close()
		for _, n := range all {
			if g, err := r.Read(n); err != nil || !g.Set.Identical(w.sets[n]) {
				w.Fatalf("generation %d comes back with %d upstreams, %v", n, g.Set.Len(), err)
			}
		}
	}
}

func (w *walk) reopen() {
	if err := w.f.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
}

// spoil has a hand remove or change what the daemon wrote.
func (w *walk) spoil() {
	files := shardFiles(w, w.path)
	if w.model.Number == 0 {
		return
	}
	w.spoilt = true
	if w.rng.IntN(3) == 0 {
		if err := os.Remove(w.path); err != nil {
			w.Fatal(err)
		}
		return
	}
	for _, name := range files {
		switch at := filepath.Join(shardsFolder(w.path), name); w.rng.IntN(4) {
		case 0:
			if err := os.Remove(at); err != nil {
				w.Fatal(err)
			}
		case 1:
			if err := os.WriteFile(at, []byte("upstream x {\n"), 0o600); err != nil {
				w.Fatal(err)
			}
		}
	}
	// The next time that the file is looked at mends it: what is the same is looked at.
	g, err := w.f.Save(w.Context(), w.model)
	if err != nil {
		w.Fatal(err)
	}
	w.same("mended", g)
	for n := range w.sets { // what the history has of it is lost
		if _, err := ReadGeneration(w.path, n); err != nil {
			_ = os.Remove(filepath.Join(historyFolder(w.path), fmt.Sprint(n)))
		}
	}
	w.f.known = nil
}

func (w *walk) names() []string {
	var names []string
	for i := range w.rng.IntN(150) {
		if w.rng.IntN(2) == 0 {
			names = append(names, fmt.Sprintf("gone-%d", 1000+i))
		}
	}
	return names
}

// grown is the set with so many upstreams that are new or others.
func (w *walk) grown(n int) upstream.Set {
	var put []upstream.Upstream
	taken := map[string]bool{}
	for range n {
		u := service(w.rng.IntN(40), 80, 1000+w.rng.IntN(1000))
		if w.rng.IntN(3) == 0 {
			u.Name = strings.ToLower(u.Name)
		}
		if key := strings.ToLower(u.Name); !taken[key] {
			put = append(put, u)
			taken[key] = true
		}
	}
	slices.SortFunc(put, func(a, b upstream.Upstream) int { return upstream.CompareNames(a.Name, b.Name) })
	return w.model.Set.With(put, nil)
}
