package persist

import (
	"path/filepath"
	"strconv"
	"strings"
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
	// Record is how long it is kept what the guard was told, so that it can be replayed with
	// other limits; 0 records nothing.
	Record time.Duration `toml:"record"`
	// RecordSize is how much of that is kept at most: 64MB. Of KB, MB and GB each is 1000 times
	// the one before.
	RecordSize string `toml:"record_size"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{
		Path: "/etc/nginx/conf.d/dyups.upstream.conf", CheckTimeout: 10 * time.Second, History: 20,
		Record: 7 * 24 * time.Hour, RecordSize: "64MB",
	}
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
	case c.Record != 0 && (c.Record < time.Minute || c.Record > 366*24*time.Hour):
		return &setting.Error{Key: "record", Value: c.Record, Allowed: `"0s" (none) or a duration from "1m" to "366d"`}
	}
	if size, ok := parseSize(c.RecordSize); !ok || size < mega || size > 1000*giga {
		return &setting.Error{Key: "record_size", Value: c.RecordSize, Allowed: `a size from "1MB" to "1000GB"`}
	}
	return nil
}

const (
	kilo = 1000
	mega = 1000 * kilo
	giga = 1000 * mega
)

// parseSize reads a size such as 64MB.
func parseSize(text string) (bytes int64, ok bool) {
	for _, unit := range []struct {
		name string
		size int64
	}{{"KB", kilo}, {"MB", mega}, {"GB", giga}} {
		if number, is := strings.CutSuffix(text, unit.name); is {
			n, err := strconv.ParseUint(number, 10, 31)
			return int64(n) * unit.size, err == nil
		}
	}
	return 0, false
}
