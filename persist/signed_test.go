package persist_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"swallowkeeper/generation"
	"swallowkeeper/persist"
)

func TestWhoseOrderItWasIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 5)
	load(t, f)
	alice := generation.Signature{By: "alice", Why: "deploy 42: until by noon"}
	bob := generation.Signature{By: "uid 1000"}
	end := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	freezes := []generation.Freeze{{Signed: alice}, {Name: "api"}, {Name: "web", Until: end, Signed: bob}}
	first, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1), Signed: alice, Frozen: freezes})
	if err != nil {
		t.Fatal(err)
	}
	f.Archive()
	for _, line := range []string{
		"\n# by: alice: deploy 42: until by noon\n", "\n# frozen: * by alice: deploy 42: until by noon\n", "\n# frozen: api\n",
		"\n# frozen: web until 2026-01-02T03:04:05.000000006Z by uid 1000\n",
	} {
		if !strings.Contains(text(t, path), line) {
			t.Errorf("no line %q in\n%s", line, text(t, path))
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = keeping(t, path, 5)
	read := load(t, f)
	if read.Signed != alice || cmp.Diff(freezes, read.Frozen) != "" {
		t.Errorf("it is read as %+v", read)
	}

	// The same set again is the same generation, whoever sends it.
	first.Signed, first.Frozen[2].Signed = bob, alice
	again, err := f.Save(t.Context(), first)
	if err != nil || again.Signed != alice {
		t.Errorf("the same generation is signed %+v: %v", again.Signed, err)
	}
	if now := load(t, f); now.Frozen[2].Signed != alice {
		t.Errorf("a freeze by somebody else is not written: %+v", now.Frozen)
	}
	if next, err := f.Save(t.Context(), generation.Generation{Set: set(2, 1)}); err != nil || next.Signed != (generation.Signature{}) {
		t.Errorf("what nobody ordered is signed %+v: %v", next.Signed, err)
	}
	if old, err := persist.ReadGeneration(path, first.Number); err != nil || old.Signed != alice {
		t.Errorf("in the history it is signed %+v: %v", old.Signed, err)
	}
	if kept, err := persist.Headers(path); err != nil || kept[0].Signed != alice {
		t.Errorf("the headers are %+v: %v", kept, err)
	}
}

func TestASignatureStaysOnItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.conf")
	f := keeping(t, path, 5)
	load(t, f)
	for _, bad := range []generation.Signature{
		{By: "alice", Why: "a\nupstream evil {}"},
		{By: "a\nb"},
		{By: "alice: x", Why: "y"},
		{Why: "nobody"},
		{By: "alice", Why: strings.Repeat("x", generation.MaxWhy+1)},
	} {
		if _, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1), Signed: bad}); err == nil {
			t.Errorf("a generation signed %q is written", bad)
		}
		if _, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1), Frozen: []generation.Freeze{{Signed: bad}}}); err == nil {
			t.Errorf("a freeze signed %q is written", bad)
		}
	}
	if _, err := f.Save(t.Context(), generation.Generation{Set: set(1, 1), Signed: generation.Signature{By: "alice", Why: "x"}}); err != nil {
		t.Fatal(err)
	}
	good := text(t, path)
	for line, bad := range map[string]string{"# by: alice: x": "# by: ", "# by: alice": "# by:  alice", "alice: x": "alice: \x1b[31mx"} {
		put(t, path, strings.Replace(good, line, bad, 1))
		_, _, err := persist.Read(path)
		wantError(t, err, "line 5", "found by")
	}
}
