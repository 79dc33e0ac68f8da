package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLinks: each link from a page to another, or to a heading, leads somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(prose(t, page), -1) {
			path, heading, _ := strings.Cut(found[1], "#")
			if strings.Contains(path, ":") { // elsewhere
				continue
			}
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s leads nowhere", page, found[1])
			} else if heading != "" && strings.HasSuffix(to, ".md") && !slices.Contains(headings(t, to), heading) {
				t.Errorf("%s: %s: that page has no such heading", page, found[1])
			}
		}
	}
}

// pages are all Markdown files of the repository.
func pages(t *testing.T) (all []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			all = append(all, filepath.Join(root, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// prose is a page without its blocks of code.
func prose(t *testing.T, page string) string {
	t.Helper()
	return regexp.MustCompile("(?s)```.*?```").ReplaceAllString(read(t, page), "")
}

// headings are those of a page as links name them.
func headings(t *testing.T, page string) (all []string) {
	t.Helper()
	shown := regexp.MustCompile("\\[([^\\]]*)\\]\\([^)]*\\)|`")
	dropped := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	for _, line := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(t, page), -1) {
		text := strings.ToLower(shown.ReplaceAllString(line[1], "$1"))
		all = append(all, strings.ReplaceAll(dropped.ReplaceAllString(text, ""), " ", "-"))
	}
	return all
}
