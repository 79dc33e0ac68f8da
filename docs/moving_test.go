package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swallowkeeper/agent"
	"swallowkeeper/config"
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
