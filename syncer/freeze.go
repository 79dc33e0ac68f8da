package syncer

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// frozen is what the registries gave with everything that a person froze as it is written.
// What a freeze keeps out is out with that reason.
//
//	written      seen           frozen      judged
//	a: 1, b: 2   a: 3, b: 4     b           a: 3, b: 2
//	a: 1         a: 1, b: 2     b           a: 1
//	a: 1, b: 2   a: 3           everything  a: 1, b: 2
func frozen(written upstream.Generation, seen upstream.Set) upstream.Set {
	if len(written.Frozen) == 0 {
		return seen
	}
	var list, kept []upstream.Upstream
	for u := range seen.All() {
		if isFrozen(written.Frozen, u.Name) {
			kept = append(kept, u)
		} else {
			list = append(list, u)
		}
	}
	out := guard.KeptOut(written.Set, slices.Values(kept), seen.Out(), "a freeze")
	for u := range written.Set.All() {
		if isFrozen(written.Frozen, u.Name) {
			list = append(list, u)
		}
	}
	return upstream.NewSet(list, out...)
}

// onlyFrozen counts the upstreams that have a usable server as they are frozen, and none as the registries list them.
func onlyFrozen(written upstream.Generation, seen upstream.Set) int {
	n := 0
	for u := range written.Set.All() {
		if listed, _ := seen.Get(u.Name); u.Usable() && !listed.Usable() && isFrozen(written.Frozen, u.Name) {
			n++
		}
	}
	return n
}

// isFrozen reports whether an upstream is frozen, by its name or with all others.
func isFrozen(freezes []upstream.Freeze, name string) bool {
	return slices.ContainsFunc(freezes, func(f upstream.Freeze) bool {
		return f.Name.Covers(name)
	})
}

// thawed is the freezes without those whose time is up, and after which time the next one
// is over, 0 where none ends by itself.
func thawed(freezes []upstream.Freeze, now time.Time) (left []upstream.Freeze, next time.Duration) {
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

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func sameFreezes(a, b []upstream.Freeze) bool {
	return slices.EqualFunc(a, b, func(a, b upstream.Freeze) bool {
		return a.Name == b.Name && a.Until.Equal(b.Until) && a.Signed == b.Signed
	})
}

// frozenNow is what to say to somebody who names a freeze that there is not.
func frozenNow(freezes []upstream.Freeze) string {
	if len(freezes) == 0 {
		return "nothing is frozen"
	}
	var names []string
	for _, f := range freezes {
		names = append(names, cmp.Or(string(f.Name), f.Name.Words()))
	}
	return "frozen now: " + strings.Join(names, ", ")
}
