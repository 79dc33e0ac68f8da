package sorted

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// thing has a place, and may share it with others.
type thing struct{ place, serial int }

func byPlace(a, b *thing) int { return cmp.Compare(a.place, b.place) }

// naive does to a slice what List.With does.
func naive(items []thing, edits []Edit[thing]) []thing {
	for _, e := range edits {
		items = slices.DeleteFunc(slices.Clone(items), func(t thing) bool { return t.place == e.At.place })
		items = append(items, e.Put...)
	}
	slices.SortStableFunc(items, func(a, b thing) int { return byPlace(&a, &b) })
	return items
}

func collect(l List[thing]) (all []thing) {
	for t := range l.All() {
		all = append(all, *t)
	}
	return all
}

// A list does what a slice does, through whatever edits: chunks are split and joined, and places have several elements.
func FuzzWith(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint16(seed*20), uint8(seed*5))
	}
	f.Fuzz(func(t *testing.T, seed uint64, places uint16, many uint8) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
		serial, list, want := 0, List[thing]{}, []thing(nil)
		for range 12 {
			edits := randomEdits(random, int(places%500)+1, int(many), &serial)
			before, was := list, want
			list, want = list.With(edits, byPlace), naive(want, edits)
			check(t, list, want)
			check(t, before, was) // it never changes
			compare(t, before, list, was, want)
			if made := New(want); !slices.Equal(collect(made), want) {
				t.Fatal("a new list is another one")
			}
		}
	})
}

func randomEdits(random *rand.Rand, places, many int, serial *int) []Edit[thing] {
	var at []int
	for range random.IntN(many + 2) {
		at = append(at, random.IntN(places))
	}
	slices.Sort(at)
	var edits []Edit[thing]
	for _, p := range slices.Compact(at) {
		e := Edit[thing]{At: thing{place: p}}
		for range []int{0, 1, 1, 1, 2, 90}[random.IntN(6)] {
			*serial++
			e.Put = append(e.Put, thing{p, *serial})
		}
		edits = append(edits, e)
	}
	return edits
}

func check(t *testing.T, l List[thing], want []thing) {
	t.Helper()
	if got := collect(l); !slices.Equal(got, want) || l.Len() != len(want) {
		t.Fatalf("the list has %d elements (%d), other ones than the %d wanted", len(got), l.Len(), len(want))
	}
	for i, c := range l.chunks {
		if len(c) == 0 || len(c) > most || cap(c) > most || i > 0 && len(c) < least-1 && len(l.chunks[i-1])+len(c) <= least {
			t.Fatalf("chunk %d of %d has %d elements", i, len(l.chunks), len(c))
		}
	}
	for _, p := range []int{-1, 0, 7, 100, 500} {
		at := func(e *thing) int { return cmp.Compare(e.place, p) }
		var got, all []thing
		for e := range l.Of(at) {
			got = append(got, *e)
		}
		for _, e := range want {
			if e.place == p {
				all = append(all, e)
			}
		}
		first := l.Find(at)
		if !slices.Equal(got, all) || (first == nil) != (all == nil) || first != nil && *first != all[0] {
			t.Fatalf("at %d are %v, want %v", p, got, all)
		}
	}
}

// compare goes through two lists side by side, with and without the chunks that both have.
func compare(t *testing.T, a, b List[thing], was, is []thing) {
	t.Helper()
	var left, right []thing
	for l, r := range Pairs(a, b, byPlace) {
		if l != nil && r != nil && l.place != r.place {
			t.Fatalf("%v is beside %v", *l, *r)
		}
		if l != nil {
			left = append(left, *l)
		}
		if r != nil {
			right = append(right, *r)
		}
	}
	if !slices.Equal(left, was) || !slices.Equal(right, is) {
		t.Fatal("the pairs do not have all elements")
	}
	old, now := map[thing]bool{}, map[thing]bool{}
	for l, r := range Differing(a, b, byPlace) {
		if l != nil {
			old[*l] = true
		}
		if r != nil {
			now[*r] = true
		}
	}
	for _, e := range was {
		if !old[e] && !has(is, e) {
			t.Fatalf("%v is gone, and not among what differs", e)
		}
	}
	for _, e := range is {
		if !now[e] && !has(was, e) {
			t.Fatalf("%v is new, and not among what differs", e)
		}
	}
}

// has looks a thing up among others in order.
func has(all []thing, e thing) bool {
	i, _ := slices.BinarySearchFunc(all, e, func(a, b thing) int { return byPlace(&a, &b) })
	for ; i < len(all) && all[i].place == e.place; i++ {
		if all[i] == e {
			return true
		}
	}
	return false
}

// What an edit does not touch is shared: comparing costs what changed.
func TestEditsShare(t *testing.T) {
	var all []thing
	for i := range 5000 {
		all = append(all, thing{place: i})
	}
	before := New(all)
	after := before.With([]Edit[thing]{{At: thing{place: 2500}, Put: []thing{{2500, 1}}}}, byPlace)
	n := 0
	for range Differing(before, after, byPlace) {
		n++
	}
	if n == 0 || n > most {
		t.Errorf("after one edit of %d elements %d are compared", len(all), n)
	}
	shared := 0
	for i := range after.chunks {
		if same(before.chunks[i], after.chunks[i]) {
			shared++
		}
	}
	if shared != len(before.chunks)-1 {
		t.Errorf("%d of %d chunks are shared", shared, len(before.chunks))
	}
}
