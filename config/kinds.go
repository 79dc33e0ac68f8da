package config

import (
	"cmp"
	"slices"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// Kinds are the kinds of registries and gateways that a configuration can use. The first of each is the default type.
type Kinds struct {
	Registries []registry.Kind
	Gateways   []gateway.Kind
}

// Registry is a [[registry]] table: the keys that all kinds share, and those of its kind.
type Registry struct {
	// Type is the kind of registry.
	Type string `toml:"type"`
	// Names is "plain" for names without a dot, or "dotted" to also accept names with one, which may be those of hosts
	// that nginx proxies to. Names already written stay.
	Names string `toml:"names"`
	// Routes is "registered" to accept routes from registrations, or "toml" to accept only those of [[route]]. With
	// registered routes, anyone who can register an instance can attract requests.
	Routes string `toml:"routes"`
	// Name is written in the conf file beside each server from this registry. "" means the kind's default, which is
	// derived from what it reads.
	Name string `toml:"name"`

	Config registry.Config
}

// Gateway is a [[gateway]] table: the keys that all kinds share, and those of its kind.
type Gateway struct {
	// Type is the kind of gateway.
	Type string `toml:"type"`
	// Name identifies the gateway in logs and metrics. "" means the kind's default, which is derived from the address.
	Name string `toml:"name"`
	// Resync is how often the live state is compared with the wanted state.
	Resync time.Duration `toml:"resync"`
	// Timeout limits one call.
	Timeout time.Duration `toml:"timeout"`

	Config gateway.Config
}

// registry returns a table of a type, where "" is the first. Its Config is nil if there is no such type.
func (k Kinds) registry(typ string) Registry {
	r := Registry{Type: cmp.Or(typ, k.types("registry")[0]), Names: "plain", Routes: "registered"}
	for _, kind := range k.Registries {
		if kind.Name == r.Type {
			r.Config = kind.Config()
		}
	}
	return r
}

// gateway returns a table of a type, where "" is the first. Its Config is nil if there is no such type.
func (k Kinds) gateway(typ string) Gateway {
	g := Gateway{Type: cmp.Or(typ, k.types("gateway")[0]), Resync: 10 * time.Second, Timeout: 10 * time.Second}
	for _, kind := range k.Gateways {
		if kind.Name == g.Type {
			g.Config = kind.Config()
		}
	}
	return g
}

// types returns the types of a list.
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

// keys returns the keys of a list's tables of one type.
func (k Kinds) keys(list, typ string) []string {
	if list == "gateway" {
		g := k.gateway(typ)
		return keys(&g)
	}
	r := k.registry(typ)
	return keys(&r)
}

// anyKeys returns the keys of all types of a list.
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

// having returns the types of a list that have the key.
func (k Kinds) having(list, key string) []string {
	return slices.DeleteFunc(k.types(list), func(typ string) bool { return !slices.Contains(k.keys(list, typ), key) })
}

// Title returns the registry's name, or the kind's default.
func (r Registry) Title(getenv func(string) string) string {
	return cmp.Or(r.Name, r.Config.Identity(getenv))
}

// Title returns the gateway's name, or the kind's default.
func (g Gateway) Title() string {
	_, where := g.Config.Identity()
	return cmp.Or(g.Name, where)
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (r Registry) Validate() error {
	switch {
	case r.Names != "plain" && r.Names != "dotted":
		return &setting.Error{Key: "names", Value: r.Names, Allowed: `"plain" (without a dot) or "dotted"`}
	case r.Routes != "registered" && r.Routes != "toml":
		return &setting.Error{Key: "routes", Value: r.Routes, Allowed: `"registered" or "toml" (those of [[route]] alone)`}
	case r.Name != "" && !registry.ValidName(r.Name):
		return &setting.Error{Key: "name", Value: r.Name, Allowed: registry.AllowedName}
	}
	return r.Config.Validate()
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (g Gateway) Validate() error {
	switch {
	case g.Resync < 100*time.Millisecond || g.Resync > time.Hour:
		return &setting.Error{Key: "resync", Value: g.Resync, Allowed: `a duration from "100ms" to "1h"`}
	case g.Timeout < 100*time.Millisecond || g.Timeout > 5*time.Minute:
		return &setting.Error{Key: "timeout", Value: g.Timeout, Allowed: `a duration from "100ms" to "5m"`}
	}
	return g.Config.Validate()
}

// quoted returns types as written in a file.
func quoted(types []string) []string {
	all := make([]string, len(types))
	for i, typ := range types {
		all[i] = `"` + typ + `"`
	}
	return all
}
