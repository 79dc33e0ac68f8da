package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"swallowkeeper/internal/near"
	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// builder puts entries into a Config, later ones over earlier ones, and collects all
// that is wrong instead of stopping at the first.
type builder struct {
	cfg      Config
	one      map[string]*Upstream // the tables of single upstreams
	later    []origin             // what they say: they start from [upstream], which must be whole first
	order    int
	from     map[spot]origin
	problems []problem
	refused  map[place]bool // tables with a problem
}

// spot is one key of one table, or with key "" the table.
type spot struct {
	place
	key string
}

// origin is an entry and its turn.
type origin struct {
	entry
	order int
}

type problem struct {
	order int
	err   *Error
}

func newBuilder() *builder {
	cfg := Default()
	cfg.Registries, cfg.Gateways = nil, nil
	return &builder{cfg: cfg, one: map[string]*Upstream{}, from: map[spot]origin{}, refused: map[place]bool{}}
}

// fillLists gives the lists that the file left empty their one default table.
func (b *builder) fillLists() {
	if len(b.cfg.Registries) == 0 {
		b.cfg.Registries = []Registry{defaultRegistry()}
	}
	if len(b.cfg.Gateways) == 0 {
		b.cfg.Gateways = []Gateway{defaultGateway()}
	}
}

func (b *builder) take(entries []entry) {
	for _, e := range entries {
		b.order++
		o := origin{e, b.order}
		switch {
		case e.wrong != "":
			b.wrong(o, e.wrong)
		case e.inside:
			b.later = append(b.later, o)
		default:
			b.put(o)
		}
	}
}

// put gives one key its value, in a table that grows with it where it is the next of
// a list.
func (b *builder) put(o origin) {
	if have, isList := b.length(o.section); isList && o.n > have {
		if o.n > have+1 {
			b.wrong(o, fmt.Sprintf("there is no %s %d; the next one is %d", o.section, have+1, have+1))
			return
		}
		b.grow(o.section)
	}
	if _, begun := b.from[spot{o.place, ""}]; !begun {
		b.from[spot{o.place, ""}] = o
	}
	if o.key == "" {
		return
	}
	table := b.table(o.place)
	all := fields(table)
	i := slices.IndexFunc(all, func(f field) bool { return f.key == o.key })
	if i < 0 {
		b.wrong(o, unknownKey(o.key, keys(table)))
		return
	}
	if wrong := all[i].set(o.value); wrong != "" {
		b.wrong(o, wrong)
		return
	}
	b.from[spot{o.place, o.key}] = o
}

func unknownKey(key string, known []string) string {
	if near := near.Word(key, known); near == "" {
		if path := elsewhere(key); path != "" {
			return "unknown key; did you mean " + path + "?"
		}
	}
	return unknown("key", key, known, "allowed are "+either(known))
}

func (b *builder) length(section string) (n int, isList bool) {
	switch section {
	case "registry":
		return len(b.cfg.Registries), true
	case "gateway":
		return len(b.cfg.Gateways), true
	}
	return 0, false
}

func (b *builder) grow(section string) {
	if section == "registry" {
		b.cfg.Registries = append(b.cfg.Registries, defaultRegistry())
		return
	}
	b.cfg.Gateways = append(b.cfg.Gateways, defaultGateway())
}

type table interface{ Validate() error }

func (b *builder) table(p place) table {
	switch p.section {
	case "log":
		return &b.cfg.Log
	case "registry":
		return &b.cfg.Registries[p.n-1]
	case "guard":
		return &b.cfg.Guard
	case "upstream":
		if p.inside {
			return b.one[p.name]
		}
		return &b.cfg.Upstream
	case "persist":
		return &b.cfg.Persist
	case "gateway":
		return &b.cfg.Gateways[p.n-1]
	case "status":
		return &b.cfg.Status
	case "tracing":
		return &b.cfg.Tracing
	}
	panic("config: no table " + p.section)
}

// defaults is the table as it is where nobody says anything.
func (b *builder) defaults(p place) table {
	all := b.cfg.Upstream
	fresh := builder{cfg: Default(), one: map[string]*Upstream{p.name: &all}}
	p.n = min(p.n, 1)
	return fresh.table(p)
}

// validate has every component judge its table. agent is the environment's address
// of Consul.
func (b *builder) validate(agent string) {
	for _, s := range sections() {
		if n, isList := b.length(s.name); isList {
			for i := range n {
				b.judge(place{section: s.name, n: i + 1})
			}
			continue
		}
		b.judge(place{section: s.name})
	}
	b.single()
	b.duplicates(agent)
	b.guard()
}

// files reports the files that registries name and that can't be read.
func (b *builder) files(canRead func(string) error) {
	for i, r := range b.cfg.Registries {
		files := r.Consul.Files()
		for _, key := range slices.Sorted(maps.Keys(files)) {
			if err := canRead(files[key]); err != nil {
				b.wrong(b.whence(place{section: "registry", n: i + 1}, key), fmt.Sprintf("%v; allowed is a file that can be read", err))
			}
		}
	}
}

// single builds the tables of single upstreams.
func (b *builder) single() {
	for _, o := range b.later {
		if b.one[o.name] == nil {
			if err := upstream.ValidName(o.name); err != nil {
				if !b.refused[o.place] {
					o.key = ""
					b.wrong(o, err.Error())
				}
				continue
			}
			all := b.cfg.Upstream
			b.one[o.name] = &all
		}
		b.put(o)
	}
	b.cfg.Upstreams = map[string]Upstream{}
	for _, name := range slices.Sorted(maps.Keys(b.one)) {
		b.judge(place{section: "upstream", name: name, inside: true})
		b.cfg.Upstreams[name] = *b.one[name]
	}
}

// judge asks a table what is wrong with it until it has nothing more to say: what it
// finds is reported and then set to the default.
func (b *builder) judge(p place) {
	checked, fresh := b.table(p), fields(b.defaults(p))
	for range len(fresh) + 1 {
		err := checked.Validate()
		if err == nil {
			return
		}
		var wrong *setting.Error
		if !errors.As(err, &wrong) {
			b.wrong(b.whence(p, ""), err.Error())
			return
		}
		o := b.whence(p, wrong.Key)
		b.wrong(o, notAllowed(wrong))
		i := slices.IndexFunc(fresh, func(f field) bool { return f.key == wrong.Key })
		if i < 0 {
			return
		}
		copyValue(fields(checked)[i].ptr, fresh[i].ptr)
	}
}

// whence is where a key was set, else where its table begins.
func (b *builder) whence(p place, key string) origin {
	o, ok := b.from[spot{p, key}]
	if !ok {
		o = b.from[spot{p, ""}]
	}
	o.place, o.key = p, key
	o.where = cmp.Or(o.where, "default")
	return o
}

// duplicates finds registries and gateways that could not be told apart. A table that
// is wrong anyway is left out.
func (b *builder) duplicates(agent string) {
	names, addresses := map[string]int{}, map[string]int{}
	for i, r := range b.cfg.Registries {
		b.unique(place{section: "registry", n: i + 1}, "name", r.identity(agent), names)
	}
	clear(names)
	for i, g := range b.cfg.Gateways {
		p := place{section: "gateway", n: i + 1}
		b.unique(p, "address", sameAddress(g.Dyups.Address), addresses)
		b.unique(p, "name", cmp.Or(g.Dyups.Name, g.Dyups.Address), names)
	}
}

func (b *builder) unique(p place, key, value string, taken map[string]int) {
	if b.refused[p] {
		return
	}
	if first, ok := taken[value]; ok {
		wrong := fmt.Sprintf("%s %d has %q too; allowed is one of its own", p.section, first, value)
		b.wrong(b.whence(p, key), wrong)
		return
	}
	taken[value] = p.n
}

// sameAddress writes one address in one way.
func sameAddress(s string) string {
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		return "unix:" + path.Clean(socket)
	}
	return strings.ToLower(strings.TrimSuffix(s, "/"))
}

func (b *builder) wrong(o origin, what string) {
	e := &Error{Where: o.where, Problem: what}
	if o.section != "" {
		e.Key = o.path(o.key)
		b.refused[o.place] = true
	}
	b.problems = append(b.problems, problem{o.order, e})
}

func (b *builder) err() error {
	slices.SortStableFunc(b.problems, func(x, y problem) int { return cmp.Compare(x.order, y.order) })
	var all []error
	for _, p := range b.problems {
		all = append(all, p.err)
	}
	return errors.Join(all...)
}
