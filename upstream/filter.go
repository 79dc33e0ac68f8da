package upstream

import (
	"cmp"
	"maps"
	"slices"

	"swallowkeeper/internal/sorted"
)

// Filter removes parts from a sequence of sets. It caches its last result and judges only what changed since then.
// The zero value is ready to use.
type Filter struct {
	from, beside, to Set
	altered          map[Key]alteration
	notes            Outs
}

// alteration is the result of a [Judge] for the upstreams of one name.
type alteration struct {
	name string
	kept []Upstream
	out  []Out
}

// Judge returns the part of u that stays, and a note for each part that is left out. If nothing stays, left has no
// name. beside is the upstream with the same name in a second set, or the zero Upstream. A Judge must be
// deterministic: the same arguments give the same result.
type Judge func(u, beside Upstream) (left Upstream, out []Out)

// Apply filters a set. It returns what stays, and the notes for what was left out; the notes are not added to the
// set. Set anew if the judge may now decide differently: it discards the cache.
func (f *Filter) Apply(from, beside Set, anew bool, judge Judge) (Set, Outs) {
	if anew || f.altered == nil {
		*f = Filter{altered: map[Key]alteration{}}
	}
	changed := names{}
	for was, is := range Changed(f.from, from) {
		changed.add(cmp.Or(is.Name, was.Name))
	}
	for was, is := range Changed(f.beside, beside) {
		changed.add(cmp.Or(is.Name, was.Name))
	}
	if len(changed) == 0 && f.from.out.Is(from.out) {
		return f.to, f.notes
	}
	notes := make([]sorted.Edit[Out], 0, len(changed))
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		name := changed[key]
		a, is := alter(from, beside, name, judge)
		if is {
			f.altered[key] = a
		} else {
			delete(f.altered, key)
		}
		notes = append(notes, sorted.Edit[Out]{At: Out{Upstream: name}, Put: a.out})
	}
	f.from, f.beside = from, beside
	f.to, f.notes = altered(from, f.to, changed, f.altered), Outs{f.notes.list.With(notes, byHome)}
	return f.to, f.notes
}

// fewAltered is the largest number of altered upstreams for which the result is built from the input set, so that the
// two share everything else. Above that, the result is built from the previous result, because applying all
// alterations at each change would be too slow.
const fewAltered = 64

// altered applies alterations to a set. before is the previous result, and changed are the names that may differ
// since then.
func altered(from, before Set, changed names, all map[Key]alteration) Set {
	names := maps.Keys(all)
	of := from
	if len(all) > fewAltered {
		names, of = maps.Keys(changed), before
	}
	var edits []sorted.Edit[Upstream]
	for _, key := range slices.Sorted(names) {
		a, is := all[key]
		if !is {
			a = alteration{name: changed[key], kept: slices.Collect(values(from.list.Of(named(changed[key]))))}
		}
		edits = append(edits, sorted.Edit[Upstream]{At: Upstream{Name: a.name}, Put: a.kept})
	}
	s := of.edit(edits, nil)
	s.out, s.unknown = from.out, from.unknown
	return s
}

// alter judges the upstreams with the given name. It reports whether that changes anything.
func alter(from, beside Set, name string, judge Judge) (a alteration, is bool) {
	other, _ := beside.Get(name)
	a.name = name
	for u := range from.list.Of(named(name)) {
		left, out := judge(*u, other)
		if left.Name != "" {
			a.kept = append(a.kept, left)
		}
		a.out = append(a.out, out...)
		is = is || len(out) > 0 || !left.Identical(*u)
	}
	a.out = distinct(a.out)
	return a, is
}
