package upstream

import "swallowkeeper/internal/sorted"

// Changes is the difference between two sets.
type Changes struct {
	// Want is the complete new set.
	Want Set
	// Added are only in Want.
	Added []Upstream
	// Updated are in both sets and differ.
	Updated []Update
	// Removed are only in the old set.
	Removed []Upstream
}

// Update is one upstream before and after.
type Update struct{ Old, New Upstream }

// Empty reports whether there are no changes.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Updated)+len(c.Removed) == 0 }

// RemoveOnly restricts the removals to upstreams for which owned returns true: those that an operator configured by
// hand stay.
func (c Changes) RemoveOnly(owned func(Upstream) bool) Changes {
	var removed []Upstream
	for _, u := range c.Removed {
		if owned(u) {
			removed = append(removed, u)
		}
	}
	c.Removed = removed
	return c
}

// Diff returns the changes from live to want. Differences that nginx would not notice (order, origin) are left out. A
// name that changes case is an update: posting the new name renames the upstream.
func Diff(live, want Set) Changes {
	c := Changes{Want: want}
	note := func(was, is *Upstream) {
		switch {
		case is == nil:
			c.Removed = append(c.Removed, *was)
		case was == nil:
			c.Added = append(c.Added, *is)
		case !untouched(was, is) && !was.Same(*is):
			c.Updated = append(c.Updated, Update{Old: *was, New: *is})
		}
	}
	if live.bare > 0 { // an upstream without servers differs from all others, even if both sets share it
		for was, is := range sorted.Pairs(live.list, want.list, byName) {
			note(was, is)
		}
		return c
	}
	for was, is := range sorted.Differing(live.list, want.list, byName) {
		note(was, is)
	}
	return c
}
