package guard

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"swallowkeeper/internal/sorted"
	"swallowkeeper/upstream"
)

// ledger maps servers to values with a time. Under churn there are thousands of entries, so ledgers share what did
// not change. Changes are pending until the ledger is settled; only the ledger of a step in progress has pending
// changes.
type ledger[V any] struct {
	entries sorted.List[entry[V]]  // in order of the servers
	ages    sorted.List[moment]    // the oldest first
	pending map[ServerID]*entry[V] // nil: dropped
}

type entry[V any] struct {
	id ServerID
	at time.Time
	is V
}

type moment struct {
	id ServerID
	at time.Time
}

func byID[V any](a, b *entry[V]) int { return a.id.compare(b.id) }

func byAge(a, b *moment) int { return cmp.Or(a.at.Compare(b.at), a.id.compare(b.id)) }

// get returns the entry of a server.
func (l *ledger[V]) get(id ServerID) (e entry[V], found bool) {
	if p, is := l.pending[id]; is {
		if p == nil {
			return e, false
		}
		return *p, true
	}
	return l.settledOf(id)
}

func (l *ledger[V]) settledOf(id ServerID) (e entry[V], found bool) {
	if p := l.entries.Find(func(e *entry[V]) int { return e.id.compare(id) }); p != nil {
		return *p, true
	}
	return e, false
}

func (l *ledger[V]) put(id ServerID, at time.Time, is V) { l.pend(id, &entry[V]{id, at, is}) }

func (l *ledger[V]) drop(id ServerID) {
	if _, is := l.get(id); is {
		l.pend(id, nil)
	}
}

func (l *ledger[V]) pend(id ServerID, e *entry[V]) {
	if l.pending == nil {
		l.pending = map[ServerID]*entry[V]{}
	}
	l.pending[id] = e
}

// of yields the entries of an upstream's servers, without those that were added since the ledger was settled.
func (l *ledger[V]) of(name string) iter.Seq[entry[V]] {
	return l.now(l.entries.Of(func(e *entry[V]) int { return upstream.CompareNames(e.id.Upstream, name) }))
}

func (l *ledger[V]) now(settled iter.Seq[*entry[V]]) iter.Seq[entry[V]] {
	return func(yield func(entry[V]) bool) {
		for e := range settled {
			if p, is := l.pending[e.id]; is {
				e = p
			}
			if e != nil && !yield(*e) {
				return
			}
		}
	}
}

// all yields all entries in order of the servers. The ledger must be settled.
func (l *ledger[V]) all() iter.Seq[entry[V]] { return l.now(l.entries.All()) }

// before yields the entries with a time before at, the oldest first.
func (l *ledger[V]) before(at time.Time) iter.Seq[entry[V]] {
	return func(yield func(entry[V]) bool) {
		for m := range l.ages.All() {
			if !m.at.Before(at) {
				return
			}
			if e, is := l.get(m.id); is && e.at.Equal(m.at) && !yield(e) {
				return
			}
		}
	}
}

// settled returns the ledger with all pending changes applied. It calls tell for each changed server, in order, with
// the old and the new value; the zero value stands for no entry.
func (l *ledger[V]) settled(tell func(id ServerID, before, now V)) ledger[V] {
	if len(l.pending) == 0 {
		return ledger[V]{entries: l.entries, ages: l.ages}
	}
	n := len(l.pending)
	entries, put := make([]sorted.Edit[entry[V]], 0, n), make([]entry[V], 0, n)
	ages, aged := make([]sorted.Edit[moment], 0, n), make([]moment, 0, n)
	for _, id := range slices.SortedFunc(maps.Keys(l.pending), ServerID.compare) {
		e := sorted.Edit[entry[V]]{At: entry[V]{id: id}}
		before, was := l.settledOf(id)
		var is V
		now := l.pending[id]
		if now != nil {
			put, is = append(put, *now), now.is
			e.Put = put[len(put)-1:]
		}
		entries = append(entries, e)
		if tell(id, before.is, is); was && now != nil && before.at.Equal(now.at) {
			continue
		}
		if was {
			ages = append(ages, sorted.Edit[moment]{At: moment{id, before.at}})
		}
		if now != nil {
			aged = append(aged, moment{id, now.at})
			ages = append(ages, sorted.Edit[moment]{At: moment{id, now.at}, Put: aged[len(aged)-1:]})
		}
	}
	slices.SortFunc(ages, func(a, b sorted.Edit[moment]) int { return byAge(&a.At, &b.At) })
	return ledger[V]{entries: l.entries.With(entries, byID), ages: l.ages.With(ages, byAge)}
}
