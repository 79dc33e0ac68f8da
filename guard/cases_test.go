package guard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// readCases reads the cases of the comment above Decide.
func readCases(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "decide.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, is := d.(*ast.FuncDecl)
		if !is || f.Name.Name != "Decide" {
			continue
		}
		var lines []string
		for line := range strings.Lines(f.Doc.Text()) {
			if text, indented := strings.CutPrefix(line, "\t"); indented {
				lines = append(lines, text)
			} else if line == "\n" && len(lines) > 0 {
				lines = append(lines, line)
			}
		}
		return strings.TrimSpace(strings.Join(lines, ""))
	}
	t.Fatal("there is no Decide")
	return ""
}

// TestCases runs the cases above Decide.
func TestCases(t *testing.T) {
	columns := regexp.MustCompile(" {2,}")
	n := 0
	for text := range strings.SplitSeq(readCases(t), "\n\n") {
		name, rows, _ := strings.Cut(text, "\n")
		t.Run(name, func(t *testing.T) {
			n++
			var c *chain
			for row := range strings.SplitSeq(rows, "\n") {
				cells := append(columns.Split(strings.TrimSpace(row), -1), "", "", "")
				at, err := time.ParseDuration(cells[0])
				if err != nil {
					t.Fatal(err)
				}
				seen := strings.TrimPrefix(cells[1], "-")
				if c == nil {
					c = begin(t, seen)
					continue
				}
				d := c.sees(noon.Add(at).Sub(c.now), seen)
				if got := line(d.Accepted); got != cells[2] {
					t.Errorf("%s\naccepted %q", row, got)
				}
				if got := brief(d.Holds); got != cells[3] {
					t.Errorf("%s\nheld %q", row, got)
				}
				for _, h := range d.Holds {
					if len(h.Removed) > h.Of {
						t.Errorf("%s\nof %d", row, h.Of)
					}
				}
			}
		})
	}
	if n < 10 {
		t.Errorf("%d cases were found", n)
	}
}

// TestCasesAreDocumented holds the document to the cases above the code; with UPDATE set it prints them there.
func TestCasesAreDocumented(t *testing.T) {
	const path, from, to = "../docs/guard.md", "<!-- cases -->\n```text\n", "```\n<!-- end of cases -->"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), from)
	there, after, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatalf("%s has no place for the cases", path)
	}
	want := readCases(t) + "\n"
	if there == want {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("%s has other cases than the code: UPDATE=1 go test ./guard -run TestCasesAreDocumented prints them there", path)
	}
	if err := os.WriteFile(path, []byte(before+from+want+to+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
