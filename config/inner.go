package config

import (
	"reflect"
	"slices"
)

// A kind may have keys with named tables, such as [registry.service.NAME]: fields of type map[string]*T.

// inner returns those fields of a table by key.
func inner(table any) map[string]reflect.Value {
	found := map[string]reflect.Value{}
	every(table, func(key string, v reflect.Value, _ reflect.StructTag) {
		if v.Kind() == reflect.Map {
			found[key] = v
		}
	})
	return found
}

// innerKeys returns the keys with named tables that any type of the list has.
func (k Kinds) innerKeys(list string) (all []string) {
	add := func(table any) {
		for key := range inner(table) {
			all = append(all, key)
		}
	}
	for _, typ := range k.types(list) {
		if list == "gateway" {
			g := k.gateway(typ)
			add(&g)
			continue
		}
		r := k.registry(typ)
		add(&r)
	}
	return all
}

// innerNames returns the names of the tables under a key, sorted.
func innerNames(v reflect.Value) (names []string) {
	for _, name := range v.MapKeys() {
		names = append(names, name.String())
	}
	slices.Sort(names)
	return names
}

// innerTable returns a table by name, or nil.
func innerTable(v reflect.Value, name string) table {
	t, _ := v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())).Interface().(table)
	return t
}

// freshInner returns a new table under a key, with default values.
func freshInner(v reflect.Value) table {
	t, _ := reflect.New(v.Type().Elem().Elem()).Interface().(table)
	for _, f := range fields(t) {
		if value, has := f.tag.Lookup("default"); has {
			f.set(text(value))
		}
	}
	return t
}

// places returns the named tables in a table of a list.
func (b *builder) places(outer place) (all []place) {
	every(b.table(outer), func(key string, v reflect.Value, _ reflect.StructTag) {
		if v.Kind() != reflect.Map {
			return
		}
		for _, name := range innerNames(v) {
			p := outer
			p.under, p.name, p.inside = key, name, true
			all = append(all, p)
		}
	})
	return all
}

// outer returns the table that contains a named one.
func (p place) outer() place {
	p.under, p.name, p.inside = "", "", false
	return p
}
