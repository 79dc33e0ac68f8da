package config

import (
	"cmp"
	"slices"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// Kinds are the kinds of registries and gateways that a configuration may name. The first of each is the type of a
// table that names none.
type Kinds struct {
	Registries []registry.Kind
	Gateways   []gateway.Kind
}

// Registry is one [[registry]] table: the keys that all kinds have, and those of its own.
type Registry struct {
	// Type is the kind of registry.
	Type string `toml:"type"`
	// Names are "plain" ones, without a dot, or "dotted" ones too: a name with a dot may be a host's that
	// nginx proxies to. What is written already stays.
	Names string `toml:"names"`
	// Name stands in the conf file beside every server that comes from this registry; "" is its kind's word for what it
	// reads.
	Name string `toml:"name"`

	Config registry.Config
}

// Gateway is one [[gateway]] table: the keys that all kinds have, and those of its own.
type Gateway struct {
	// Type is the kind of gateway.
	Type string `toml:"type"`
	// Name of the gateway in logs and metrics; "" is its kind's word for where it is.
	Name string `toml:"name"`
	// Resync is how often the live state is compared with the wanted one.
	Resync time.Duration `toml:"resync"`
	// Timeout of one call.
	Timeout time.Duration `toml:"timeout"`

	Config gateway.Config
}

// registry is a table of a type, "" for the first; its Config is nil where there is no such type.
func (k Kinds) registry(typ string) Registry {
	r := Registry{Type: cmp.Or(typ, k.types("registry")[0]), Names: "plain"}
	for _, kind := range k.Registries {
		if kind.Name == r.Type {
			r.Config = kind.Config()
		}
	}
	return r
}

// gateway is a table of a type, "" for the first; its Config is nil where there is no such type.
func (k Kinds) gateway(typ string) Gateway {
	g := Gateway{Type: cmp.Or(typ, k.types("gateway")[0]), Resync: 10 * time.Second, Timeout: 10 * time.Second}
	for _, kind := range k.Gateways {
		if kind.Name == g.Type {
			g.Config = kind.Config()
		}
	}
	return g
}

// types are those that a list's tables may have.
func (k Kinds) types(list string) (names []string) {
	switch list {
	case "registry":
		for _, kind := range k.Registries {
			names = append(names, kind.Name)
		}
	case "gateway":
		for _, kind := range k.Gateways {
			names = append(names, kind.Name)
		}
	}
	return names
}

// keys are those of a list's tables of one type.
func (k Kinds) keys(list, typ string) []string {
	if list == "gateway" {
		g := k.gateway(typ)
		return keys(&g)
	}
	r := k.registry(typ)
	return keys(&r)
}

// anyKeys are those that some type of a list's tables has.
func (k Kinds) anyKeys(list string) (all []string) {
	for _, typ := range k.types(list) {
		for _, key := range k.keys(list, typ) {
			if !slices.Contains(all, key) {
				all = append(all, key)
			}
		}
	}
	return all
}

// having are the types of a list's tables that have the key.
func (k Kinds) having(list, key string) []string {
	return slices.DeleteFunc(k.types(list), func(typ string) bool { return !slices.Contains(k.keys(list, typ), key) })
}

// Title is the registry's name.
func (r Registry) Title(getenv func(string) string) string {
	return cmp.Or(r.Name, r.Config.Identity(getenv))
}

// Title is the gateway's name.
func (g Gateway) Title() string {
	_, where := g.Config.Identity()
	return cmp.Or(g.Name, where)
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (r Registry) Validate() error {
	switch {
	case r.Names != "plain" && r.Names != "dotted":
		return &setting.Error{Key: "names", Value: r.Names, Allowed: `"plain" (without a dot) or "dotted"`}
	case r.Name != "" && !registry.ValidName(r.Name):
		return &setting.Error{Key: "name", Value: r.Name, Allowed: registry.AllowedName}
	}
	return r.Config.Validate()
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (g Gateway) Validate() error {
	switch {
	case g.Resync < 100*time.Millisecond || g.Resync > time.Hour:
		return &setting.Error{Key: "resync", Value: g.Resync, Allowed: `a duration from "100ms" to "1h"`}
	case g.Timeout < 100*time.Millisecond || g.Timeout > 5*time.Minute:
		return &setting.Error{Key: "timeout", Value: g.Timeout, Allowed: `a duration from "100ms" to "5m"`}
	}
	return g.Config.Validate()
}

// quoted is a type as it stands in a file.
func quoted(types []string) []string {
	all := make([]string, len(types))
	for i, typ := range types {
		all[i] = `"` + typ + `"`
	}
	return all
}
