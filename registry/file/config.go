package file

import (
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// Config is a [[registry]] table with type = "file".
type Config struct {
	// Path is a file, *.toml or *.json, or a folder of such files.
	Path string `toml:"path"`
	// Resync is the interval of reads if the system reports no change.
	Resync time.Duration `toml:"resync"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Path: "/etc/swallowkeeper/upstreams.toml", Resync: 10 * time.Second}
}

// Kind returns the registry type "file".
func Kind() registry.Kind {
	return registry.Kind{
		Name: "file",
		Config: func() registry.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: newMetrics,
		Example: `[[registry]]
type = "file"
path = "/etc/swallowkeeper/upstreams.d"   # a folder of *.toml and *.json, or one such file
`,
	}
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (c *Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Path) || strings.ContainsRune(c.Path, 0) || filepath.Clean(c.Path) == "/":
		return &setting.Error{Key: "path", Value: c.Path, Allowed: "an absolute path of a file *.toml or *.json, or of a folder of such files"}
	case c.Resync < 100*time.Millisecond || c.Resync > time.Hour:
		return &setting.Error{Key: "resync", Value: c.Resync, Allowed: `a duration from "100ms" to "1h"`}
	}
	return nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9@_./-]+`)

// Identity returns a name derived from the path.
func (c *Config) Identity(func(string) string) string {
	name := "file@" + notInName.ReplaceAllString(filepath.Clean(c.Path), "_")
	return name[:min(len(name), 200)]
}

// Silence returns how long a change may go unnoticed.
func (c *Config) Silence() time.Duration { return c.Resync }
