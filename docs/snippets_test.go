package docs

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swallowkeeper/agent"
	"swallowkeeper/config"
	"swallowkeeper/kinds"
)

// snippet is one fenced block of a page.
type snippet struct {
	page, lang, text string
	line             int
	why              string // no test of this package runs it
}

func (s snippet) String() string { return fmt.Sprintf("%s:%d", s.page, s.line) }

// fence matches a block, with a marker right above it.
var fence = regexp.MustCompile("(?m)^(?:<!-- not run here: (.*) -->\n)?( *)```([a-z]*)\n((?s:.*?))^ *```$")

// snippets returns the blocks of a page.
func snippets(t *testing.T, page string) (all []snippet) {
	t.Helper()
	text := read(t, page)
	for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
		part := func(n int) string {
			if at[2*n] < 0 {
				return ""
			}
			return text[at[2*n]:at[2*n+1]]
		}
		all = append(all, snippet{
			page: page, why: part(1), lang: part(3),
			text: strings.ReplaceAll("\n"+part(4), "\n"+part(2), "\n")[1:], line: 1 + strings.Count(text[:at[4]], "\n"),
		})
	}
	return all
}

// TestSnippets: each block on a page is what its language says, and a block of commands is typed by a test or says above
// itself why not: <!-- not run here: REASON -->. A reason that names a test's folder names one that is there.
func TestSnippets(t *testing.T) {
	folder := regexp.MustCompile(`[a-z]+(?:/[a-z]+)+`)
	seen := map[string]int{}
	for _, page := range pages(t) {
		all := snippets(t, page)
		if fences := len(regexp.MustCompile("(?m)^ *```").FindAllString(read(t, page), -1)); fences != 2*len(all) {
			t.Errorf("%s has %d fences, and %d blocks were read", page, fences, len(all))
		}
		for _, s := range all {
			seen[s.lang]++
			for _, named := range folder.FindAllString(s.why, -1) {
				if _, err := os.Stat(filepath.Join(root, named)); err != nil {
					t.Errorf("%s: %v", s, err)
				}
			}
			check := map[string]func(*testing.T, snippet) error{
				"": drawn, "text": drawn, "markdown": drawn, "console": isTyped, "sh": isTyped,
				"toml": loads, "json": drawn, "yaml": drawn, "nginx": drawn, "go": isGo, "ini": isUnit, "hcl": isMarked,
			}[s.lang]
			if check == nil {
				t.Errorf("%s: nothing checks a block of %q", s, s.lang)
			} else if err := check(t, s); err != nil {
				t.Errorf("%s: %v\n%s", s, err, s.text)
			}
		}
	}
	for lang, least := range map[string]int{"console": 40, "sh": 15, "toml": 30} {
		if seen[lang] < least {
			t.Errorf("%d blocks of %s were seen", seen[lang], lang)
		}
	}
	examples, err := filepath.Glob("../examples/*.toml")
	if err != nil || len(examples) == 0 {
		t.Errorf("no example: %v", err)
	}
	for _, file := range examples {
		if err := loads(t, snippet{text: read(t, file)}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// drawn is what nobody types, and what TestDataSnippets and TestNginxSnippets read.
func drawn(_ *testing.T, s snippet) error {
	if s.why != "" {
		return fmt.Errorf("it has a marker, and runs nowhere anyway")
	}
	return nil
}

func isMarked(_ *testing.T, s snippet) error {
	if s.why == "" {
		return fmt.Errorf("no test runs it, and no marker above it says why")
	}
	return nil
}

// isTyped is a block of commands.
func isTyped(t *testing.T, s snippet) error {
	t.Helper()
	is := false
	for _, at := range typed {
		is = is || s.page == at.page && s.lang == "console" && within(t, s, at.under)
	}
	if !is && s.why == "" {
		return fmt.Errorf("no test types it, and no marker above it says why")
	}
	return nil
}

// loads reads a configuration as the program or the agent does, or a file of the registry file. What files it names are there.
func loads(t *testing.T, s snippet) error {
	t.Helper()
	dir := t.TempDir()
	text := regexp.MustCompile(`"/etc/swallowkeeper(?:/[^"]*)?\.[a-z]+"`).ReplaceAllStringFunc(s.text, func(path string) string {
		file := filepath.Join(dir, filepath.Base(strings.Trim(path, `"`)))
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%q", file)
	})
	name := filepath.Join(dir, "a.toml")
	if strings.Contains(text, "[[upstream]]") {
		text, name = fmt.Sprintf("[[registry]]\ntype = \"file\"\npath = %q\n", name), filepath.Join(dir, "b.toml")
		if err := os.WriteFile(filepath.Join(dir, "a.toml"), []byte(s.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(text, "# /etc/swallowkeeper-agent.toml\n") {
		_, err := agent.Load(name, agent.Flags{})
		return err
	}
	_, err := config.Kinds{Registries: kinds.Registries(), Gateways: kinds.Gateways()}.Load(name, nil, nil)
	return err
}

func isGo(_ *testing.T, s snippet) error {
	_, err := parser.ParseFile(token.NewFileSet(), "a.go", "package a\n"+strings.ReplaceAll(s.text, "…", "_"), parser.AllErrors)
	return err
}

// isUnit is a file of systemd's.
func isUnit(_ *testing.T, s snippet) error {
	for line := range strings.Lines(s.text) {
		if !regexp.MustCompile(`^(#.*|\[[A-Z][a-z]+\]|[A-Z]\w*=.+|)\n$`).MatchString(line) {
			return fmt.Errorf("%q is no line of a unit", line)
		}
	}
	return nil
}
