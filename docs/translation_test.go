package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTranslations: each page in zh-CN has what its English original has and no language changes: keys with their values,
// commands, messages, and the same headings and rows of tables.
func TestTranslations(t *testing.T) {
	for _, page := range []string{"configuration.md", "incidents.md"} {
		if diff := cmp.Diff(languageless(t, page), languageless(t, "zh-CN/"+page)); diff != "" {
			t.Errorf("%s and its translation (-English +Chinese):\n%s", page, diff)
		}
	}
}

var (
	block   = regexp.MustCompile("(?s)```\\w*\n.*?```")
	remark  = regexp.MustCompile(`\s+# .*`)
	quoted  = regexp.MustCompile("`[^`]+`")
	heading = regexp.MustCompile(`^(#+) (.*)`)
	value   = regexp.MustCompile(`^- (?:Default: |默认：|Environment: |环境变量：|Example: |示例：)(.*)`)
)

// languageless is what a page has in any language.
func languageless(t *testing.T, page string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, b := range block.FindAllString(read(t, page), -1) {
		for line := range strings.Lines(b) {
			all["code"] = append(all["code"], strings.TrimSpace(remark.ReplaceAllString(line, "")))
		}
	}
	for line := range strings.Lines(prose(t, page)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			all["headings"] = append(all["headings"], m[1])
			if strings.ContainsAny(m[2], ".[") {
				all["keys"] = append(all["keys"], m[2])
			}
		}
		if m := value.FindStringSubmatch(line); m != nil {
			all["values"] = append(all["values"], m[1])
		}
		if strings.HasPrefix(line, "|") {
			words := quoted.FindAllString(line, -1)
			slices.Sort(words)
			all["rows"] = append(all["rows"], strings.Join(words, " "))
		}
	}
	return all
}
