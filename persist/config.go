package persist

import (
	"path/filepath"
	"time"

	"swallowkeeper/internal/setting"
)

// Config is the [persist] table.
type Config struct {
	// Path of the nginx conf file, absolute. nginx includes it within its http block.
	Path string `toml:"path"`
	// Check is a command and its arguments, run after a new file is in place, e.g.
	// ["nginx", "-t"]. Where it fails the old file goes back and nothing is pushed.
	Check []string `toml:"check"`
	// CheckTimeout ends a check that hangs; it counts as failed.
	CheckTimeout time.Duration `toml:"check_timeout"`
	// History is how many generations are kept beside the file, to look at and to go back
	// to; 0 keeps none.
	History int `toml:"history"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{Path: "/etc/nginx/conf.d/dyups.upstream.conf", CheckTimeout: 10 * time.Second, History: 20}
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path:
		return &setting.Error{Key: "path", Value: c.Path, Allowed: "an absolute path of a file, without .. or doubled slashes"}
	case len(c.Check) > 0 && c.Check[0] == "":
		return &setting.Error{Key: "check", Value: c.Check[0], Allowed: `a command and its arguments, e.g. ["nginx", "-t"]`}
	case c.CheckTimeout < time.Second || c.CheckTimeout > 10*time.Minute:
		return &setting.Error{Key: "check_timeout", Value: c.CheckTimeout, Allowed: `a duration from "1s" to "10m"`}
	case c.History < 0 || c.History > 1000:
		return &setting.Error{Key: "history", Value: c.History, Allowed: "a number from 0 (none) to 1000"}
	}
	return nil
}
