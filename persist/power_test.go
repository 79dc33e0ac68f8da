package persist

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/generation"
	"swallowkeeper/upstream"
)

// watched is the machine's file system, which counts the syncs of folders and lets them fail.
type watched struct {
	machine
	synced int
	fails  error
}

func (w *watched) Folder(path string) Folder { return watchedFolder{w.machine.Folder(path), w} }

type watchedFolder struct {
	Folder
	w *watched
}

func (f watchedFolder) Sync() error {
	if f.w.fails != nil {
		return f.w.fails
	}
	f.w.synced++
	return f.Folder.Sync()
}

func one(number string) generation.Generation {
	s := upstream.DefaultTemplate().Server()
	a, err := upstream.ParseAddr("10.0.0."+number, 80)
	if err != nil {
		panic(err)
	}
	s.Addr = a
	return generation.Generation{Set: upstream.NewSet([]upstream.Upstream{{Name: "web", Servers: []upstream.Server{s}}})}
}

func openOn(t *testing.T, on System, writer, path string) *File {
	t.Helper()
	log, _ := test.NewNullLogger()
	c := DefaultConfig()
	c.Path = path
	f, err := OpenOn(on, writer, c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// What is in place may not be safe from a power cut yet: whoever brought it there may have been killed before the
// folder was synced. It is made safe before anybody hears of it.
func TestWhatIsReadIsSafe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	on := &watched{}
	f := openOn(t, on, "one", path)
	if _, err := f.Save(t.Context(), one("1")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openOn(t, on, "one", path)
	before := on.synced
	if _, err := f.Load(); err != nil || on.synced == before {
		t.Errorf("loaded what a power cut may take: %v", err)
	}

	on.fails = errors.New("the folder can't be synced")
	for range 2 { // the second time the file is in place already
		if _, err := f.Save(t.Context(), one("2")); !errors.Is(err, on.fails) {
			t.Errorf("saved it all the same: %v", err)
		}
	}
	on.fails = nil
	if g, err := f.Save(t.Context(), one("2")); err != nil || g.Number != 2 {
		t.Errorf("saved generation %d, %v", g.Number, err)
	}
}

// Who has only read a file does not write over what came after it either, and its numbers go on from the newest.
func TestWhoHasOnlyReadWritesOverNothingNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	theirs := openOn(t, machine{}, "theirs", path)
	if _, err := theirs.Save(t.Context(), one("1")); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "u.conf")
	bring := func() {
		t.Helper()
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(copied, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	bring()
	ours := openOn(t, machine{}, "ours", copied)
	if _, err := ours.Load(); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Save(t.Context(), one("2")); err != nil {
		t.Fatal(err)
	}
	bring()
	var newer *NewerError
	if _, err := ours.Save(t.Context(), one("1")); !errors.As(err, &newer) {
		t.Fatalf("saved over generation 2: %v", err)
	}

	// The same blocks again, under a higher number.
	if _, err := theirs.Save(t.Context(), one("1")); err != nil {
		t.Fatal(err)
	}
	bring()
	if g, err := ours.Save(t.Context(), one("3")); err != nil || g.Number != 4 {
		t.Errorf("saved generation %d, %v", g.Number, err)
	}
	if text, err := os.ReadFile(copied); err != nil || !regexp.MustCompile("(?m)^# generation: 4$").Match(text) {
		t.Errorf("the file has %s, %v", text, err)
	}
}
