package kinds_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "swallowkeeper/operate" // it has all that gives reasons
	"swallowkeeper/reason"
)

// TestEveryReasonIsInChinese walks over all phrases of the program.
func TestEveryReasonIsInChinese(t *testing.T) {
	han, kebab := regexp.MustCompile(`\p{Han}`), regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	all := reason.All()
	if len(all) < 150 {
		t.Errorf("only %d phrases were found", len(all))
	}
	for _, p := range all {
		if !han.MatchString(p.Chinese) || han.MatchString(p.English) || p.English == "" {
			t.Errorf("%s: %q is %q in Chinese", p.Code(), p.English, p.Chinese)
		}
		if !kebab.MatchString(p.Code()) {
			t.Errorf("the code %q is not of small letters and hyphens", p.Code())
		}
		var args []any
		for i := range p.Blanks {
			args = append(args, "x"+strconv.Itoa(i)+"x")
		}
		r := p.With(args...)
		for i, blank := range p.Blanks {
			for _, text := range []string{r.String(), r.In(reason.Chinese)} {
				if !strings.Contains(text, "x"+strconv.Itoa(i)+"x") || strings.Contains(text, "{") {
					t.Errorf("%s: {%s} is not filled in %q", p.Code(), blank, text)
				}
			}
		}
	}
}

// declared is a phrase as it stands in the source.
type declared struct {
	at     token.Position
	blanks int
	used   bool
}

// TestReasonsStandWithTheirPackage reads the sources: each phrase is declared in its package's reasons.go, a kind's by a
// code that begins with its name, and is used with as many arguments as it has blanks. A text is what others wrote.
func TestReasonsStandWithTheirPackage(t *testing.T) {
	files := token.NewFileSet()
	packages := map[string][]*ast.File{} // by folder
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != ".." || d.Name() == "testdata"):
			return filepath.SkipDir
		}
		folder, name := filepath.Split(path)
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && folder != "../reason/" {
			tree, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			packages[filepath.Base(folder)+" "+folder] = append(packages[filepath.Base(folder)+" "+folder], tree)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	phrases := map[string]map[string]*declared{} // by package and variable
	for folder, trees := range packages {
		phrases[folder] = map[string]*declared{}
		for _, tree := range trees {
			ast.Inspect(tree, func(n ast.Node) bool {
				spec, is := n.(*ast.ValueSpec)
				if !is || len(spec.Values) != 1 || len(spec.Names) != 1 {
					return true
				}
				if call := calls(spec.Values[0], "reason", "New"); call != nil {
					phrases[folder][spec.Names[0].Name] = declaration(t, files.Position(call.Pos()), call)
				}
				return true
			})
		}
	}
	news := 0
	for folder, trees := range packages {
		for _, tree := range trees {
			ast.Inspect(tree, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if calls(n, "reason", "New") != nil {
						news++
					}
					if calls(n, "reason", "Text") != nil && ours(n) && !strings.HasSuffix(folder, "test/") { // a double may say anything
						t.Errorf("%s: words of ours are a phrase, with its Chinese", files.Position(n.Pos()))
					}
					if f, is := n.Fun.(*ast.SelectorExpr); is && (f.Sel.Name == "With" || f.Sel.Name == "Err") && n.Ellipsis == token.NoPos {
						if p := phraseOf(f.X, folder, phrases); p != nil && len(n.Args) != p.blanks {
							t.Errorf("%s: %d arguments for %d blanks", files.Position(n.Pos()), len(n.Args), p.blanks)
						}
					}
				case *ast.Ident:
					at := files.Position(n.Pos())
					if p := phrases[folder][n.Name]; p != nil && (at.Line != p.at.Line || at.Filename != p.at.Filename) {
						p.used = true
					}
				case *ast.SelectorExpr:
					if p := phraseOf(n, folder, phrases); p != nil {
						p.used = true
					}
				}
				return true
			})
		}
	}
	found := 0
	for _, of := range phrases {
		for name, p := range of {
			if found++; !p.used {
				t.Errorf("%s: nobody says %s", p.at, name)
			}
		}
	}
	if found != news || found < 150 {
		t.Errorf("%d phrases are declared as package variables, of %d", found, news)
	}
}

// calls is a call of a package's function, nil where it is none.
func calls(n ast.Expr, pkg, name string) *ast.CallExpr {
	call, is := n.(*ast.CallExpr)
	if !is {
		return nil
	}
	f, is := call.Fun.(*ast.SelectorExpr)
	if !is || f.Sel.Name != name {
		return nil
	}
	if id, is := f.X.(*ast.Ident); !is || id.Name != pkg {
		return nil
	}
	return call
}

func declaration(t *testing.T, at token.Position, call *ast.CallExpr) *declared {
	t.Helper()
	var texts []string
	for _, arg := range call.Args {
		literal, is := arg.(*ast.BasicLit)
		if !is {
			t.Fatalf("%s: a phrase is of literals", at)
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if filepath.Base(at.Filename) != "reasons.go" {
		t.Errorf("%s: the phrases of a package stand in its reasons.go", at)
	}
	for _, kind := range []string{"registry", "gateway"} {
		if rest, is := strings.CutPrefix(filepath.ToSlash(at.Filename), "../"+kind+"/"); is && strings.Contains(rest, "/") {
			if name, _, _ := strings.Cut(rest, "/"); !strings.HasPrefix(texts[0], name+"-") {
				t.Errorf("%s: the code %q does not begin with %s-", at, texts[0], name)
			}
		}
	}
	blanks := regexp.MustCompile(`\{[a-z0-9]+\}`).FindAllString(texts[1], -1)
	slices.Sort(blanks)
	return &declared{at: at, blanks: len(slices.Compact(blanks))}
}

// phraseOf is the phrase that an expression names, in its package or in another one.
func phraseOf(n ast.Expr, folder string, phrases map[string]map[string]*declared) *declared {
	switch n := n.(type) {
	case *ast.Ident:
		return phrases[folder][n.Name]
	case *ast.SelectorExpr:
		pkg, is := n.X.(*ast.Ident)
		if !is {
			return nil
		}
		for other, of := range phrases {
			if strings.HasPrefix(other, pkg.Name+" ") && of[n.Sel.Name] != nil {
				return of[n.Sel.Name]
			}
		}
	}
	return nil
}

// ours reports whether a call has words in its arguments.
func ours(call *ast.CallExpr) (found bool) {
	for _, arg := range call.Args {
		ast.Inspect(arg, func(n ast.Node) bool {
			if literal, is := n.(*ast.BasicLit); is && literal.Kind == token.STRING && strings.ContainsFunc(literal.Value, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
				found = true
			}
			return true
		})
	}
	return found
}

// say is a phrase by its code.
func say(t *testing.T, code string, args ...any) reason.Reason {
	t.Helper()
	for _, p := range reason.All() {
		if p.Code() == code {
			return p.With(args...)
		}
	}
	t.Fatalf("nobody says %q", code)
	return reason.Reason{}
}

func TestWhatTheDaemonSaysInChinese(t *testing.T) {
	check := func(name string) reason.Reason { return say(t, "consul-check", name, "critical") }
	deep := reason.Text("no")
	for range 100 {
		deep = say(t, "registry-trouble", "a", deep)
	}
	for _, c := range []struct {
		said   reason.Reason
		en, zh string
	}{
		{check(`"http"`), `check "http" is critical`, `检查 "http" 为 critical`},
		{say(t, "consul-node-check", `"disk"`, "n1", "critical"), `check "disk" of node n1 is critical`, `节点 n1 的检查 "disk" 为 critical`},
		{say(t, "consul-node-maintenance-for", "n1", `"kernel update"`), `node n1 is in maintenance: "kernel update"`, `节点 n1 处于维护模式："kernel update"`},
		{say(t, "gets-no-traffic", "10.0.0.1:80", "web", check("a")), `10.0.0.1:80 no longer receives traffic for web: check a is critical`, `10.0.0.1:80 不再承接 web 的流量：检查 a 为 critical`},
		{reason.Join(say(t, "changed", "a, b, c, 2 more"), say(t, "removed", "d")), `changed a, b, c, 2 more; removed d`, `变更 a, b, c, 2 more; 移除 d`},
		{
			reason.Join(say(t, "consul-health", say(t, "consul-check", `"a"`, "warning"), `"warning"`), say(t, "consul-canary", `"gray=b"`)),
			`check "a" is warning, which health = "warning" takes; tag "gray=b" puts it here`, `检查 "a" 为 warning，health = "warning" 允许接入; 标签 "gray=b" 将它归入此处`,
		},
		{say(t, "kept-all-the-same", check(`"http"`)), `check "http" is critical: it is kept in traffic`, `检查 "http" 为 critical：但仍保留其流量`},
		{
			say(t, "listed-but", say(t, "consul-passing", `"http"`), say(t, "out-guard")),
			`its registry lists it (check "http" is passing), but the guard holds everything`, `注册中心列出了它（检查 "http" 通过），但保护规则拦截了全部变更`,
		},
		{say(t, "registry-trouble", "consul", `Get "http://127.0.0.1:1": connection refused`), `registry consul: Get "http://127.0.0.1:1": connection refused`, `注册中心 consul：Get "http://127.0.0.1:1": connection refused`},
		{say(t, "max-removal", 3, 4, "50%"), `3 of 4 servers would go, max_removal allows 50%: removals are held`, `4 台服务器中有 3 台将被移除，max_removal 只允许 50%：移除已拦截`},
		{
			reason.Join(say(t, "max-removal", 4, 5, "50%"), say(t, "witness-accept", 3, 4), say(t, "witness-untried", 1)),
			`4 of 5 servers would go, max_removal allows 50%: removals are held; 3 of 4 still accept connections; 1 could not be tried`,
			`5 台服务器中有 4 台将被移除，max_removal 只允许 50%：移除已拦截; 4 台中仍有 3 台接受连接; 1 台未能探测`,
		},
		{
			say(t, "proven", 34, "max_removal"), `none of 34 servers answers from here: they go, though max_removal would hold them`,
			`从本机探测，34 台服务器均无应答：虽然 max_removal 会拦截，仍予移除`,
		},
		{say(t, "address-own", "10.0.0.1:8500", say(t, "of-registry", "consul")), `10.0.0.1:8500 is the address of registry consul`, `10.0.0.1:8500 是注册中心 consul 的地址`},
		{say(t, "address-own", "10.0.0.1:9180", say(t, "of-status-page")), `10.0.0.1:9180 is the address of the status page`, `10.0.0.1:9180 是状态页的地址`},
		{check(`"a; registry b: c"`), `check "a; registry b: c" is critical`, `检查 "a; registry b: c" 为 critical`}, // no name is changed
		{reason.Text("what nobody has heard"), "what nobody has heard", "what nobody has heard"},
		{reason.Text(""), "", ""},
		{deep, strings.Repeat("registry a: ", 100) + "no", strings.Repeat("注册中心 a：", 100) + "no"},
	} {
		if got := c.said.String(); got != c.en {
			t.Errorf("it is\n%q, want\n%q", got, c.en)
		}
		if got := c.said.In(reason.Chinese); got != c.zh {
			t.Errorf("%q is\n%q, want\n%q", c.en, got, c.zh)
		}
	}
}
