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

// sections are all tables there are, in the order in which they are shown.
func sections() []section {
	return []section{
		{name: "log", keys: keys(&Log{})},
		{name: "registry", list: true, keys: keys(&Registry{})},
		{name: "guard", keys: keys(&guard.Config{})},
		{name: "upstream", named: true, keys: keys(&Upstream{})},
		{name: "persist", keys: keys(&persist.Config{})},
		{name: "gateway", list: true, keys: keys(&Gateway{})},
		{name: "status", keys: keys(&status.Config{})},
		{name: "tracing", keys: keys(&tracing.Config{})},
	}
}

func find(name string) (section, bool) {
	all := sections()
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
func allKeys() []string {
	var all []string
	for _, s := range sections() {
		for _, k := range s.keys {
			all = append(all, s.name+"."+k)
		}
	}
	return all
}

// elsewhere is the path of a key that was looked for in the wrong table, or "".
func elsewhere(key string) string {
	for _, path := range allKeys() {
		if strings.HasSuffix(path, "."+key) {
			return path
		}
	}
	return ""
}
