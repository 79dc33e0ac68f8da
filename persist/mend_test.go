package persist_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/persist"
)

// A damaged file ended the daemon at its start although the history had a good one.
func TestADamagedFileGivesWayToTheHistory(t *testing.T) {
	for name, damage := range map[string]func(good string) string{
		"truncated":         func(s string) string { return s[:len(s)-20] },
		"header cut":        func(s string) string { return s[:60] },
		"zero bytes":        func(string) string { return "" },
		"NUL bytes":         func(s string) string { return strings.Repeat("\x00", len(s)) },
		"behind its header": func(s string) string { return s[:strings.Index(s, "\n\n")+2] },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f := keeping(t, path, 5)
			load(t, f)
			save(t, f, set(1, 1))
			want := save(t, f, set(3, 2))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			good := text(t, path)
			bad := damage(good)
			put(t, path, bad)
			if name == "truncated" {
				_, _, err := persist.Read(path)
				wantError(t, err, "generation 2 of the history")
			}

			f = keeping(t, path, 5)
			g := load(t, f)
			if g.Number != want.Number || !g.Set.Equal(want.Set) {
				t.Errorf("got generation %d", g.Number)
			}
			strict := strings.Replace(good, "\n\n", "\n# guard: lost\n\n", 1) // the guard's account is lost
			strict = strings.Replace(strict, "operation.md.", "operation.md. Notes 1, with the guard's account.", 1)
			if got := text(t, path); got != strict {
				t.Errorf("the file is\n%s\nwant\n%s", got, strict)
			}
			aside, err := filepath.Glob(path + ".damaged-*")
			if err != nil || len(aside) != 1 || text(t, aside[0]) != bad {
				t.Errorf("kept aside: %q, %v", aside, err)
			}
			put(t, path+".damaged-by-me", "")
			put(t, path+"2.damaged-20260102T030405.000Z", "")
			link(t, path, path+".link")
			for _, path := range []string{path, path + ".link"} {
				if damaged, err := persist.Damaged(path); err != nil || !slices.Equal(damaged, aside) {
					t.Errorf("damaged are %q, %v", damaged, err)
				}
			}
			if next := save(t, f, set(4, 1)); next.Number != want.Number+1 {
				t.Errorf("the next one is %d", next.Number)
			}
		})
	}
}

// What is no damage stays an error, and what is not ours is left alone.
func TestWhatIsNoDamageIsNotMended(t *testing.T) {
	for name, create := range map[string]func(path string) error{
		"foreign":  func(path string) error { return os.WriteFile(path, []byte("server {}\n"), 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "u.conf")
			f := keeping(t, path, 5)
			save(t, f, set(1, 1))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := create(path); err != nil {
				t.Fatal(err)
			}
			if _, err := keeping(t, path, 5).Load(); err == nil {
				t.Error("it is taken")
			}
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) > 0 {
				t.Errorf("kept aside: %q", aside)
			}
		})
	}
}
