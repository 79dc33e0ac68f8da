package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse: whatever the text, there is a configuration or an error that names its
// place, never a panic; and what is shown of a good one is as good.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/bad/*.toml"} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range list {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(content), "GUARD_MIN_SERVICES=3", "upstream.web.weight=3")
		}
	}
	f.Add("", "REGISTRY_2_TAGS=[\"a\", 'b']", "registry.2.tags=a,b")
	f.Fuzz(func(t *testing.T, content, env, override string) {
		c, err := known.parse("FILE", content, []string{envPrefix + env}, []string{override}, anyFile)
		if err != nil {
			var wrong *Error
			if !errors.As(err, &wrong) || wrong.Where == "" || wrong.Problem == "" {
				t.Errorf("%v does not say where and what", err)
			}
			return
		}
		shown := c.TOML()
		if strings.Contains(shown, "\n# ") || strings.Contains(shown, "(set)") {
			return // what a comment or a secret stands for can't come back
		}
		again, err := known.parse("FILE", shown, nil, nil, anyFile)
		if err != nil {
			t.Fatalf("what is shown does not load: %v\n%s", err, shown)
		}
		if got := again.TOML(); got != shown {
			t.Errorf("shown, loaded and shown:\n%s\nwas\n%s", got, shown)
		}
	})
}

// FuzzKeyLines: every line that is found is a line of the text.
func FuzzKeyLines(f *testing.F) {
	f.Add("[a]\nb = [{c = \"\"\"\n\"\"\"}]")
	f.Fuzz(func(t *testing.T, content string) {
		last := strings.Count(content, "\n") + 1
		lines, deep := keyLines(content)
		for key, line := range lines {
			if line < 1 || line > last {
				t.Errorf("%q is on line %d of %d", key, line, last)
			}
		}
		if deep > last {
			t.Errorf("too deep at line %d of %d", deep, last)
		}
	})
}
