package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

// TestNginxOfMoving: what the pages on moving over show of an nginx.conf, a real nginx takes.
func TestNginxOfMoving(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx here: scripts/setup-tests.sh installs it on Debian")
	}
	pages, err := filepath.Glob("moving/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?ms)^```nginx\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			seen++
			dir := t.TempDir()
			conf := strings.ReplaceAll(block[1], "listen 80;", "listen "+nginxtest.Free(t)+";") // a test of the file listens
			conf = "pid " + dir + "/pid;\nevents {}\n" + conf
			file := filepath.Join(dir, "nginx.conf")
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), nginxtest.Nginx, "-t", "-q", "-e", filepath.Join(dir, "log"), "-c", file).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", page, err, out)
			}
		}
	}
	if seen == 0 {
		t.Error("no page shows one")
	}
}
