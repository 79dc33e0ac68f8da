package upstream

// Changes lead from one set to another.
type Changes struct {
	// Want is the whole set that the changes lead to.
	Want Set
	// Added are in Want alone.
	Added []Upstream
	// Updated are in both and differ.
	Updated []Update
	// Removed are in the old set alone, as they were there.
	Removed []Upstream
}

// Update is one upstream before and after.
type Update struct{ Old, New Upstream }

// Empty reports whether there is nothing to do.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Updated)+len(c.Removed) == 0 }

// RemoveOnly narrows the removals to upstreams for which owned says yes: what an
// operator configured by hand stays.
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

// Diff finds what leads from live to want. Where nginx would not notice a
// difference (another order, another origin) there is none. A name in another case is
// an update: posting the one renames the other.
func Diff(live, want Set) Changes {
	c := Changes{Want: want}
	l, w := live.list, want.list
	for len(l) > 0 || len(w) > 0 {
		switch order := nextOf(l, w); {
		case order < 0:
			c.Removed = append(c.Removed, l[0])
			l = l[1:]
		case order > 0:
			c.Added = append(c.Added, w[0])
			w = w[1:]
		default:
			if !l[0].Same(w[0]) {
				c.Updated = append(c.Updated, Update{Old: l[0], New: w[0]})
			}
			l, w = l[1:], w[1:]
		}
	}
	return c
}

func nextOf(l, w []Upstream) int {
	switch {
	case len(w) == 0:
		return -1
	case len(l) == 0:
		return 1
	default:
		return CompareNames(l[0].Name, w[0].Name)
	}
}
