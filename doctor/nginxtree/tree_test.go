package nginxtree

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outline is a tree in one line a directive.
func outline(list []*Directive) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%d:%s%q", d.Line, strings.Repeat(" ", len(d.Path())), d.Args)
		if d.Lua != "" {
			fmt.Fprintf(&b, " lua %q", d.Lua)
		}
		b.WriteString("\n" + outline(d.Block))
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", " # a comment\n", ""},
		{"words", "a b\tc;\nd;", "1:[\"a\" \"b\" \"c\"]\n2:[\"d\"]\n"},
		{"quotes", `a "b ; {" 'c "d"' "e\"f" "#";`, `1:["a" "b ; {" "c \"d\"" "e\"f" "#"]` + "\n"},
		{"a quote over lines", "a 'b\nc' d;\ne;", "1:[\"a\" \"b\\nc\" \"d\"]\n3:[\"e\"]\n"},
		{"variables", "set ${a}b $c {}", "1:[\"set\" \"${a}b\" \"$c\"]\n"},
		{"# within a word", "a b#c; # d;\n", "1:[\"a\" \"b#c\"]\n"},
		{"escaped", `a b\;c \"d;`, `1:["a" "b\\;c" "\"d"]` + "\n"},
		{"a bracket behind a quote", `if ($a = "b") { c; }`, `1:["if" "($a" "=" "b" ")"]` + "\n1: [\"c\"]\n"},
		{"a byte order mark", "\ufeffa;", "1:[\"a\"]\n"},
		{"a byte order mark within", "a; \ufeffb \ufeff;", "1:[\"a\"]\n1:[\"\\ufeffb\" \"\\ufeff\"]\n"},
		{
			"Lua", "x { content_by_lua_block {\n local a = '}' -- }\n b = [[ } ]] --[==[ } \n]] ]==] c = { \"\\\"}\" }\n} y; }",
			"1:[\"x\"]\n1: [\"content_by_lua_block\"] lua \"\\n local a = '}' -- }\\n b = [[ } ]] --[==[ } \\n]] ]==] c = { \\\"\\\\\\\"}\\\" }\\n\"\n5: [\"y\"]\n",
		},
		{"Lua with an argument", "set_by_lua_block $a { return 1 }", "1:[\"set_by_lua_block\" \"$a\"] lua \" return 1 \"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := Load("/m", dumpOf("/m", c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, outline(list.Top)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func dumpOf(name, text string) dump {
	b := &strings.Builder{}
	b.WriteString(text)
	return dump{name: b}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a":                        "/f:1: unexpected end of the file",
		"a {\nb;":                  "/f:2: unexpected end of the file",
		"a;\n}":                    `/f:2: unexpected "}"`,
		"{":                        `/f:1: unexpected "{"`,
		"a { b }":                  `/f:1: unexpected "}"`,
		"a \n'b;":                  `/f:2: no closing "'"`,
		`a "b"c;`:                  `/f:1: unexpected "c" behind a closing quote`,
		"a_by_lua_block {\n {":     "/f:1: the block of Lua has no end",
		strings.Repeat("a {", 300): "/f:1: blocks more than 200 deep",
	} {
		if _, err := Parse("/f", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestReadDump(t *testing.T) {
	const text = `nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
# configuration file /etc/nginx/nginx.conf:
http {
    include conf.d/*.conf;
    include /etc/nginx/absent/*.conf;
}

# configuration file /etc/nginx/conf.d/a.conf:
# mine
server { include snippets/s; }

# configuration file /etc/nginx/conf.d/b.conf:
upstream b { server 127.0.0.1:1; }

# configuration file /etc/nginx/snippets/s:
listen 80;

`
	tree, err := ReadDump([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	tree.Walk(func(d *Directive) {
		got = append(got, d.Where()+" "+strings.Join(append(d.Path(), d.String()), " > "))
	})
	want := []string{
		"/etc/nginx/nginx.conf:1 http {",
		"/etc/nginx/nginx.conf:2 http > include conf.d/*.conf;",
		"/etc/nginx/conf.d/a.conf:2 http > server {",
		"/etc/nginx/conf.d/a.conf:2 http > server > include snippets/s;",
		"/etc/nginx/snippets/s:1 http > server > listen 80;",
		"/etc/nginx/conf.d/b.conf:1 http > upstream b {",
		"/etc/nginx/conf.d/b.conf:1 http > upstream > server 127.0.0.1:1;",
		"/etc/nginx/nginx.conf:3 http > include /etc/nginx/absent/*.conf;",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if first := tree.First["/etc/nginx/conf.d/a.conf"]; first != "# mine" {
		t.Errorf("first line %q", first)
	}
	for _, m := range []string{"", bom} {
		text := []byte(m + marker + "/n/nginx.conf:\ninclude b;\n" + marker + "/n/b:\n" + m + "c;\n")
		tree, err := ReadDump(text)
		switch {
		case err != nil:
			t.Error(err)
		case !IsDump(text) || tree.Main != "/n/nginx.conf" || len(tree.Top) != 2:
			t.Errorf("%q is read as %s: %s", text, tree.Main, outline(tree.Top))
		case m == "" && len(tree.BOM) > 0 || m != "" && !slices.Equal(tree.BOM, []string{"/n/b"}):
			t.Errorf("%q: byte order marks in %q", text, tree.BOM)
		}
	}
	if _, err := ReadDump([]byte("http {}")); err == nil {
		t.Error("what is no dump is taken for one")
	}
}

func TestReadDisk(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nginx.conf": "include a/*.conf; include gone.conf;", "a/1.conf": "x;", "a/.2.conf": "y;",
		"loop.conf": "include loop.conf;",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := ReadDisk(filepath.Join(dir, "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("1:[\"include\" \"a/*.conf\"]\n1:[\"x\"]\n1:[\"include\" \"gone.conf\"]\n", outline(tree.Top)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"loop.conf": "no end", "absent.conf": "no such file", "a": "no regular file"} {
		if _, err := ReadDisk(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// FuzzParse holds that what is read can be written and read again as the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a b;", "a { b 'c' \"d\\\"\" ; }", "x_by_lua_block { a = '}' --[[ } ]] }", "# c\na ${b}{ }", "include x;", "a \\\n;",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse("/f", []byte(text))
		if err != nil {
			return
		}
		lines := strings.Count(text, "\n") + 1
		var check func([]*Directive)
		check = func(list []*Directive) {
			for _, d := range list {
				if len(d.Args) == 0 || d.Line < 1 || d.Line > lines {
					t.Fatalf("directive %+v of %q", d, text)
				}
				if d.Lua == "" && !strings.HasSuffix(d.Name(), luaBlock) && !strings.Contains(strings.Join(d.Args, ""), `\`) {
					end := ""
					if d.HasBlock {
						end = "}"
					}
					again, err := Parse("/f", []byte(d.String()+end))
					if err != nil || len(again) != 1 || !cmp.Equal(again[0].Args, d.Args) {
						t.Fatalf("%q is written as %q and read as %v, %v", d.Args, d.String()+end, again, err)
					}
				}
				check(d.Block)
			}
		}
		check(list)
		_, _ = ReadDump([]byte(marker + "/f:\n" + text))
	})
}

// A pipe in the place of a file has nobody who writes: it must not keep the reader waiting.
func TestReadDiskWaitsForNoPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "nginx.conf")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDisk(pipe); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("error: %v", err)
	}
}
