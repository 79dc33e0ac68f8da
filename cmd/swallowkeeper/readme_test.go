package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBothREADMEsSayTheSame holds the Chinese README to the English one: what is missing, or
// changed, in one of them is found.
func TestBothREADMEsSayTheSame(t *testing.T) {
	t.Parallel()
	parts := func(path string) map[string][]string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string][]string{}
		blocks := regexp.MustCompile("(?s)```.*?```")
		all["code blocks"] = blocks.FindAllString(string(text), -1)
		prose := blocks.ReplaceAllString(string(text), "")
		all["headings"] = regexp.MustCompile(`(?m)^#+ `).FindAllString(prose, -1)
		for line := range strings.Lines(prose) {
			if n := strings.Count(line, "|"); n > 2 {
				all["table rows"] = append(all["table rows"], strings.Repeat("|", n))
			}
		}
		all["list entries"] = regexp.MustCompile(`(?m)^(- \*\*|\d+\.)`).FindAllString(prose, -1)
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(prose, -1) {
			if !strings.HasPrefix(link[1], "README") && !strings.HasPrefix(link[1], "docs/images/page-") {
				all["links"] = append(all["links"], strings.Replace(link[1], "docs/zh-CN/", "docs/", 1)) // a page that is translated
			}
		}
		slices.Sort(all["links"])
		return all
	}
	if diff := cmp.Diff(parts("../../README.md"), parts("../../README.zh-CN.md")); diff != "" {
		t.Errorf("README.md and README.zh-CN.md (-English +Chinese):\n%s", diff)
	}
}
