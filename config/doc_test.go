package config

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"swallowkeeper/dyups"
	"swallowkeeper/internal/setting"
)

// documented is one key of docs/configuration.md.
type documented struct {
	meaning string
	facts   map[string]string // Type, Default, Allowed, Environment, Example
}

var (
	heading = regexp.MustCompile("^### ([a-z_.]+(?:NAME[a-z_.]+)?)$")
	fact    = regexp.MustCompile("^- ([A-Z][a-z]+): (.*)$")
)

// readDoc reads the keys that a page explains.
func readDoc(t *testing.T, page string) map[string]documented {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../docs", page))
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

// everyKey calls f with each key of the configuration and its default; typ is the kind of registry or gateway. A table of a kind
// that is called by a name is called NAME.
func everyKey(f func(at section, typ, path string, field field)) {
	b := builder{cfg: known.Default()}
	b.cfg.Routes = []Route{defaultRoute()}
	for _, s := range known.sections() {
		if known.types(s.name) == nil {
			for _, field := range fields(b.table(place{section: s.name, n: 1})) {
				f(s, "", s.name+"."+field.key, field)
			}
		}
		var common []string
		for i, typ := range known.types(s.name) {
			for _, field := range fields(tableOf(s.name, typ)) {
				if !slices.Contains(common, field.key) {
					f(s, typ, s.name+"."+field.key, field)
				}
			}
			for key, tables := range inner(tableOf(s.name, typ)) {
				for _, field := range fields(freshInner(tables)) {
					f(s, typ, s.name+"."+key+".NAME."+field.key, field)
				}
			}
			if i == 0 {
				common = keys(tableOf(s.name, "none"))
			}
		}
	}
}

// tableOf is a table of a list as its type has it.
func tableOf(list, typ string) table {
	if list == "gateway" {
		g := known.gateway(typ)
		return &g
	}
	r := known.registry(typ)
	return &r
}

// TestDocumentation holds docs/configuration.md to the code, and for the keys of a kind its own page, where that
// explains them.
func TestDocumentation(t *testing.T) {
	doc, explained := readDoc(t, "configuration.md"), map[string]bool{}
	own := map[string]map[string]documented{}
	everyKey(func(s section, typ, path string, f field) {
		page := ""
		if typ != "" {
			page = s.name + "-" + typ + ".md"
			if own[page] == nil {
				own[page] = readDoc(t, page)
			}
		}
		d, ok := own[page][path]
		if !ok {
			d, ok = doc[path]
			explained[path] = true
		}
		if !ok {
			t.Errorf("%s of %s is not documented", path, cmp.Or(page, "the configuration"))
			return
		}
		delete(own[page], path)
		if strings.TrimSpace(d.meaning) == "" {
			t.Errorf("%s: the document does not say what it means", path)
		}
		example := strings.Trim(d.facts["Example"], "`")
		variable := "`" + envPrefix + envName(strings.ReplaceAll(path, ".", "_")) + "`"
		if strings.Contains(path, ".NAME.") {
			variable = "none"
		}
		for what, want := range map[string]string{
			"Type":        f.kind(),
			"Default":     "`" + f.show() + "`",
			"Environment": variable,
		} {
			if got := d.facts[what]; got != want {
				t.Errorf("%s: the document says %s: %s; want %s", path, what, got, want)
			}
		}
		if !strings.HasPrefix(example, f.key+" = ") {
			t.Errorf("%s: the example is %q", path, example)
		} else if _, err := known.parse("example of "+path, header(s, typ, path, f.key)+example, nil, nil, anyFile); err != nil {
			t.Errorf("the document's %v", err)
		}
		allowed := strings.ReplaceAll(d.facts["Allowed"], "`", "")
		if allowed == "" {
			t.Errorf("%s: the document does not say what is allowed", path)
		}
		for _, want := range refusals(s, typ, path, f.key) {
			if allowed != want {
				t.Errorf("%s: the document allows %s; the code allows %s", path, allowed, want)
			}
		}
	})
	for path := range doc {
		if !explained[path] {
			t.Errorf("%s is documented, and is no key", path)
		}
	}
	for page, left := range own {
		for path := range left {
			t.Errorf("%s documents %s, which is no key", page, path)
		}
	}
}

// header opens a table of that type, for one key.
func header(s section, typ, path, key string) string {
	if outer, _, named := strings.Cut(path, ".NAME."); named {
		text := fmt.Sprintf("%s\ntype = %q\n[%s.app]\n", s.header(), typ, outer)
		for _, needed := range []string{`query = "tasks.app"`, `port = 8080`} {
			if !strings.HasPrefix(needed, key+" ") {
				text += needed + "\n"
			}
		}
		return text
	}
	if s.name == "route" {
		text := s.header() + "\n"
		for _, needed := range []string{`path = "/orders/{id}"`, `upstream = "orders"`} {
			if !strings.HasPrefix(needed, key+" ") {
				text += needed + "\n"
			}
		}
		return text
	}
	if typ == "" || key == "type" {
		return s.header() + "\n"
	}
	return fmt.Sprintf("%s\ntype = %q\n", s.header(), typ)
}

// refusals tries values that few keys take and returns what the code says is allowed.
func refusals(s section, typ, path, key string) []string {
	var all []string
	for _, bad := range []any{
		"no; such {value}", int64(-1), int64(1 << 40), -0.5, "-1ns", "100000h", []any{"[", ""}, []any{""},
	} {
		b := builder{cfg: known.Default()}
		b.cfg.Routes = []Route{defaultRoute()}
		table := b.table(place{section: s.name, n: 1})
		if typ != "" {
			table = tableOf(s.name, typ)
		}
		if outer, _, named := strings.Cut(path, ".NAME."); named {
			table = freshInner(inner(table)[strings.TrimPrefix(outer, s.name+".")])
		}
		f, _ := fieldOf(table, key)
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
	sources := []string{
		"config.go", "kinds.go", "route.go", "upstream.go", "../guard/config.go", "../persist/config.go", "../status/config.go", "../tracing/config.go",
	}
	for _, kind := range known.Registries {
		sources = append(sources, sourceOf(kind.Config()))
	}
	for _, kind := range known.Gateways {
		sources = append(sources, sourceOf(kind.Config()))
	}
	for _, file := range sources {
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
	everyKey(func(_ section, _, path string, f field) {
		if !commented[f.key] {
			t.Errorf("%s: found in none of the sources", path)
		}
	})
}

// sourceOf is the file config.go of a kind.
func sourceOf(c any) string {
	return filepath.Join("..", strings.TrimPrefix(reflect.TypeOf(c).Elem().PkgPath(), "swallowkeeper/"), "config.go")
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
		c, err := known.parse("", text, nil, nil, anyFile)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := known.Default()
		want.Persist.Path = "/var/lib/swallowkeeper/dyups.upstream.conf"
		want.Gateways[0].Config.(*dyups.Config).Address = "unix:/run/dyups/dyups.sock"
		if diff := gocmp.Diff(want.TOML(), c.TOML()); diff != "" {
			t.Errorf("%s it is not the defaults (-want +got):\n%s", name, diff)
		}
	}
	lines, _ := keyLines(whole)
	all := strings.Split(whole, "\n")
	everyKey(func(s section, typ, path string, f field) {
		switch types := known.types(s.name); {
		case s.list && types == nil: // there is none by default: it stands there as an example
			if !strings.Contains(string(content), "\n#     "+f.key+" ") {
				t.Errorf("%s is missing", path)
			}
			return
		case s.list && typ != types[0]:
			return // it is the first that the file shows
		}
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
		if got := setting.FormatDuration(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}
