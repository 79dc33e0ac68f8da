package kinds_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/kinds"
)

// mayImport are the places beside the kinds themselves that may import one, or what belongs to it.
var mayImport = map[string]string{
	"kinds":                     "it is the list",
	"demo":                      "it shows the doubles of one of each",
	"bench":                     "it measures one of each",
	"internal/consultestserver": "it starts the real one for tests",
	"internal/etcdtestserver":   "it starts the real one for tests",
	"daemon/control.go":         "the demo has one of each",
	"cli/nginx.go":              "it installs the library of one",
	"agent":                     "it writes what one kind knows for others to read",
}

// TestKindsImportNoOtherKind: what is in the folder of a kind imports none of another one's, and nobody else imports any.
func TestKindsImportNoOtherKind(t *testing.T) {
	var folders []string
	for _, kind := range kinds.Registries() {
		folders = append(folders, under(folderOf(kind.Config())))
	}
	for _, kind := range kinds.Gateways() {
		folders = append(folders, under(folderOf(kind.Config())))
	}
	found := 0
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file := under(path)
		for place := range mayImport {
			if file == place || strings.HasPrefix(file, place+"/") {
				return nil
			}
		}
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range tree.Imports {
			from, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "swallowkeeper/")
			kind := within(folders, from)
			if !ours || kind == "" {
				continue
			}
			found++
			if within(folders, file) != kind {
				t.Errorf("%s imports %s, which belongs to the kind in %s", file, from, kind)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("no import of anything of a kind was found")
	}
}

// under is a path from the root of the repository on.
func under(path string) string { return strings.TrimPrefix(filepath.ToSlash(path), "../") }

// within is the folder in which a path lies, "" for none.
func within(folders []string, path string) string {
	for _, folder := range folders {
		if path == folder || strings.HasPrefix(path, folder+"/") {
			return folder
		}
	}
	return ""
}
