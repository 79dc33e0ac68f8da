package monitoring_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// TestLogFields holds the documented field names and those in the code to each other.
func TestLogFields(t *testing.T) {
	doc := read(t, "../logs.md")
	_, table, _ := strings.Cut(doc, "## Fields")
	table, _, _ = strings.Cut(table, "\n## ")
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		told[m[1]] = true
	}
	used := map[string]string{"level": "", "msg": "", "time": ""}
	one := regexp.MustCompile(`WithField\("(\w+)"`)
	errs := regexp.MustCompile(`WithError\(`)
	many := regexp.MustCompile(`logrus\.Fields\{([^}]*)\}|fields\["(\w+)"\]`)
	key := regexp.MustCompile(`"(\w+)":`)
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source := read(t, path)
		for _, m := range one.FindAllStringSubmatch(source, -1) {
			used[m[1]] = path
		}
		if errs.MatchString(source) {
			used["error"] = path
		}
		for _, m := range many.FindAllStringSubmatch(source, -1) {
			if m[2] != "" {
				used[m[2]] = path
			}
			for _, k := range key.FindAllStringSubmatch(m[1], -1) {
				used[k[1]] = path
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range used {
		if !told[name] {
			t.Errorf("docs/logs.md does not tell of the field %s of %s", name, path)
		}
	}
	for name := range told {
		if _, ok := used[name]; !ok {
			t.Errorf("docs/logs.md tells of the field %s, which no line has", name)
		}
	}
}

// TestLogMessages wants each documented message in the code.
func TestLogMessages(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "../logs.md"), "## Messages")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1)
	if len(rows) < 10 {
		t.Fatalf("only %d messages are documented", len(rows))
	}
	var source strings.Builder
	for _, pattern := range []string{
		"../../syncer/*.go", "../../upstream/*.go", "../../registry/*/*.go", "../../dyups/*.go", "../../persist/*.go",
		"../../cmd/swallowkeeper/*.go", "../../cli/*.go", "../../daemon/*.go", "../../operate/*.go", "../../wiring/*.go", "../../status/*.go", "../../tracing/*.go",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				source.WriteString(read(t, f))
			}
		}
	}
	for _, m := range rows {
		for part := range strings.SplitSeq(m[1], "…") { // … stands for what differs
			if part = strings.TrimSpace(part); !strings.Contains(source.String(), part) {
				t.Errorf("docs/logs.md has the message %q: the code does not say %q", m[1], part)
			}
		}
	}
}

// generation finds the one that a line is about, in both formats.
var generation = regexp.MustCompile(`generation"?[=:]\d+`)

// TestLogOfADaemon reads what a daemon wrote in both formats while somebody registered hostile text.
func TestLogOfADaemon(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			_, log := tour(t, format)
			if !strings.Contains(log, "forged") {
				t.Fatalf("nothing tells of the hostile service:\n%s", log)
			}
			decisions := map[string]int{} // by generation
			for line := range strings.Lines(log) {
				line = strings.TrimSuffix(line, "\n")
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("a line has what disturbs a terminal: %q", line)
				}
				switch format {
				case "json":
					var fields map[string]any
					if err := json.Unmarshal([]byte(line), &fields); err != nil {
						t.Errorf("%v: %s", err, line)
					}
					for _, name := range []string{"level", "msg", "time"} {
						if fields[name] == nil {
							t.Errorf("without %s: %s", name, line)
						}
					}
				case "text":
					if !strings.HasPrefix(line, "time=") || strings.Contains(line, " level=error msg=\"forged") {
						t.Errorf("a line of its own making: %q", line)
					}
				}
				if strings.Contains(line, "the changes are accepted and written") {
					decisions[generation.FindString(line)]++
				}
			}
			if len(decisions) < 2 {
				t.Errorf("only %v are decided", decisions)
			}
			for generation, lines := range decisions {
				if lines != 1 {
					t.Errorf("one decision has %d lines: %s", lines, generation)
				}
			}
		})
	}
}

func TestMonitoringIsLinked(t *testing.T) {
	if _, err := os.Stat("../logs.md"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(read(t, "../incidents.md"), "(logs.md)") {
		t.Error("docs/incidents.md does not lead to docs/logs.md")
	}
}
