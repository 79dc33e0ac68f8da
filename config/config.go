// Package config reads the configuration of the whole program: the TOML file, the
// environment and what the command line sets. It only composes and decodes; what a
// key means, its default and what is allowed stand beside the component that it
// configures. It knows no kind of registry or gateway: it decodes against the [Kinds] that
// it is handed. Only cmd imports it.
package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"

	"swallowkeeper/guard"
	"swallowkeeper/internal/setting"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/tracing"
	"swallowkeeper/upstream"
)

// DefaultPath is the file that is read where none is named, if it exists.
const DefaultPath = "/etc/swallowkeeper.toml"

// Config is the whole configuration.
type Config struct {
	// File is where it was read from, "" where there was none.
	File string

	Log        Log
	Registries []Registry // at least one
	Guard      guard.Config
	Upstream   Upstream
	// Upstreams are the [upstream.NAME] tables, whole: what one of them does not say
	// is taken from Upstream.
	Upstreams map[string]Upstream
	Persist   persist.Config
	Gateways  []Gateway // at least one
	Status    status.Config
	Tracing   tracing.Config
}

// Log is the [log] table.
type Log struct {
	// Level is the least important kind of entry that is written, in logrus' words.
	Level string `toml:"level"`
	// Format is "text" for people or "json", one object a line, for machines.
	Format string `toml:"format"`
}

// Default is what holds where nobody says anything.
func (k Kinds) Default() Config {
	return Config{
		Log:        Log{Level: "info", Format: "text"},
		Registries: []Registry{k.registry("")},
		Guard:      guard.DefaultConfig(),
		Upstream:   defaultUpstream(),
		Upstreams:  map[string]Upstream{},
		Persist:    persist.DefaultConfig(),
		Gateways:   []Gateway{k.gateway("")},
		Status:     status.DefaultConfig(),
		Tracing:    tracing.DefaultConfig(),
	}
}

// Load reads the configuration. Overrides, each written key.path=value, go over the
// environment, that over the file, and the file over the defaults. An empty path is
// [DefaultPath] if that exists, else the defaults alone.
//
// The environment's names are SWALLOWKEEPER_ and the path in upper case, with _ for
// each dot: SWALLOWKEEPER_GUARD_MIN_SERVICES. In both, a list's first table has no
// number, and the others have theirs: registry.2.address, SWALLOWKEEPER_REGISTRY_2_ADDRESS.
//
// Its error joins all that is wrong, each an [*Error], in the order of the lines.
func (k Kinds) Load(path string, env, overrides []string) (Config, error) {
	return k.read(path, DefaultPath, env, overrides, canRead)
}

// LoadReadable is [Kinds.Load] for a command that only asks the daemon at work: a file that this
// account may not read counts as absent, and files that keys name are not looked at.
func (k Kinds) LoadReadable(path string, env, overrides []string) (Config, error) {
	unasked := func(string) error { return nil }
	cfg, err := k.read(path, DefaultPath, env, overrides, unasked)
	if errors.Is(err, fs.ErrPermission) {
		return k.parse("", "", env, overrides, unasked)
	}
	return cfg, err
}

// canRead says why a file that a key names can't be read, or returns nil.
func canRead(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func (k Kinds) read(path, fallback string, env, overrides []string, canRead func(string) error) (Config, error) {
	file := cmp.Or(path, fallback)
	content, err := readFile(file)
	if err != nil {
		if path != "" || !errors.Is(err, fs.ErrNotExist) {
			return Config{}, err
		}
		file, content = "", ""
	}
	return k.parse(file, content, env, overrides, canRead)
}

func (k Kinds) parse(file, content string, env, overrides []string, canRead func(string) error) (Config, error) {
	written, err := k.fromFile(file, content)
	if err != nil {
		return Config{}, err
	}
	b := newBuilder(k)
	b.cfg.File = file
	b.build(written, k.fromEnv(env), k.fromOverrides(overrides))
	b.validate(func(name string) string { return value(env, name) })
	b.files(canRead)
	if err := b.err(); err != nil {
		return Config{}, err
	}
	return b.cfg, nil
}

// Defaults are the [upstream] tables for those that build upstreams.
func (c Config) Defaults() upstream.Defaults {
	d := upstream.Defaults{All: c.Upstream.template(), Name: map[string]upstream.Template{}}
	for name, u := range c.Upstreams {
		d.Name[name] = u.template()
	}
	return d
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (l Log) Validate() error {
	levels := []string{"trace", "debug", "info", "warning", "warn", "error"}
	switch {
	case !slices.Contains(levels, l.Level):
		return &setting.Error{
			Key: "level", Value: l.Level,
			Allowed: `"trace", "debug", "info", "warning" or "error"`,
		}
	case l.Format != "text" && l.Format != "json":
		return &setting.Error{Key: "format", Value: l.Format, Allowed: `"text" or "json"`}
	}
	return nil
}
