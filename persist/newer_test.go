package persist_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
	"swallowkeeper/upstream"
)

// What another process wrote after us is not replaced by what we made of an older state.
func TestAnOlderStateReplacesNoNewerOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	save(t, f, set(3, 2))
	other := filepath.Join(t.TempDir(), "u.conf")
	o, _ := opened(t, other)
	save(t, o, set(3, 2))
	save(t, o, set(4, 2))
	text, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	theirs := regexp.MustCompile(" on .*: edits").ReplaceAll(text, []byte(" on elsewhere (process 7): edits"))
	if err := f.Overtaken(); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := os.WriteFile(path, theirs, 0o644); err != nil {
		t.Fatal(err)
	}
	var newer *persist.NewerError
	if err := f.Overtaken(); !errors.As(err, &newer) || newer.Number != 2 {
		t.Errorf("overtaken: %v", err)
	}
	for range 2 {
		if _, err := f.Save(t.Context(), generation.Generation{Set: set(2, 2)}); !errors.As(err, &newer) ||
			newer.Number != 2 || newer.Writer != "elsewhere (process 7)" {
			t.Fatalf("saved over it: %v", err)
		}
	}
	if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, theirs) {
		t.Errorf("the file has %s, %v", is, err)
	}
	if g := load(t, f); g.Number != 2 || g.Writer != "elsewhere (process 7)" {
		t.Errorf("loaded %+v", g)
	}
	if err := f.Overtaken(); err != nil {
		t.Errorf("after: %v", err)
	}
	// They go on: it is newer again, although what we have is theirs now.
	save(t, o, set(5, 2))
	if text, err = os.ReadFile(other); err != nil {
		t.Fatal(err)
	}
	again := regexp.MustCompile(" on .*: edits").ReplaceAll(text, []byte(" on elsewhere (process 7): edits"))
	if err := os.WriteFile(path, again, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Save(t.Context(), generation.Generation{Set: set(2, 2)}); !errors.As(err, &newer) || newer.Number != 3 || f.Overtaken() == nil {
		t.Errorf("saved over what they wrote next: %v", err)
	}
	load(t, f)
	if g := save(t, f, set(2, 2)); g.Number != 4 {
		t.Errorf("saved %+v", g)
	}
}

// Two containers have one hostname, and each is process 1 of its own: they are two writers all the same. One process
// stays one over a reload, which opens the file again.
func TestNoTwoProcessesAreOneWriter(t *testing.T) {
	pid := regexp.MustCompile(`process \d+`)
	seen := map[string]bool{}
	for range 2 {
		path := filepath.Join(t.TempDir(), "u.conf")
		cmd, out := child(t, "save once", path)
		if line, err := out.ReadString('\n'); err != nil || line != "saved\n" {
			t.Fatalf("the writer said %q, %v", line, err)
		}
		kill(t, cmd)
		g, _, err := persist.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if writer := pid.ReplaceAllString(g.Writer, "process 1"); seen[writer] {
			t.Errorf("two processes are %s", writer)
		} else {
			seen[writer] = true
		}
	}

	path := filepath.Join(t.TempDir(), "u.conf")
	f, _ := opened(t, path)
	first := save(t, f, set(1, 1))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, _ = opened(t, path)
	load(t, f)
	if second := save(t, f, set(2, 1)); second.Writer != first.Writer {
		t.Errorf("%s is %s after a reload", first.Writer, second.Writer)
	}
}

// A process on another machine, whose lock holds nobody off, freezes the generation that is there.
func TestAFreezeOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "u.conf")
	f, _ := opened(t, path)
	g := save(t, f, set(3, 2))
	if err := os.Remove(lockIn(dir)); err != nil {
		t.Fatal(err)
	}
	_, out := child(t, "freeze", path)
	if line, err := out.ReadString('\n'); err != nil || line != "saved\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	var newer *persist.NewerError
	if err := f.Overtaken(); !errors.As(err, &newer) || newer.Number != g.Number {
		t.Errorf("overtaken: %v", err)
	}
	for _, s := range []upstream.Set{g.Set, set(4, 2)} {
		if _, err := f.Save(t.Context(), generation.Generation{Set: s}); !errors.As(err, &newer) {
			t.Errorf("saved over it: %v", err)
		}
	}
	if is := load(t, f); is.Number != g.Number || len(is.Frozen) != 1 {
		t.Errorf("loaded %+v", is)
	}
}
