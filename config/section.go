package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"swallowkeeper/guard"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/tracing"
)

// section is a table that a file may have.
type section struct {
	name  string
	list  bool // written [[name]], may be repeated
	named bool // also has tables named by an upstream
	keys  []string
}

// sections returns all tables in display order. A list has the keys of all its kinds.
func (k Kinds) sections() []section {
	return []section{
		{name: "log", keys: keys(&Log{})},
		{name: "registry", list: true, keys: k.anyKeys("registry")},
		{name: "guard", keys: keys(&guard.Config{})},
		{name: "upstream", named: true, keys: keys(&Upstream{})},
		{name: "route", list: true, keys: keys(&Route{})},
		{name: "persist", keys: keys(&persist.Config{})},
		{name: "gateway", list: true, keys: k.anyKeys("gateway")},
		{name: "status", keys: keys(&status.Config{})},
		{name: "tracing", keys: keys(&tracing.Config{})},
	}
}

func (k Kinds) find(name string) (section, bool) {
	all := k.sections()
	i := slices.IndexFunc(all, func(s section) bool { return s.name == name })
	if i < 0 {
		return section{}, false
	}
	return all[i], true
}

// header returns the line that begins the section in a file.
func (s section) header() string {
	if s.list {
		return "[[" + s.name + "]]"
	}
	return "[" + s.name + "]"
}

// place identifies a table: the n-th of a list, a named one within that, or the one of an upstream.
type place struct {
	section string
	n       int
	under   string // the key of a list's table under which a named one stands
	name    string // of an upstream, or of a table under a key
	inside  bool   // name counts, even if it is empty
}

// path returns the path of a key of the table, as in messages and on the command line.
func (p place) path(key string) string {
	path := toml.Key{p.section}
	if p.n > 1 {
		path = append(path, strconv.Itoa(p.n))
	}
	if p.under != "" {
		path = append(path, p.under)
	}
	if p.inside {
		path = append(path, p.name)
	}
	if key != "" {
		path = append(path, key)
	}
	return path.String()
}

// allKeys returns the paths of all keys.
func (k Kinds) allKeys() []string {
	var all []string
	for _, s := range k.sections() {
		for _, k := range s.keys {
			all = append(all, s.name+"."+k)
		}
	}
	return all
}

// secrets returns the keys whose values must never be shown.
func (k Kinds) secrets() (all []string) {
	tables := []any{&status.Config{}, &tracing.Config{}}
	for _, kind := range k.Registries {
		tables = append(tables, kind.Config())
	}
	for _, kind := range k.Gateways {
		tables = append(tables, kind.Config())
	}
	for _, t := range tables {
		for _, f := range fields(t) {
			if f.secret() {
				all = append(all, f.key)
			}
		}
	}
	return all
}

// elsewhere returns the path of a key that was looked for in the wrong table, or "".
func (k Kinds) elsewhere(key string) string {
	for _, path := range k.allKeys() {
		if strings.HasSuffix(path, "."+key) {
			return path
		}
	}
	return ""
}
