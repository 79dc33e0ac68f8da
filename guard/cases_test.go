package guard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/golden"
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

// TestCasesAreDocumented: docs/guard.md has the cases above the code.
func TestCasesAreDocumented(t *testing.T) {
	golden.Section(t, "../docs/guard.md", "<!-- cases -->\n```text\n", "```\n<!-- end of cases -->", readCases(t)+"\n")
}
