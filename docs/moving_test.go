package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swallowkeeper/agent"
	"swallowkeeper/config"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
	"swallowkeeper/kinds"
)

// TestConfigurationOfMoving: each configuration on the pages on moving over, and each example, loads as it stands there.
func TestConfigurationOfMoving(t *testing.T) {
	all := config.Kinds{Registries: kinds.Registries(), Gateways: kinds.Gateways()}
	load := func(name, text string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "a.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasPrefix(text, "# /etc/swallowkeeper-agent.toml\n") {
			_, err = agent.Load(file, agent.Flags{})
		} else {
			_, err = all.Load(file, nil, nil)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	for _, pattern := range []string{"moving/*.md", "agent.md", "../examples/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text := read(t, file)
			if filepath.Ext(file) == ".toml" {
				load(file, text)
				continue
			}
			blocks := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$").FindAllStringSubmatch(text, -1)
			if len(blocks) == 0 {
				t.Errorf("%s shows no configuration", file)
			}
			for _, block := range blocks {
				load(file, block[1])
			}
		}
	}
}

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
