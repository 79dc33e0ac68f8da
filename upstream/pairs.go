package upstream

import (
	"iter"
	"slices"

	"swallowkeeper/internal/sorted"
	"swallowkeeper/route"
)

// Pairs yields the upstreams of two sets side by side, ordered by name. The zero Upstream stands for one that a set
// lacks. Names that differ only in case are paired, as nginx can't tell them apart.
func Pairs(a, b Set) iter.Seq2[Upstream, Upstream] {
	return func(yield func(Upstream, Upstream) bool) {
		for left, right := range sorted.Pairs(a.list, b.list, byName) {
			if !yield(orZero(left), orZero(right)) {
				return
			}
		}
	}
}

// Changed is [Pairs] without the identical pairs, which it does not copy.
func Changed(a, b Set) iter.Seq2[Upstream, Upstream] {
	return func(yield func(Upstream, Upstream) bool) {
		for left, right := range sorted.Differing(a.list, b.list, byName) {
			if left != nil && right != nil && (untouched(left, right) || left.Identical(*right)) {
				continue
			}
			if !yield(orZero(left), orZero(right)) {
				return
			}
		}
	}
}

func orZero(u *Upstream) Upstream {
	if u == nil {
		return Upstream{}
	}
	return *u
}

// untouched reports whether a was carried over to b unchanged. It does not look at the servers themselves.
func untouched(a, b *Upstream) bool {
	return shared(a.Servers, b.Servers) && sharedRoutes(a.Routes, b.Routes) &&
		a.Name == b.Name && a.Canary == b.Canary && a.Options == b.Options
}

// With returns the set with the upstreams of put added or replaced, and those named in drop removed. The notes stay.
// It looks at no other upstream, so a small change is cheap.
func (s Set) With(put []Upstream, drop []string) Set {
	if len(put)+len(drop) == 0 {
		return s
	}
	edits := make([]sorted.Edit[Upstream], 0, len(put)+len(drop))
	for _, name := range drop {
		edits = append(edits, sorted.Edit[Upstream]{At: Upstream{Name: name}})
	}
	for _, u := range put {
		u = u.canonical()
		edits = append(edits, sorted.Edit[Upstream]{At: u, Put: []Upstream{u}})
	}
	slices.SortStableFunc(edits, func(a, b sorted.Edit[Upstream]) int { return byName(&a.At, &b.At) })
	last := edits[:0] // one edit per name: the last wins
	for _, e := range edits {
		if n := len(last); n > 0 && byName(&last[n-1].At, &e.At) == 0 {
			last[n-1] = e
		} else {
			last = append(last, e)
		}
	}
	return s.edit(last, nil)
}

// shared reports whether both slices are the same memory. Sets are immutable and carry unchanged servers over, so
// this settles most comparisons.
func shared(a, b []Server) bool { return len(a) > 0 && len(a) == len(b) && &a[0] == &b[0] }

// sharedRoutes reports whether both slices are the same memory, or both empty.
func sharedRoutes(a, b []route.Route) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
