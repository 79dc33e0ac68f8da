// Package config reads the configuration of the program: the TOML file, the environment and the command line. It only
// composes and decodes. The meaning of a key, its default and its valid values are defined by the component that it
// configures. The package knows no kind of registry or gateway: it decodes for the [Kinds] that the caller passes.
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

// DefaultPath is the file that is read if none is named, if it exists.
const DefaultPath = "/etc/swallowkeeper.toml"

// Config is the complete configuration.
type Config struct {
	// File is the path it was read from, or "" if there was no file.
	File string

	Log        Log
	Registries []Registry // at least one
	Guard      guard.Config
	Upstream   Upstream
	// Upstreams are the [upstream.NAME] tables, complete: missing keys are taken from Upstream.
	Upstreams map[string]Upstream
	Routes    []Route
	Persist   persist.Config
	Gateways  []Gateway // at least one
	Status    status.Config
	Tracing   tracing.Config
}

// Log is the [log] table.
type Log struct {
	// Level is the lowest level that is logged, as logrus names it.
	Level string `toml:"level"`
	// Format is "text", or "json" for one JSON object per line.
	Format string `toml:"format"`
}

// Default returns the defaults.
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

// Load reads the configuration. Overrides, each in the form key.path=value, take precedence over the environment, the
// environment over the file, and the file over the defaults. If path is empty, Load reads [DefaultPath] if that exists.
//
// Names in the environment are SWALLOWKEEPER_ and the path in upper case, with _ for each dot:
// SWALLOWKEEPER_GUARD_MIN_SERVICES. The first table of a list has no number, the others do: registry.2.address,
// SWALLOWKEEPER_REGISTRY_2_ADDRESS.
//
// The error joins all problems, each an [*Error], in order of lines.
func (k Kinds) Load(path string, env, overrides []string) (Config, error) {
	return k.read(path, DefaultPath, env, overrides, canRead)
}

// LoadReadable is [Kinds.Load] for commands that only query the running daemon. A file that this account can't read
// counts as missing, and files named by keys are not checked.
func (k Kinds) LoadReadable(path string, env, overrides []string) (Config, error) {
	unasked := func(string) error { return nil }
	cfg, err := k.read(path, DefaultPath, env, overrides, unasked)
	if errors.Is(err, fs.ErrPermission) {
		return k.parse("", "", env, overrides, unasked)
	}
	return cfg, err
}

// canRead returns an error if a file can't be read.
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

// Defaults returns the [upstream] tables in the form for building upstreams.
func (c Config) Defaults() upstream.Defaults {
	d := upstream.Defaults{All: c.Upstream.template(), Name: map[string]upstream.Template{}}
	for name, u := range c.Upstreams {
		d.Name[name] = u.template()
	}
	return d
}

// Validate returns a *setting.Error for the first key with an invalid value.
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
