package upstream

import (
	"iter"
	"slices"
)

// Pairs yields the upstreams of two sets by their names, in order. The zero Upstream stands for one that a
// set does not have. Names that nginx can't tell apart are one.
func Pairs(a, b Set) iter.Seq2[Upstream, Upstream] {
	return func(yield func(Upstream, Upstream) bool) {
		l, r := a.list, b.list
		for len(l) > 0 || len(r) > 0 {
			var left, right Upstream
			order := nextOf(l, r)
			if order <= 0 {
				left, l = l[0], l[1:]
			}
			if order >= 0 {
				right, r = r[0], r[1:]
			}
			if !yield(left, right) {
				return
			}
		}
	}
}

// With returns the set with some upstreams in the place of those of their names, and without those that drop
// names. What is out stays. It looks at no other upstream, so it is quick where little changes.
func (s Set) With(put []Upstream, drop []string) Set {
	if len(put)+len(drop) == 0 {
		return s
	}
	list := make([]Upstream, len(s.list), len(s.list)+len(put))
	copy(list, s.list)
	find := func(name string) (int, bool) {
		return slices.BinarySearchFunc(list, name, func(u Upstream, name string) int { return CompareNames(u.Name, name) })
	}
	for _, name := range drop {
		if i, found := find(name); found {
			list = slices.Delete(list, i, i+1)
		}
	}
	for _, u := range put {
		if i, found := find(u.Name); found {
			list[i] = u.canonical()
		} else {
			list = slices.Insert(list, i, u.canonical())
		}
	}
	return Set{list: list, out: s.out}
}

// WithOut returns the set with other notes of what is out.
func (s Set) WithOut(out []Out) Set { return Set{list: s.list, out: build(nil, out).out} }

// shared reports whether both have their servers in one slice. Sets never change, and what a registry did not
// touch goes from one set to the next: so this settles most comparisons.
func shared(a, b []Server) bool { return len(a) > 0 && len(a) == len(b) && &a[0] == &b[0] }
