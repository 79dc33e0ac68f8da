package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// fenced are the blocks of a page that are typed into a shell.
var fenced = regexp.MustCompile("(?ms)^```(console|sh)\n(.*?)^```$")

// TestDocumentedCommands: each block of commands on a page, in either language, is one that a shell takes, and what it
// calls of this repository is there: commands of swallowkeeper with their flags and values, targets of make, scripts,
// tests and benchmarks. The quick start and docs/docker-etcd-nginx.md are typed as well, by tests of their own.
func TestDocumentedCommands(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	checked := map[string]int{}
	for _, page := range pages {
		for _, block := range fenced.FindAllStringSubmatch(text(t, page), -1) {
			scripts := []string{block[2]}
			if block[1] == "console" {
				scripts = typed(block[2])
			}
			for _, script := range scripts {
				file, err := syntax.NewParser().Parse(strings.NewReader(script), page)
				if err != nil {
					t.Errorf("%s: %v\n%s", page, err, script)
					continue
				}
				syntax.Walk(file, func(n syntax.Node) bool {
					if call, is := n.(*syntax.CallExpr); is && len(call.Args) > 0 {
						checked[documented(t, page, words(call))]++
					}
					return true
				})
			}
		}
	}
	for what, least := range map[string]int{"swallowkeeper": 50, "make": 8, "go": 6} {
		if checked[what] < least {
			t.Errorf("%d commands of %s were found", checked[what], what)
		}
	}
}

// typed are the commands of a console block: what follows a prompt, to where the shell has all of it.
func typed(block string) (scripts []string) {
	open := false
	for line := range strings.Lines(block) {
		begins := strings.HasPrefix(line, "$ ") || strings.HasPrefix(line, "# ")
		switch {
		case begins && !open:
			scripts = append(scripts, line[2:])
		case open:
			scripts[len(scripts)-1] += line
		default: // what it prints
			continue
		}
		_, err := syntax.NewParser().Parse(strings.NewReader(scripts[len(scripts)-1]), "")
		open = syntax.IsIncomplete(err) || strings.HasSuffix(strings.TrimRight(line, "\n"), `\`)
	}
	return scripts
}

// words are those of a call. What the shell would put in for a variable or a command is a word that any flag takes.
func words(call *syntax.CallExpr) (all []string) {
	for _, w := range call.Args {
		var text strings.Builder
		syntax.Walk(w, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.Lit:
				text.WriteString(n.Value)
			case *syntax.SglQuoted:
				text.WriteString(n.Value)
			case *syntax.ParamExp, *syntax.CmdSubst:
				text.WriteString("1")
				return false
			}
			return true
		})
		all = append(all, text.String())
	}
	return all
}

// documented checks a command, and returns which program it is of.
func documented(t *testing.T, page string, args []string) string {
	t.Helper()
	args = unwrapped(args)
	shown := page + ": " + strings.Join(args, " ")
	name := filepath.Base(args[0])
	switch {
	case name == "swallowkeeper":
		c, rest, err := (&program{}).root().Traverse(args[1:])
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if err == nil {
			err = c.ValidateArgs(c.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %v", shown, err)
		}
	case name == "make":
		makefile := text(t, "../Makefile")
		for _, target := range args[1:] {
			if !strings.Contains(target, "=") && !strings.Contains(makefile, "\n"+target+":") {
				t.Errorf("%s: the Makefile has no target %s", shown, target)
			}
		}
	case name == "go" && len(args) > 2 && args[1] == "test":
		tests(t, shown, args[2:])
	case strings.HasPrefix(args[0], "scripts/"):
		if _, err := os.Stat("../" + args[0]); err != nil {
			t.Errorf("%s: %v", shown, err)
		}
	}
	return name
}

// unwrapped is a command without those that run it as another user or in a container.
func unwrapped(args []string) []string {
	switch {
	case args[0] == "sudo" && len(args) > 1:
		return unwrapped(args[1:])
	case args[0] == "runuser":
		if n := slices.Index(args, "--"); n > 0 {
			return unwrapped(args[n+1:])
		}
	case args[0] == "docker" && len(args) > 3 && args[1] == "exec":
		return unwrapped(args[3:])
	}
	return args
}

// tests checks that the packages of go test are there, and have the tests or benchmarks that it is to run.
func tests(t *testing.T, shown string, args []string) {
	t.Helper()
	var code strings.Builder
	patterns := map[string]string{}
	for i, arg := range args {
		switch {
		case strings.HasPrefix(arg, "./"):
			files, err := filepath.Glob(filepath.Join("..", strings.TrimSuffix(arg, "..."), "*_test.go"))
			if err != nil || len(files) == 0 && !strings.Contains(arg, "NAME") {
				t.Errorf("%s: %s has no tests (%v)", shown, arg, err)
			}
			for _, file := range files {
				code.WriteString(text(t, file))
			}
		case (arg == "-run" || arg == "-bench") && i+1 < len(args) && args[i+1] != "^$":
			patterns[map[string]string{"-run": "Test", "-bench": "Benchmark"}[arg]], _, _ = strings.Cut(args[i+1], "/")
		}
	}
	for kind, pattern := range patterns {
		found := false
		for _, f := range regexp.MustCompile(`(?m)^func (`+kind+`\w*)\(`).FindAllStringSubmatch(code.String(), -1) {
			is, err := regexp.MatchString(pattern, f[1])
			found = found || err == nil && is
		}
		if !found {
			t.Errorf("%s: no %s is called %s", shown, kind, pattern)
		}
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
