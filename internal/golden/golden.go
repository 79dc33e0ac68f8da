// Package golden compares what a test produced with a file, or with a part of a document. With -update it writes them:
//
//	go test ./PACKAGE -run TEST -update
package golden

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files, and the parts of documents that tests produce")

// File fails the test if the file differs from got.
func File(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		write(t, path, got)
		return
	}
	compare(t, path, read(t, path), got)
}

// Section fails the test if the document differs from got between the first text from and the next text to.
func Section(t testing.TB, path, from, to, got string) {
	t.Helper()
	before, rest, found := strings.Cut(read(t, path), from)
	there, after, ended := strings.Cut(rest, to)
	switch {
	case !found || !ended:
		t.Fatalf("%s has no section between %q and %q", path, from, to)
	case *update:
		write(t, path, before+from+got+to+after)
	default:
		compare(t, path, there, got)
	}
}

func compare(t testing.TB, path, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got); with -update the test writes it:\n%s", path, diff)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // a file of the repository
		t.Fatal(err)
	}
}
