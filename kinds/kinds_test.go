package kinds_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/config"
	"swallowkeeper/kinds"
	"swallowkeeper/registry"
)

var all = config.Kinds{Registries: kinds.Registries(), Gateways: kinds.Gateways()}

// TestRegistries demands of each kind what docs/adding-a-kind.md says.
func TestRegistries(t *testing.T) {
	metrics := prometheus.NewRegistry()
	for _, kind := range kinds.Registries() {
		t.Run(kind.Name, func(t *testing.T) {
			named(t, "registry", kind.Name, kind.Config(), kind.Config())
			page(t, "registry-"+kind.Name+".md", kind.Name)
			c := loads(t, kind.Example)
			if len(c.Registries) != 1 || c.Registries[0].Type != kind.Name {
				t.Errorf("its example is no table of its type:\n%s", kind.Example)
			}
			noenv := func(string) string { return "" }
			if name := c.Registries[0].Config.Identity(noenv); !registry.ValidName(name) || name != c.Registries[0].Config.Identity(noenv) {
				t.Errorf("its name may not be %q", name)
			}
			if kind.Metrics != nil {
				if _, err := kind.Metrics(metrics); err != nil {
					t.Errorf("its metrics beside those of the other kinds: %v", err)
				}
			}
			conformance(t, folderOf(kind.Config()), kind.Name, "registrytest")
		})
	}
}

// TestGateways demands of each kind what docs/adding-a-kind.md says.
func TestGateways(t *testing.T) {
	metrics := prometheus.NewRegistry()
	for _, kind := range kinds.Gateways() {
		t.Run(kind.Name, func(t *testing.T) {
			named(t, "gateway", kind.Name, kind.Config(), kind.Config())
			page(t, "gateway-"+kind.Name+".md", kind.Name)
			c := loads(t, kind.Example)
			if len(c.Gateways) != 1 || c.Gateways[0].Type != kind.Name {
				t.Errorf("its example is no table of its type:\n%s", kind.Example)
			}
			if key, where := c.Gateways[0].Config.Identity(); key == "" || where == "" {
				t.Errorf("nothing says where it is: %q, %q", key, where)
			}
			if kind.Metrics != nil {
				if _, err := kind.Metrics(metrics); err != nil {
					t.Errorf("its metrics beside those of the other kinds: %v", err)
				}
			}
			conformance(t, folderOf(kind.Config()), kind.Name, "gatewaytest")
		})
	}
}

// named looks at what all kinds have alike: a name, and each time a configuration of its own that is right as it is.
func named(t *testing.T, list, name string, one, other interface{ Validate() error }) {
	t.Helper()
	if !regexp.MustCompile(`^[a-z]+$`).MatchString(name) {
		t.Errorf("its name is %q: allowed are small letters", name)
	}
	if err := one.Validate(); err != nil {
		t.Errorf("its defaults are not right: %v", err)
	}
	if reflect.ValueOf(one).Kind() != reflect.Pointer || one == other {
		t.Error("two tables share one configuration")
	}
	if folder := folderOf(one); filepath.Base(folder) != name || list == "registry" && filepath.Dir(folder) != filepath.Join("..", "registry") {
		t.Errorf("it lives in %s", folder)
	}
}

// folderOf is the folder of a configuration's package.
func folderOf(c any) string {
	return filepath.Join("..", strings.TrimPrefix(reflect.TypeOf(c).Elem().PkgPath(), "swallowkeeper/"))
}

func loads(t *testing.T, example string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "example.toml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := all.Load(file, nil, nil)
	if err != nil {
		t.Errorf("its example does not load: %v", err)
	}
	return c
}

// page looks for the headings of a kind's page, in their order.
func page(t *testing.T, name, kind string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Error(err)
		return
	}
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	if want := []string{"Name", "Description", "Configuration", "Example", "When it fails", "Metrics"}; !slices.Equal(found, want) {
		t.Errorf("docs/%s has the headings %q, want %q", name, found, want)
	}
	if !strings.Contains(string(text), "## Name\n\n`"+kind+"`") {
		t.Errorf("docs/%s does not begin with the name", name)
	}
}

// conformance looks whether the tests of a kind end by the Main of its suite, which fails where the suite has not
// run against what it is handed: against the real thing, and against the double where the folder of one is there.
func conformance(t *testing.T, folder, name, suite string) {
	t.Helper()
	want := []string{"Real"}
	if _, err := os.Stat(filepath.Join(folder, name+"test")); err == nil {
		want = append(want, "Double")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Decls {
			f, is := d.(*ast.FuncDecl)
			if !is || f.Name.Name != "TestMain" {
				continue
			}
			// os.Exit(SUITE.Main(m, …)) and nothing else: no word before it skips the suite.
			if len(f.Body.List) != 1 || !isCall(f.Body.List[0], "os.Exit") {
				t.Errorf("%s: TestMain does not end with what %s.Main says", file, suite)
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if call, is := n.(*ast.CallExpr); is && show(call.Fun) == suite+".Main" {
					for _, arg := range call.Args[1:] {
						parts = append(parts, strings.TrimPrefix(show(arg), suite+"."))
					}
				}
				return true
			})
		}
	}
	for _, part := range want {
		if !slices.Contains(parts, part) {
			t.Errorf("nothing sees to it that the suite runs against the %s: %s.Main(m, %s) is missing in TestMain", strings.ToLower(part), suite, part)
		}
	}
}

func isCall(s ast.Stmt, of string) bool {
	e, is := s.(*ast.ExprStmt)
	if !is {
		return false
	}
	call, is := e.X.(*ast.CallExpr)
	return is && show(call.Fun) == of
}

// show writes a name, with its package where it has one.
func show(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return show(e.X) + "." + e.Sel.Name
	}
	return fmt.Sprintf("%T", e)
}

// mayName are the places that may name a kind, each with its reason.
var mayName = map[string]string{
	"kinds":                     "it is the list",
	"registry/":                 "the kinds themselves",
	"gateway/":                  "the kinds themselves",
	"dyups":                     "a kind itself",
	"demo":                      "it shows one of each",
	"bench":                     "it measures one of each",
	"internal/consultestserver": "it starts the real one for tests",
	"internal/etcdtestserver":   "it starts the real one for tests",
	"internal/caddytestserver":  "it starts the real one for tests",
	"scripts/caddy":             "it is the real one",

	"cli/demo.go":       "the demo's command",
	"daemon/control.go": "the demo has one of each",
	"cli/nginx.go":      "it installs the library of one",
	"agent":             "it writes what one kind knows for others to read",
	"cli/agent.go":      "its command",

	"doctor":             "what it reads in nginx.conf is called by the module's name",
	"internal/nginxconf": "what the module can't take is not written",
	"status/statustest":  "a story needs names",
	"scripts/package":    "what a package brings is made for the default kinds",
}

// confFile is what the conf file has been called since the first version.
const confFile = "dyups.upstream.conf"

// commonWords are kinds, here or to come, whose name is a word like others: their packages alone are looked for.
var commonWords = []string{"file", "docker", "dns", "nginx"}

// TestNobodyElseNamesAKind: what is not on the list above imports no kind and says no kind's name; comments may.
func TestNobodyElseNamesAKind(t *testing.T) {
	packages, names := map[string]bool{}, []string{}
	add := func(name string, c any) {
		packages[reflect.TypeOf(c).Elem().PkgPath()] = true
		if !slices.Contains(commonWords, name) {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	for _, kind := range kinds.Registries() {
		add(kind.Name, kind.Config())
	}
	for _, kind := range kinds.Gateways() {
		add(kind.Name, kind.Config())
	}
	named := regexp.MustCompile("(?i)" + strings.Join(names, "|"))
	looked := 0
	var found []string
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		from, _ := filepath.Rel("..", path)
		from = filepath.ToSlash(from)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && from != "." || d.Name() == "testdata" || d.Name() == "dist" || d.Name() == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || allowed(from) {
			return nil
		}
		looked++
		files := token.NewFileSet()
		tree, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			said := ""
			switch n := n.(type) {
			case *ast.ImportSpec:
				if packages[strings.Trim(n.Path.Value, `"`)] {
					t.Errorf("%s imports a kind: %s", files.Position(n.Pos()), n.Path.Value)
				}
				return false
			case *ast.Ident:
				said = n.Name
			case *ast.BasicLit:
				said = n.Value
			}
			if named.MatchString(strings.ReplaceAll(said, confFile, "")) {
				found = append(found, fmt.Sprintf("%s: %.80q", files.Position(n.Pos()), said))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Errorf("%d places name a kind; one whose name is a word like others goes into commonWords:\n%s",
			len(found), strings.Join(found[:min(len(found), 10)], "\n"))
	}
	if looked < 100 {
		t.Errorf("only %d files were looked at", looked)
	}
}

func allowed(file string) bool {
	for place := range mayName {
		if file == place || strings.HasPrefix(file, strings.TrimSuffix(place, "/")+"/") && (!strings.HasSuffix(place, "/") || strings.Count(file, "/") > 1) {
			return true
		}
	}
	return false
}
