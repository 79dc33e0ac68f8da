// Package sorted is an immutable sorted list. Edited copies share unchanged parts with the original.
//
// A list consists of chunks of some dozens of elements. An edit copies the affected chunks and the list of chunks. So
// its cost depends on the change, not on the length of the list, and comparing related lists skips their common chunks.
package sorted

import (
	"iter"
	"slices"
	"sort"
)

// Limits of a chunk's size. A chunk that an edit leaves with fewer than least is merged with the one before.
const (
	most  = 64
	least = 16
)

// List is a sorted list. The zero value is empty. Elements must not be changed.
//
// Methods take an order: the one that the list was made with, or a coarser one, such as by the first of two keys.
type List[T any] struct {
	chunks [][]T // none is empty
	length int
}

// Order compares two elements like [cmp.Compare].
type Order[T any] func(a, b *T) int

// to returns the place of an element.
func (o Order[T]) to(at *T) Place[T] { return func(e *T) int { return o(e, at) } }

// Edit replaces all elements at the place of At by others, which are in order.
type Edit[T any] struct {
	At  T
	Put []T
}

// New makes a list of sorted elements. It does not keep the slice.
func New[T any](items []T) List[T] {
	return List[T]{chunks: cut(nil, items), length: len(items)}
}

// Len returns the number of elements.
func (l List[T]) Len() int { return l.length }

// Is reports whether two lists are identical, without comparing elements.
func (l List[T]) Is(o List[T]) bool {
	return l.length == o.length && (l.length == 0 || &l.chunks[0] == &o.chunks[0])
}

// All yields the elements in order.
func (l List[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, c := range l.chunks {
			for i := range c {
				if !yield(&c[i]) {
					return
				}
			}
		}
	}
}

// Place reports whether an element is before (-1), at (0), or after (1) a place. It must be consistent with the order.
type Place[T any] func(e *T) int

// Find returns the first element at a place, or nil.
func (l List[T]) Find(at Place[T]) *T {
	chunks := l.chunks[before(l.chunks, at):]
	for n, c := range chunks {
		i := 0
		if n == 0 {
			i = place(c, at)
		}
		if i < len(c) {
			if at(&c[i]) == 0 {
				return &c[i]
			}
			return nil
		}
	}
	return nil
}

// Of yields the elements at a place.
func (l List[T]) Of(at Place[T]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for n, c := range l.chunks[before(l.chunks, at):] {
			i := 0
			if n == 0 {
				i = place(c, at)
			}
			for ; i < len(c); i++ {
				if at(&c[i]) != 0 || !yield(&c[i]) {
					return
				}
			}
		}
	}
}

// before counts the chunks that are entirely before a place.
func before[T any](chunks [][]T, at Place[T]) int {
	n := sort.Search(len(chunks), func(i int) bool { return at(&chunks[i][0]) >= 0 })
	return max(0, n-1) // the last chunk that begins before the place may reach it
}

// place counts the elements of a chunk before a place.
func place[T any](c []T, at Place[T]) int {
	return sort.Search(len(c), func(i int) bool { return at(&c[i]) >= 0 })
}

// With returns the list after edits, which are in order and at different places.
func (l List[T]) With(edits []Edit[T], order Order[T]) List[T] {
	nothing := func(e Edit[T]) bool { return len(e.Put) == 0 && l.Find(order.to(&e.At)) == nil }
	if slices.ContainsFunc(edits, nothing) {
		edits = slices.DeleteFunc(slices.Clone(edits), nothing)
	}
	if len(edits) == 0 {
		return l
	}
	next, rest, length := make([][]T, 0, len(l.chunks)+1), l.chunks, l.length
	for len(edits) > 0 {
		n := before(rest, order.to(&edits[0].At))
		next, rest = append(next, rest[:n]...), rest[n:]
		var chunk, edited []T
		if len(rest) > 0 {
			chunk, rest = rest[0], rest[1:]
		}
		for ; len(edits) > 0 && (len(rest) == 0 || order(&rest[0][0], &edits[0].At) >= 0); edits = edits[1:] {
			e := &edits[0]
			for len(rest) > 0 && order(&rest[0][0], &e.At) == 0 { // what it replaces continues in the next chunk
				chunk, rest = slices.Concat(chunk, rest[0]), rest[1:]
			}
			if edited == nil {
				edited = make([]T, 0, len(chunk)+len(e.Put))
			}
			from := place(chunk, order.to(&e.At))
			to := from
			for to < len(chunk) && order(&chunk[to], &e.At) == 0 {
				to++
			}
			edited = append(append(edited, chunk[:from]...), e.Put...)
			chunk = chunk[to:]
			length += len(e.Put) - (to - from)
		}
		edited = append(edited, chunk...)
		if n := len(next); n > 0 && len(edited) < least {
			next, edited = next[:n-1], slices.Concat(next[n-1], edited)
		}
		next = cut(next, edited)
	}
	return List[T]{chunks: append(next, rest...), length: length}
}

// cut appends elements to a list of chunks, in chunks of about equal size. Chunks never share an array, as one would
// keep the other's memory alive.
func cut[T any](chunks [][]T, items []T) [][]T {
	for n := (len(items) + most - 1) / most; n > 0; n-- {
		size := len(items) / n
		chunks = append(chunks, append(make([]T, 0, size), items[:size]...))
		items = items[size:]
	}
	return chunks
}

// Pairs yields the elements of two lists side by side, in order: elements at one place together, and nil for an element
// that only one list has.
func Pairs[T any](a, b List[T], order Order[T]) iter.Seq2[*T, *T] {
	return pairs(a, b, order, func(_, _ []T) bool { return false })
}

// Differing is [Pairs] without the chunks that both lists share.
func Differing[T any](a, b List[T], order Order[T]) iter.Seq2[*T, *T] {
	return pairs(a, b, order, same)
}

func pairs[T any](a, b List[T], order Order[T], skip func(c, d []T) bool) iter.Seq2[*T, *T] {
	return func(yield func(*T, *T) bool) {
		l, r := cursor[T]{chunks: a.chunks}, cursor[T]{chunks: b.chunks}
		for l.more() || r.more() {
			if l.at == 0 && r.at == 0 && l.more() && r.more() && skip(l.chunks[0], r.chunks[0]) {
				l.chunks, r.chunks = l.chunks[1:], r.chunks[1:]
				continue
			}
			left, right := l.now(), r.now()
			if left != nil && right != nil {
				switch c := order(left, right); {
				case c < 0:
					right = nil
				case c > 0:
					left = nil
				}
			}
			if !yield(left, right) {
				return
			}
			if left != nil {
				l.next()
			}
			if right != nil {
				r.next()
			}
		}
	}
}

// same reports whether two chunks are identical.
func same[T any](c, d []T) bool { return len(c) == len(d) && &c[0] == &d[0] }

// cursor walks through the elements of a list.
type cursor[T any] struct {
	chunks [][]T // the first is the current one
	at     int   // index in the first
}

func (c *cursor[T]) more() bool { return len(c.chunks) > 0 }

// now returns the current element, or nil at the end.
func (c *cursor[T]) now() *T {
	if !c.more() {
		return nil
	}
	return &c.chunks[0][c.at]
}

func (c *cursor[T]) next() {
	if c.at++; c.at == len(c.chunks[0]) {
		c.chunks, c.at = c.chunks[1:], 0
	}
}
