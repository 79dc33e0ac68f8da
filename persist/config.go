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
	// Path is the absolute path of the nginx conf file. nginx includes it in its http block.
	Path string `toml:"path"`
	// Check is a command with its arguments, run after a new file is in place, e.g. ["nginx", "-t"]. If it fails, the
	// old file is restored and nothing is pushed.
	Check []string `toml:"check"`
	// CheckTimeout ends a check that hangs. The check then counts as failed.
	CheckTimeout time.Duration `toml:"check_timeout"`
	// ShardAbove is the size of the upstream blocks above which the file becomes a manifest of shards, such as "256KB".
	// "0" disables sharding.
	ShardAbove string `toml:"shard_above"`
	// IncludeAs is the conf file's folder as nginx sees it, if that differs from ours.
	IncludeAs string `toml:"include_as"`
	// History is how many generations are kept beside the file, for inspection and rollback. 0 keeps none.
	History int `toml:"history"`
	// Record is how long the guard's inputs are kept for replay with other limits. 0 records nothing.
	Record time.Duration `toml:"record"`
	// RecordSize limits the size of the record, such as "64MB". KB, MB and GB are powers of 1000.
	RecordSize string `toml:"record_size"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Path: "/etc/nginx/conf.d/dyups.upstream.conf", CheckTimeout: 10 * time.Second, ShardAbove: "256KB", History: 20,
		Record: 7 * 24 * time.Hour, RecordSize: "64MB",
	}
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path:
		return &setting.Error{Key: "path", Value: c.Path, Allowed: "an absolute path of a file, without .. or doubled slashes"}
	case len(c.Check) > 0 && c.Check[0] == "":
		return &setting.Error{Key: "check", Value: c.Check[0], Allowed: `a command and its arguments, e.g. ["nginx", "-t"]`}
	case c.CheckTimeout < time.Second || c.CheckTimeout > 10*time.Minute:
		return &setting.Error{Key: "check_timeout", Value: c.CheckTimeout, Allowed: `a duration from "1s" to "10m"`}
	case c.IncludeAs != "" && (!filepath.IsAbs(c.IncludeAs) || filepath.Clean(c.IncludeAs) != c.IncludeAs || !includable(c.IncludeAs)):
		return &setting.Error{Key: "include_as", Value: c.IncludeAs, Allowed: "an absolute path of a folder, without blanks and signs that mean something to nginx"}
	case c.History < 0 || c.History > 1000:
		return &setting.Error{Key: "history", Value: c.History, Allowed: "a number from 0 (none) to 1000"}
	case c.Record != 0 && (c.Record < time.Minute || c.Record > 366*24*time.Hour):
		return &setting.Error{Key: "record", Value: c.Record, Allowed: `"0s" (none) or a duration from "1m" to "366d"`}
	}
	if _, ok := shardAbove(c.ShardAbove); !ok {
		return &setting.Error{Key: "shard_above", Value: c.ShardAbove, Allowed: `"0" (never) or a size from "1KB" to "1GB"`}
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

// shardAbove parses the size above which the file is sharded. 0 means never.
func shardAbove(text string) (bytes int, ok bool) {
	if text == "0" {
		return 0, true
	}
	size, ok := parseSize(text)
	return int(size), ok && size >= kilo && size <= giga
}

// parseSize parses a size such as 64MB.
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
