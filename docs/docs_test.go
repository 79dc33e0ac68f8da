// Package docs has no code: its tests hold what the pages say of the repository to the repository.
package docs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// root is the repository's folder.
const root = ".."

// goFiles calls yield with each Go file of the product and its tests.
func goFiles(t *testing.T, yield func(path string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."), d.Name() == "testdata":
			return fs.SkipDir
		case strings.HasSuffix(path, ".go"):
			yield(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRooms: each folder with Go in it has its place in the list of rooms, and that of a kind its page.
func TestRooms(t *testing.T) {
	page := read(t, "architecture.md")
	ofKind := func(folder string) bool {
		under, rest, _ := strings.Cut(folder, "/")
		name, _, _ := strings.Cut(rest, "/")
		_, err := os.Stat(under + "-" + name + ".md")
		return err == nil
	}
	seen := map[string]bool{"docs": true}
	goFiles(t, func(path string) {
		folder := filepath.ToSlash(filepath.Dir(path))
		if seen[folder] {
			return
		}
		seen[folder] = true
		if !strings.Contains(page, "`"+folder+"`") && !ofKind(folder) && !strings.HasPrefix(folder, "scripts/") {
			t.Errorf("architecture.md has no room %s", folder)
		}
	})
}

// TestInvariants: each test that is said to hold an invariant is there.
func TestInvariants(t *testing.T) {
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	goFiles(t, func(path string) {
		for _, found := range function.FindAllStringSubmatch(read(t, filepath.Join(root, path)), -1) {
			tests[found[1]] = true
		}
	})
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(read(t, "architecture.md"), -1)
	if len(named) < 12 {
		t.Fatalf("architecture.md names %d tests", len(named))
	}
	for _, found := range named {
		if !tests[found[1]] {
			t.Errorf("architecture.md names %s, and there is no such test", found[1])
		}
	}
}

// TestDataSnippets: what the pages show of JSON, line by line or whole, and of YAML can be parsed. "…" stands for anything.
func TestDataSnippets(t *testing.T) {
	seen := 0
	for _, page := range pages(t) {
		for _, block := range regexp.MustCompile("(?ms)^```(json|yaml)\n(.*?)^```$").FindAllStringSubmatch(read(t, page), -1) {
			seen++
			text := strings.ReplaceAll(block[2], "…", "null")
			var err error
			if block[1] == "yaml" {
				var content map[string]any
				err = yaml.UnmarshalStrict([]byte(text), &content)
			} else if !json.Valid([]byte(text)) && !json.Valid([]byte("{"+text+"}")) { // one key of many
				for line := range strings.Lines(text) {
					if !json.Valid([]byte(line)) {
						err = errors.New(line + " is no JSON")
					}
				}
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", page, err, block[2])
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d were found", seen)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
