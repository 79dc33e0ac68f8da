package upstream

import (
	"cmp"
	"maps"
	"slices"

	"swallowkeeper/internal/sorted"
)

// Union is [Join] for a set of many parts of which few change at a time, such as the services of a registry: its cost
// depends on what changed. Parts are joined in order of their names. The zero value is empty.
type Union struct {
	parts map[string]Set
	has   map[Key][]string // the parts that have something under a name, in order; mostly one
	stale names
	set   Set
}

// Put sets or replaces the set of a part. The empty set removes the part.
func (u *Union) Put(part string, s Set) {
	if u.parts == nil {
		u.parts, u.has, u.stale = map[string]Set{}, map[Key][]string{}, names{}
	}
	before := u.parts[part]
	u.stale.between(before, s)
	for key := range before.names() {
		u.has[key] = slices.DeleteFunc(u.has[key], func(p string) bool { return p == part })
	}
	for key := range s.names() {
		i, _ := slices.BinarySearchFunc(u.has[key], part, inOrder)
		u.has[key] = slices.Insert(u.has[key], i, part)
	}
	for key := range before.names() {
		if len(u.has[key]) == 0 {
			delete(u.has, key)
		}
	}
	if u.parts[part] = s; s.Len()+s.out.Len() == 0 {
		delete(u.parts, part)
	}
}

// Set returns all parts joined.
func (u *Union) Set() Set {
	u.set = u.set.renew(u.stale, func(key Key, name string) (list []Upstream, out []Out) {
		for _, part := range u.has[key] {
			s := u.parts[part]
			list = slices.AppendSeq(list, values(s.list.Of(named(name))))
			out = slices.AppendSeq(out, s.Outs().Of(name))
		}
		return whole(list), out
	})
	clear(u.stale)
	return u.set
}

func inOrder(a, b string) int { return cmp.Or(CompareNames(a, b), cmp.Compare(a, b)) }

// names maps keys to names of upstreams, or of services whose upstream is unknown.
type names map[Key]string

func (n names) add(name string) { n[KeyOf(name)] = name }

// between adds the names under which two sets differ.
func (n names) between(a, b Set) {
	for was, is := range Changed(a, b) {
		n.add(cmp.Or(was.Name, is.Name))
	}
	for was, is := range a.Outs().Changed(b.Outs()) {
		n.add(cmp.Or(was.home(), is.home()))
	}
}

// names returns all names under which the set has an upstream or a note.
func (s Set) names() names {
	all := names{}
	for u := range s.list.All() {
		all.add(u.Name)
	}
	for o := range s.out.All() {
		all.add(o.home())
	}
	return all
}

// renew returns the set with the upstreams and notes of the changed names replaced by what of returns. Those notes
// need not be sorted.
func (s Set) renew(changed names, of func(Key, string) ([]Upstream, []Out)) Set {
	list := make([]sorted.Edit[Upstream], 0, len(changed))
	out := make([]sorted.Edit[Out], 0, len(changed))
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		name := changed[key]
		upstreams, left := of(key, name)
		list = append(list, sorted.Edit[Upstream]{At: Upstream{Name: name}, Put: upstreams})
		out = append(out, sorted.Edit[Out]{At: Out{Upstream: name}, Put: distinct(left)})
	}
	return s.edit(list, out)
}
