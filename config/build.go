package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/near"
	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// builder puts entries into a Config, later ones over earlier ones, and collects all
// that is wrong instead of stopping at the first.
type builder struct {
	kinds    Kinds
	cfg      Config
	one      map[string]*Upstream // the tables of single upstreams
	later    []origin             // what they say: they start from [upstream], which must be whole first
	order    int
	from     map[spot]origin
	problems []problem
	refused  map[place]bool // tables with a problem
	untyped  map[place]bool // tables of a type that there is not
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

func newBuilder(k Kinds) *builder {
	cfg := k.Default()
	cfg.Registries, cfg.Gateways = nil, nil
	return &builder{kinds: k, cfg: cfg, one: map[string]*Upstream{}, from: map[spot]origin{}, refused: map[place]bool{}, untyped: map[place]bool{}}
}

// build takes all sources, the file first. The types come before all other keys: they say which there are.
func (b *builder) build(sources ...[]entry) {
	var all []origin
	for i, entries := range sources {
		for _, e := range entries {
			b.order++
			o := origin{e, b.order}
			switch {
			case e.wrong != "":
				b.wrong(o, e.wrong)
			case e.inside:
				b.later = append(b.later, o)
			case b.begin(o):
				all = append(all, o)
			}
		}
		if i == 0 {
			b.fillLists()
		}
	}
	b.choose()
	for _, o := range all {
		b.put(o)
	}
}

// fillLists gives the lists that the file left empty their one default table.
func (b *builder) fillLists() {
	for _, list := range []string{"registry", "gateway"} {
		if n, _ := b.length(list); n == 0 {
			b.grow(list)
		}
	}
}

// begin has the table of an entry there, which grows with it where it is the next of a list. It reports whether a
// value is left to be put.
func (b *builder) begin(o origin) bool {
	have, isList := b.length(o.section)
	if isList && o.n > have {
		if o.n > have+1 {
			b.wrong(o, fmt.Sprintf("there is no %s %d; the next one is %d", o.section, have+1, have+1))
			return false
		}
		b.grow(o.section)
	}
	if _, begun := b.from[spot{o.place, ""}]; !begun {
		b.from[spot{o.place, ""}] = o
	}
	if isList && o.key == "type" {
		b.put(o)
		return false
	}
	return o.key != ""
}

// choose gives each table of a list the keys of its type.
func (b *builder) choose() {
	for i, r := range b.cfg.Registries {
		b.cfg.Registries[i] = b.kinds.registry(r.Type)
		b.typed(place{section: "registry", n: i + 1}, r.Type)
	}
	for i, g := range b.cfg.Gateways {
		b.cfg.Gateways[i] = b.kinds.gateway(g.Type)
		b.typed(place{section: "gateway", n: i + 1}, g.Type)
	}
}

// typed reports a type that there is not. Nobody knows which keys its table has.
func (b *builder) typed(p place, typ string) {
	types := b.kinds.types(p.section)
	if slices.Contains(types, typ) {
		return
	}
	wrong := notAllowed(&setting.Error{Key: "type", Value: typ, Allowed: inOrder(quoted(types))}, false)
	if meant := near.Word(typ, types); meant != "" {
		wrong += "; did you mean " + strconv.Quote(meant) + "?"
	}
	b.wrong(b.whence(p, "type"), wrong)
	b.untyped[p] = true
}

// put gives one key its value.
func (b *builder) put(o origin) {
	table := b.table(o.place)
	f, has := fieldOf(table, o.key)
	switch {
	case !has && b.untyped[o.place]:
		return
	case !has:
		b.wrong(o, b.unknownKey(o, keys(table)))
		return
	}
	if wrong := f.set(o.value); wrong != "" {
		b.wrong(o, wrong)
		return
	}
	b.from[spot{o.place, o.key}] = o
}

func (b *builder) unknownKey(o origin, known []string) string {
	if types := b.kinds.having(o.section, o.key); len(types) > 0 {
		return fmt.Sprintf("unknown key; a %s of type %s has it, this one is of type %q", o.section, inOrder(quoted(types)), b.typeOf(o.place))
	}
	if near.Word(o.key, known) == "" {
		if path := b.kinds.elsewhere(o.key); path != "" {
			return "unknown key; did you mean " + path + "?"
		}
	}
	return unknown("key", o.key, known, "allowed are "+either(known))
}

func (b *builder) typeOf(p place) string {
	if p.section == "gateway" {
		return b.cfg.Gateways[p.n-1].Type
	}
	return b.cfg.Registries[p.n-1].Type
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
		b.cfg.Registries = append(b.cfg.Registries, b.kinds.registry(""))
		return
	}
	b.cfg.Gateways = append(b.cfg.Gateways, b.kinds.gateway(""))
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
	switch p.section {
	case "registry":
		r := b.kinds.registry(b.cfg.Registries[p.n-1].Type)
		return &r
	case "gateway":
		g := b.kinds.gateway(b.cfg.Gateways[p.n-1].Type)
		return &g
	}
	all := b.cfg.Upstream
	fresh := builder{cfg: b.kinds.Default(), one: map[string]*Upstream{p.name: &all}}
	return fresh.table(p)
}

// validate has every component judge its table.
func (b *builder) validate(getenv func(string) string) {
	for _, s := range b.kinds.sections() {
		if n, isList := b.length(s.name); isList {
			for i := range n {
				b.judge(place{section: s.name, n: i + 1})
			}
			continue
		}
		b.judge(place{section: s.name})
	}
	b.single()
	b.duplicates(getenv)
	b.guard()
}

// files reports the files that registries and gateways name and that can't be read.
func (b *builder) files(canRead func(string) error) {
	for _, list := range []string{"registry", "gateway"} {
		n, _ := b.length(list)
		for i := range n {
			p := place{section: list, n: i + 1}
			for _, f := range fields(b.table(p)) {
				path, _ := f.ptr.(*string)
				if f.tag.Get("file") == "" || *path == "" {
					continue
				}
				if err := canRead(*path); err != nil {
					b.wrong(b.whence(p, f.key), fmt.Sprintf("%v; allowed is a file that can be read", err))
				}
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
		if b.begin(o) {
			b.put(o)
		}
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
	if b.untyped[p] {
		return
	}
	checked, fresh := b.table(p), b.defaults(p)
	for range len(fields(fresh)) + 1 {
		err := checked.Validate()
		if err == nil {
			return
		}
		var wrong *setting.Error
		if !errors.As(err, &wrong) {
			b.wrong(b.whence(p, ""), err.Error())
			return
		}
		f, has := fieldOf(checked, wrong.Key)
		b.wrong(b.whence(p, wrong.Key), notAllowed(wrong, f.secret()))
		if !has {
			return
		}
		usual, _ := fieldOf(fresh, wrong.Key)
		copyValue(f.ptr, usual.ptr)
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
func (b *builder) duplicates(getenv func(string) string) {
	names, places := map[string]int{}, map[string]int{}
	for i, r := range b.cfg.Registries {
		if p := (place{section: "registry", n: i + 1}); !b.refused[p] {
			b.unique(p, "name", r.Title(getenv), names)
		}
	}
	clear(names)
	for i, g := range b.cfg.Gateways {
		if p := (place{section: "gateway", n: i + 1}); !b.refused[p] {
			key, where := g.Config.Identity()
			b.unique(p, key, sameAddress(where), places)
			b.unique(p, "name", g.Title(), names)
		}
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
