package syncer

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// frozen returns what the registries list with every frozen upstream as written. Servers that a freeze keeps out get
// a note.
//
//	written      seen           frozen      judged
//	a: 1, b: 2   a: 3, b: 4     b           a: 3, b: 2
//	a: 1         a: 1, b: 2     b           a: 1
//	a: 1, b: 2   a: 3           everything  a: 1, b: 2
func frozen(written generation.Generation, seen upstream.Set) upstream.Set {
	var put, kept []upstream.Upstream
	var drop []string
	for old, listed := range thaws(written, seen) {
		if listed.Name != "" {
			kept = append(kept, listed)
		}
		if old.Name != "" {
			put = append(put, old)
		} else {
			drop = append(drop, listed.Name)
		}
	}
	return seen.With(put, drop).AlsoOut(guard.KeptOut(written.Set, slices.Values(kept), seen.Outs(), outByFreeze.With())...)
}

// onlyFrozen counts the upstreams that are usable as frozen but not as listed.
func onlyFrozen(written generation.Generation, seen upstream.Set) int {
	n := 0
	for old, listed := range thaws(written, seen) {
		if old.Usable() && !listed.Usable() {
			n++
		}
	}
	return n
}

// thaws yields the upstreams that would change if nothing were frozen: as written and as listed. The zero Upstream
// stands for one that is missing.
func thaws(written generation.Generation, seen upstream.Set) iter.Seq2[upstream.Upstream, upstream.Upstream] {
	if isFrozen(written.Frozen, "") { // everything is
		return upstream.Changed(written.Set, seen)
	}
	return func(yield func(upstream.Upstream, upstream.Upstream) bool) {
		for _, f := range written.Frozen {
			old, _ := written.Set.Get(string(f.Name))
			listed, _ := seen.Get(string(f.Name))
			if !old.Identical(listed) && !yield(old, listed) {
				return
			}
		}
	}
}

// isFrozen reports whether an upstream is frozen, by name or with everything.
func isFrozen(freezes []generation.Freeze, name string) bool {
	return slices.ContainsFunc(freezes, func(f generation.Freeze) bool {
		return f.Name.Covers(name)
	})
}

// thawed returns the freezes that have not expired, and the time until the next one does, or 0 if none will.
func thawed(freezes []generation.Freeze, now time.Time) (left []generation.Freeze, next time.Duration) {
	for _, f := range freezes {
		if f.Until.IsZero() {
			left = append(left, f)
			continue
		}
		if remains := f.Until.Sub(now); remains > 0 {
			left = append(left, f)
			next = sooner(next, remains)
		}
	}
	return left, next
}

// sooner returns the shorter of two waits. 0 means no wait.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func sameFreezes(a, b []generation.Freeze) bool {
	return slices.EqualFunc(a, b, func(a, b generation.Freeze) bool {
		return a.Name == b.Name && a.Until.Equal(b.Until) && a.Signed == b.Signed
	})
}

// frozenNow lists the current freezes, for an error about an unknown one.
func frozenNow(freezes []generation.Freeze) string {
	if len(freezes) == 0 {
		return "nothing is frozen"
	}
	var names []string
	for _, f := range freezes {
		names = append(names, cmp.Or(string(f.Name), f.Name.Words()))
	}
	return "frozen now: " + strings.Join(names, ", ")
}
