package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/near"
	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// builder applies entries to a Config, later ones over earlier ones. It collects all problems instead of stopping at
// the first.
type builder struct {
	kinds    Kinds
	cfg      Config
	named    map[string]*Upstream // the [upstream.NAME] tables
	deferred []origin             // their entries: they are applied last, because their defaults come from the complete [upstream]
	order    int
	from     map[spot]origin // where each key and table was set
	problems []problem
	refused  map[place]bool // tables with a problem
	untyped  map[place]bool // tables of unknown type
}

// spot is a key of a table, or with key "" the table itself.
type spot struct {
	place
	key string
}

// origin is an entry with its position in the order of entries.
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
	return &builder{kinds: k, cfg: cfg, named: map[string]*Upstream{}, from: map[spot]origin{}, refused: map[place]bool{}, untyped: map[place]bool{}}
}

// build applies all sources, the file first. Types come before all other keys, because they determine which keys exist.
func (b *builder) build(sources ...[]entry) {
	var all []origin
	for i, entries := range sources {
		for _, e := range entries {
			b.order++
			o := origin{e, b.order}
			switch {
			case e.wrong != "":
				b.wrong(o, e.wrong)
			case e.inside && e.under == "":
				b.deferred = append(b.deferred, o)
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

// fillLists adds the one default table to each list that the file left empty.
func (b *builder) fillLists() {
	for _, list := range []string{"registry", "gateway"} {
		if n, _ := b.length(list); n == 0 {
			b.grow(list)
		}
	}
}

// begin makes sure that an entry's table exists, adding it if it is the next one of a list. It reports whether there is
// a value to put.
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
	if isList && o.key == "type" && !o.inside {
		b.put(o)
		return false
	}
	return o.key != "" || o.under != ""
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

// typed reports an unknown type. The keys of such a table are unknown too.
func (b *builder) typed(p place, typ string) {
	types := b.kinds.types(p.section)
	if slices.Contains(types, typ) {
		return
	}
	wrong := notAllowed(&setting.Error{Key: "type", Value: typ, Allowed: inOrder(quoted(types))}, false)
	if meant := near.Word(typ, types); meant != "" {
		wrong += "; did you mean " + strconv.Quote(meant) + "?"
	}
	b.wrong(b.source(p, "type"), wrong)
	b.untyped[p] = true
}

// put sets a key to its value.
func (b *builder) put(o origin) {
	if o.under != "" && !b.enter(o) || o.key == "" {
		return
	}
	table := b.table(o.place)
	f, has := fieldOf(table, o.key)
	switch {
	case !has && b.untyped[o.place]:
		return
	case !has && slices.Contains(slices.Collect(maps.Keys(inner(table))), o.key):
		b.wrong(o, fmt.Sprintf("found %s; allowed are tables that begin with [%s.%s.NAME]", describe(o.value), o.section, o.key))
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

// enter makes sure that a named table exists. It reports whether its keys can be put.
func (b *builder) enter(o origin) bool {
	if b.untyped[o.outer()] || b.refused[o.place] && b.table(o.place) == nil {
		return false
	}
	in, has := inner(b.table(o.outer()))[o.under]
	wrong := ""
	if !has {
		at := o
		at.place, at.key = o.outer(), o.under
		wrong = b.unknownKey(at, keys(b.table(o.outer())))
	} else if err := upstream.ValidName(o.name); err != nil {
		wrong = cmp.Or(b.lacks(o.outer(), o.name), err.Error())
	}
	if wrong != "" {
		o.key = ""
		b.wrong(o, wrong)
		return false
	}
	if b.table(o.place) == nil {
		if in.IsNil() {
			in.Set(reflect.MakeMap(in.Type()))
		}
		in.SetMapIndex(reflect.ValueOf(o.name), reflect.ValueOf(freshInner(in)))
		b.from[spot{o.outer(), o.under}] = o // the place to report if there are too many of them
	}
	return true
}

// lacks returns the kind's own explanation for not having a key, or "".
func (b *builder) lacks(p place, key string) string {
	if p.section != "registry" {
		return ""
	}
	if c, says := b.cfg.Registries[p.n-1].Config.(interface{ Lacks(key string) string }); says {
		return c.Lacks(key)
	}
	return ""
}

func (b *builder) unknownKey(o origin, known []string) string {
	if why := b.lacks(o.place, o.key); why != "" {
		return "unknown key; " + why
	}
	if o.under != "" {
		return unknown("key", o.key, known, "allowed are "+either(known))
	}
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
	case "route":
		return len(b.cfg.Routes), true
	}
	return 0, false
}

func (b *builder) grow(section string) {
	switch section {
	case "registry":
		b.cfg.Registries = append(b.cfg.Registries, b.kinds.registry(""))
	case "gateway":
		b.cfg.Gateways = append(b.cfg.Gateways, b.kinds.gateway(""))
	case "route":
		b.cfg.Routes = append(b.cfg.Routes, defaultRoute())
	}
}

type table interface{ Validate() error }

func (b *builder) table(p place) table {
	if p.under != "" {
		in, has := inner(b.table(p.outer()))[p.under]
		if !has || !in.MapIndex(reflect.ValueOf(p.name)).IsValid() {
			return nil
		}
		return innerTable(in, p.name)
	}
	switch p.section {
	case "log":
		return &b.cfg.Log
	case "registry":
		return &b.cfg.Registries[p.n-1]
	case "guard":
		return &b.cfg.Guard
	case "upstream":
		if p.inside {
			return b.named[p.name]
		}
		return &b.cfg.Upstream
	case "route":
		return &b.cfg.Routes[p.n-1]
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

// defaults returns the table with default values.
func (b *builder) defaults(p place) table {
	if p.under != "" {
		return freshInner(inner(b.table(p.outer()))[p.under])
	}
	switch p.section {
	case "registry":
		r := b.kinds.registry(b.cfg.Registries[p.n-1].Type)
		return &r
	case "gateway":
		g := b.kinds.gateway(b.cfg.Gateways[p.n-1].Type)
		return &g
	case "route":
		r := defaultRoute()
		return &r
	}
	all := b.cfg.Upstream
	fresh := builder{cfg: b.kinds.Default(), named: map[string]*Upstream{p.name: &all}}
	return fresh.table(p)
}

// validate lets each component validate its table, and then checks the tables against each other.
func (b *builder) validate(getenv func(string) string) {
	for _, s := range b.kinds.sections() {
		if n, isList := b.length(s.name); isList {
			for i := range n {
				p := place{section: s.name, n: i + 1}
				for _, in := range b.places(p) {
					b.check(in)
				}
				b.check(p)
			}
			continue
		}
		b.check(place{section: s.name})
	}
	b.single()
	b.duplicates(getenv)
	b.routes()
	b.guard()
}

// files reports files named by registries and gateways that can't be read.
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
					b.wrong(b.source(p, f.key), fmt.Sprintf("%v; allowed is a file that can be read", err))
				}
			}
		}
	}
}

// single builds the [upstream.NAME] tables.
func (b *builder) single() {
	for _, o := range b.deferred {
		if b.named[o.name] == nil {
			if err := upstream.ValidName(o.name); err != nil {
				if !b.refused[o.place] {
					o.key = ""
					b.wrong(o, err.Error())
				}
				continue
			}
			all := b.cfg.Upstream
			b.named[o.name] = &all
		}
		if b.begin(o) {
			b.put(o)
		}
	}
	b.cfg.Upstreams = map[string]Upstream{}
	for _, name := range slices.Sorted(maps.Keys(b.named)) {
		b.check(place{section: "upstream", name: name, inside: true})
		b.cfg.Upstreams[name] = *b.named[name]
	}
}

// check validates a table until no error is left: it reports each invalid key and resets it to its default.
func (b *builder) check(p place) {
	if b.untyped[p] || p.under != "" && b.refused[p] {
		return
	}
	last := ""
	checked, fresh := b.table(p), b.defaults(p)
	for range len(fields(fresh)) + 1 {
		err := checked.Validate()
		if err == nil {
			return
		}
		var wrong *setting.Error
		if !errors.As(err, &wrong) {
			b.wrong(b.source(p, ""), err.Error())
			return
		}
		if wrong.Key == last { // even the default is invalid
			return
		}
		last = wrong.Key
		f, has := fieldOf(checked, wrong.Key)
		b.wrong(b.source(p, wrong.Key), notAllowed(wrong, f.secret()))
		if !has {
			return
		}
		usual, _ := fieldOf(fresh, wrong.Key)
		copyValue(f.ptr, usual.ptr)
	}
}

// source returns the origin of a key, or of its table if the key was not set.
func (b *builder) source(p place, key string) origin {
	o, ok := b.from[spot{p, key}]
	if !ok {
		o = b.from[spot{p, ""}]
	}
	o.place, o.key = p, key
	o.where = cmp.Or(o.where, "default")
	return o
}

// duplicates reports registries and gateways that can't be told apart. It skips tables that already have a problem.
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
		b.wrong(b.source(p, key), wrong)
		return
	}
	taken[value] = p.n
}

// sameAddress normalizes an address.
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
