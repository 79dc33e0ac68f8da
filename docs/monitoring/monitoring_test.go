// Package monitoring_test holds the monitoring's files to the metrics that the code has.
package monitoring_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// names are the metrics in the code: read from where they are defined, as many show up
// only when something happens.
func names(t *testing.T) map[string]bool {
	t.Helper()
	defined := regexp.MustCompile(`desc\("([a-z_]+)"|Name:\s+"swallowkeeper_([a-z_]+)"`)
	all := map[string]bool{}
	rooms, _ := filepath.Glob("../../*/metrics.go")
	inner, _ := filepath.Glob("../../*/*/metrics.go")
	for _, file := range slices.Concat(rooms, inner, []string{"../../daemon/surface.go"}) {
		for _, m := range defined.FindAllStringSubmatch(read(t, file), -1) {
			all["swallowkeeper_"+m[1]+m[2]] = true
		}
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestNames(t *testing.T) {
	all := names(t)
	if len(all) < 20 {
		t.Fatalf("only %d metrics were found in the code", len(all))
	}
	used := regexp.MustCompile(`(?:^|[^$a-z_])(swallowkeeper_[a-z_]+)`) // with a dollar it is a variable of nginx's
	registries, _ := filepath.Glob("../registry-*.md")
	gateways, _ := filepath.Glob("../gateway-*.md")
	pages := slices.Concat(registries, gateways)
	for _, file := range append(pages, "README.md", "alerts.yaml", "alerts_test.yaml", "dashboard.json") {
		found := used.FindAllStringSubmatch(read(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, match := range found {
			name := match[1]
			if !all[name] && !all[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s names %s, which the code does not have", file, name)
			}
		}
	}
	told := read(t, "README.md")
	for _, page := range pages { // a kind tells of its metrics on its own
		told += read(t, page)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.Contains(told, "`"+name+"`") {
			t.Errorf("neither README.md nor the page of a kind tells of %s", name)
		}
	}
}
