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

// section is one of the tables that a file may have.
type section struct {
	name  string
	list  bool // written [[name]], and there may be several
	named bool // besides the keys it has tables that are called by an upstream's name
	keys  []string
}

// sections are all tables there are, in the order in which they are shown. Those that are lists have the keys of every
// kind.
func (k Kinds) sections() []section {
	return []section{
		{name: "log", keys: keys(&Log{})},
		{name: "registry", list: true, keys: k.anyKeys("registry")},
		{name: "guard", keys: keys(&guard.Config{})},
		{name: "upstream", named: true, keys: keys(&Upstream{})},
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

// header is how the section is opened in a file.
func (s section) header() string {
	if s.list {
		return "[[" + s.name + "]]"
	}
	return "[" + s.name + "]"
}

// place is one table: of a list the n-th, counted from 1, or the one of an upstream.
type place struct {
	section string
	n       int
	name    string // of an upstream
	inside  bool   // name counts, even if it is empty
}

// path is how messages and the command line call a key of the table.
func (p place) path(key string) string {
	path := toml.Key{p.section}
	if p.n > 1 {
		path = append(path, strconv.Itoa(p.n))
	}
	if p.inside {
		path = append(path, p.name)
	}
	if key != "" {
		path = append(path, key)
	}
	return path.String()
}

// allKeys are the paths of all keys.
func (k Kinds) allKeys() []string {
	var all []string
	for _, s := range k.sections() {
		for _, k := range s.keys {
			all = append(all, s.name+"."+k)
		}
	}
	return all
}

// secrets are the keys whose values are shown to nobody.
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

// elsewhere is the path of a key that was looked for in the wrong table, or "".
func (k Kinds) elsewhere(key string) string {
	for _, path := range k.allKeys() {
		if strings.HasSuffix(path, "."+key) {
			return path
		}
	}
	return ""
}
