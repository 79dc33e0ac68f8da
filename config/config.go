// Package config reads the configuration of the whole program: the TOML file, the
// environment and what the command line sets. It only composes and decodes; what a
// key means, its default and what is allowed stand beside the component that it
// configures. Only cmd imports it.
package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"swallowkeeper/dyups"
	"swallowkeeper/guard"
	"swallowkeeper/internal/setting"
	"swallowkeeper/persist"
	"swallowkeeper/registry/consul"
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

// Registry is one [[registry]] table. Type says which of its parts counts.
type Registry struct {
	// Type of the registry; "consul" is the one there is.
	Type string `toml:"type"`
	// Names are "plain" ones, without a dot, or "dotted" ones too: a name with a dot may be a host's that
	// nginx proxies to. What is written already stays.
	Names string `toml:"names"`

	Consul consul.Config
}

// Gateway is one [[gateway]] table. Type says which of its parts counts.
type Gateway struct {
	// Type of the gateway; "dyups" is the one there is.
	Type string `toml:"type"`

	Dyups dyups.Config
}

// Default is what holds where nobody says anything.
func Default() Config {
	c := Config{
		Log:        Log{Level: "info", Format: "text"},
		Registries: []Registry{defaultRegistry()},
		Guard:      guard.DefaultConfig(),
		Upstream:   defaultUpstream(),
		Upstreams:  map[string]Upstream{},
		Persist:    persist.DefaultConfig(),
		Gateways:   []Gateway{defaultGateway()},
		Status:     status.DefaultConfig(),
		Tracing:    tracing.DefaultConfig(),
	}
	c.spreadUpstream()
	return c
}

func defaultRegistry() Registry {
	return Registry{Type: "consul", Names: "plain", Consul: consul.DefaultConfig()}
}

func defaultGateway() Gateway { return Gateway{Type: "dyups", Dyups: dyups.DefaultConfig()} }

// Load reads the configuration. Overrides, each written key.path=value, go over the
// environment, that over the file, and the file over the defaults. An empty path is
// [DefaultPath] if that exists, else the defaults alone.
//
// The environment's names are SWALLOWKEEPER_ and the path in upper case, with _ for
// each dot: SWALLOWKEEPER_GUARD_MIN_SERVICES. In both, a list's first table has no
// number, and the others have theirs: registry.2.address, SWALLOWKEEPER_REGISTRY_2_ADDRESS.
//
// Its error joins all that is wrong, each an [*Error], in the order of the lines.
func Load(path string, env, overrides []string) (Config, error) {
	return read(path, DefaultPath, env, overrides, canRead)
}

// LoadReadable is [Load] for a command that only asks the daemon at work: a file that this
// account may not read counts as absent, and files that keys name are not looked at.
func LoadReadable(path string, env, overrides []string) (Config, error) {
	unasked := func(string) error { return nil }
	cfg, err := read(path, DefaultPath, env, overrides, unasked)
	if errors.Is(err, fs.ErrPermission) {
		return parse("", "", env, overrides, unasked)
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

func read(path, fallback string, env, overrides []string, canRead func(string) error) (Config, error) {
	file := cmp.Or(path, fallback)
	content, err := readFile(file)
	if err != nil {
		if path != "" || !errors.Is(err, fs.ErrNotExist) {
			return Config{}, err
		}
		file, content = "", ""
	}
	return parse(file, content, env, overrides, canRead)
}

func parse(file, content string, env, overrides []string, canRead func(string) error) (Config, error) {
	written, err := fromFile(file, content)
	if err != nil {
		return Config{}, err
	}
	b := newBuilder()
	b.cfg.File = file
	b.take(written)
	b.fillLists()
	b.take(fromEnv(env))
	b.take(fromOverrides(overrides))
	b.validate(value(env, "CONSUL_HTTP_ADDR"))
	b.files(canRead)
	if err := b.err(); err != nil {
		return Config{}, err
	}
	b.cfg.spreadUpstream()
	return b.cfg, nil
}

// spreadUpstream hands the [upstream] tables to those that build upstreams.
func (c *Config) spreadUpstream() {
	d := upstream.Defaults{All: c.Upstream.template(), Name: map[string]upstream.Template{}}
	for name, u := range c.Upstreams {
		d.Name[name] = u.template()
	}
	for i := range c.Registries {
		c.Registries[i].Consul.Defaults = d
	}
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

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (r Registry) Validate() error {
	if r.Type != "consul" {
		return &setting.Error{Key: "type", Value: r.Type, Allowed: `"consul"`}
	}
	if r.Names != "plain" && r.Names != "dotted" {
		return &setting.Error{Key: "names", Value: r.Names, Allowed: `"plain" (without a dot) or "dotted"`}
	}
	return r.Consul.Validate()
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (g Gateway) Validate() error {
	if g.Type != "dyups" {
		return &setting.Error{Key: "type", Value: g.Type, Allowed: `"dyups"`}
	}
	return g.Dyups.Validate()
}

// identity is the same for two registries that could not be told apart: their name, or
// what they read. agent is the environment's address of Consul, which counts where the
// table has none.
func (r Registry) identity(agent string) string {
	c := r.Consul
	if c.Name != "" {
		return c.Name
	}
	address := cmp.Or(c.Address, agent, "127.0.0.1:8500")
	if _, after, ok := strings.Cut(address, "://"); ok {
		address = after
	}
	id := "consul@" + strings.TrimSuffix(address, "/")
	for _, part := range []struct{ mark, value string }{
		{"/", c.Datacenter}, {"/ns:", c.Namespace}, {"/partition:", c.Partition},
	} {
		if part.value != "" {
			id += part.mark + part.value
		}
	}
	return id
}
