package config

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"swallowkeeper/internal/setting"
)

// documented is one key of docs/configuration.md.
type documented struct {
	meaning string
	facts   map[string]string // Type, Default, Allowed, Environment, Example
}

var (
	heading = regexp.MustCompile("^### ([a-z_.]+)$")
	fact    = regexp.MustCompile("^- ([A-Z][a-z]+): (.*)$")
)

func readDoc(t *testing.T) map[string]documented {
	t.Helper()
	content, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]documented{}
	key := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			key = m[1]
			if _, twice := doc[key]; twice {
				t.Errorf("%s is documented twice", key)
			}
			doc[key] = documented{facts: map[string]string{}}
			continue
		}
		if strings.HasPrefix(line, "#") {
			key = ""
		}
		d, ok := doc[key]
		if !ok {
			continue
		}
		if m := fact.FindStringSubmatch(line); m != nil {
			d.facts[m[1]] = m[2]
			continue
		}
		d.meaning += line
		doc[key] = d
	}
	return doc
}

// everyKey calls f with each key of the configuration and its default.
func everyKey(f func(s section, path string, field field)) {
	b := builder{cfg: Default()}
	for _, s := range sections() {
		p := place{section: s.name}
		if s.list {
			p.n = 1
		}
		for _, field := range fields(b.table(p)) {
			f(s, s.name+"."+field.key, field)
		}
	}
}

func TestDocumentation(t *testing.T) {
	doc := readDoc(t)
	everyKey(func(s section, path string, f field) {
		d, ok := doc[path]
		if !ok {
			t.Errorf("%s is not documented", path)
			return
		}
		delete(doc, path)
		if strings.TrimSpace(d.meaning) == "" {
			t.Errorf("%s: the document does not say what it means", path)
		}
		example := strings.Trim(d.facts["Example"], "`")
		for what, want := range map[string]string{
			"Type":        f.kind(),
			"Default":     "`" + f.show() + "`",
			"Environment": "`" + envPrefix + envName(strings.ReplaceAll(path, ".", "_")) + "`",
		} {
			if got := d.facts[what]; got != want {
				t.Errorf("%s: the document says %s: %s; want %s", path, what, got, want)
			}
		}
		if !strings.HasPrefix(example, f.key+" = ") {
			t.Errorf("%s: the example is %q", path, example)
		} else if _, err := parse("example of "+path, s.header()+"\n"+example, nil, nil, anyFile); err != nil {
			t.Errorf("the document's %v", err)
		}
		allowed := strings.ReplaceAll(d.facts["Allowed"], "`", "")
		if allowed == "" {
			t.Errorf("%s: the document does not say what is allowed", path)
		}
		for _, want := range refusals(s, f.key) {
			if allowed != want {
				t.Errorf("%s: the document allows %s; the code allows %s", path, allowed, want)
			}
		}
	})
	for path := range doc {
		t.Errorf("%s is documented, and is no key", path)
	}
}

// refusals tries values that few keys take and returns what the code says is allowed.
func refusals(s section, key string) []string {
	var all []string
	for _, bad := range []any{
		"no; such {value}", int64(-1), int64(1 << 40), -0.5, "-1ns", "100000h", []any{"[", ""}, []any{""},
	} {
		b := builder{cfg: Default()}
		p := place{section: s.name, n: 1}
		table := b.table(p)
		list := fields(table)
		f := list[slices.IndexFunc(list, func(f field) bool { return f.key == key })]
		if f.set(bad) != "" {
			continue // not even the type
		}
		var wrong *setting.Error
		if errors.As(table.Validate(), &wrong) && wrong.Key == key {
			all = append(all, wrong.Allowed)
		}
	}
	return all
}

// TestFieldsAreCommented reads the sources: each key's field has a comment, of its own
// or with the fields right above it.
func TestFieldsAreCommented(t *testing.T) {
	commented := map[string]bool{}
	for _, file := range []string{
		"config.go", "upstream.go", "../guard/config.go", "../persist/config.go", "../dyups/config.go",
		"../registry/consul/config.go", "../status/config.go", "../tracing/config.go",
	} {
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			end := 0 // of the last field under a comment
			for _, f := range s.Fields.List {
				line := fset.Position(f.Pos()).Line
				under := f.Doc != nil || f.Comment != nil || line == end+1
				if under {
					end = fset.Position(f.End()).Line
				}
				if f.Tag == nil {
					continue
				}
				tag, err := strconv.Unquote(f.Tag.Value)
				if err != nil {
					t.Fatal(err)
				}
				if key, ok := reflect.StructTag(tag).Lookup("toml"); ok {
					commented[key] = true
					if !under {
						t.Errorf("%s: the field of %s has no comment", fset.Position(f.Pos()), key)
					}
				}
			}
			return true
		})
	}
	everyKey(func(_ section, path string, f field) {
		if !commented[f.key] {
			t.Errorf("%s: found in none of the sources", path)
		}
	})
}

// TestExampleFile holds scripts/swallowkeeper.toml: it loads as it stands, and with
// every key's comment sign taken away, and is the defaults both times, but for the one folder
// that the systemd unit lets it write, and the socket where few reach nginx's interface.
func TestExampleFile(t *testing.T) {
	const path = "../scripts/swallowkeeper.toml"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	option := regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	whole := option.ReplaceAllString(string(content), "$1")
	for name, text := range map[string]string{"as it stands": string(content), "with every key": whole} {
		c, err := parse("", text, nil, nil, anyFile)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := Default()
		want.Persist.Path = "/var/lib/swallowkeeper/dyups.upstream.conf"
		want.Gateways[0].Dyups.Address = "unix:/run/dyups/dyups.sock"
		if diff := cmp.Diff(want.TOML(), c.TOML()); diff != "" {
			t.Errorf("%s it is not the defaults (-want +got):\n%s", name, diff)
		}
	}
	lines, _ := keyLines(whole)
	all := strings.Split(whole, "\n")
	everyKey(func(s section, path string, f field) {
		parts := []string{s.name, f.key}
		if s.list {
			parts = []string{s.name, index(1), f.key}
		}
		line, ok := lines[join(parts)]
		if !ok {
			t.Errorf("%s is missing", path)
			return
		}
		if explained := all[line-2]; !strings.HasPrefix(explained, "# ") && f.key != "key_file" {
			t.Errorf("line %d: %s is not explained", line, path)
		}
	})
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 100 * time.Millisecond: "100ms", time.Second: "1s",
		time.Minute: "1m", 90 * time.Second: "1m30s", 10 * time.Minute: "10m",
		time.Hour: "1h", time.Hour + time.Second: "1h0m1s", time.Hour + 10*time.Minute: "1h10m", 24 * time.Hour: "24h",
	} {
		if got := brief(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}
