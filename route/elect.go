package route

import "slices"

// Elect decides between the routes that the instances of one service register; each list is canonical. The list of the
// majority wins. Instances without routes do not vote. In a tie, each of the lists is returned under its own
// [Route.Side], and package upstream keeps the one that is already written. lost are the indices of the claims that did
// not win.
func Elect(claims [][]Route) (won []Route, lost []int) {
	var lists [][]Route
	var votes []int
	of := make([]int, len(claims))
	for i, c := range claims {
		if of[i] = -1; len(c) == 0 {
			continue
		}
		at := slices.IndexFunc(lists, func(l []Route) bool { return slices.EqualFunc(l, c, Route.Same) })
		if at < 0 {
			at = len(lists)
			lists, votes = append(lists, c), append(votes, 0)
		}
		votes[at]++
		of[i] = at
	}
	if len(lists) == 0 {
		return nil, nil
	}
	most := slices.Max(votes)
	tied := 0
	for _, n := range votes {
		if n == most {
			tied++
		}
	}
	side := 0
	for at, list := range lists {
		switch {
		case votes[at] != most:
		case tied == 1:
			won = list
		default:
			side++
			won = append(won, sided(list, side)...)
		}
	}
	for i, at := range of {
		if at >= 0 && votes[at] != most {
			lost = append(lost, i)
		}
	}
	return Canonical(won), lost
}

func sided(list []Route, side int) []Route {
	list = slices.Clone(list)
	for i := range list {
		list[i].Side = side
	}
	return list
}

// Union joins the routes of two halves of one upstream. If they conflict, the half with more servers wins. In a tie
// each half gets its own side.
func Union(a, b []Route, servers, others int) []Route {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	case slices.EqualFunc(a, b, Route.Same):
		return Canonical(slices.Concat(a, b))
	case servers > others:
		return a
	case servers < others:
		return b
	}
	sides := 1
	for _, r := range a {
		sides = max(sides, r.Side)
	}
	if a[0].Side == 0 {
		a = sided(a, 1)
	}
	b = slices.Clone(b)
	for i := range b {
		b[i].Side = sides + max(b[i].Side, 1)
	}
	return Canonical(slices.Concat(a, b))
}

// Agreed resolves the sides of an upstream's routes. The side with most routes already written wins, or else the first.
// told are the routes of the others.
func Agreed(routes, written []Route) (agreed, told []Route) {
	if !slices.ContainsFunc(routes, func(r Route) bool { return r.Side != 0 }) {
		return routes, nil
	}
	var sides []int
	known := map[int]int{}
	for _, r := range routes {
		if !slices.Contains(sides, r.Side) {
			sides = append(sides, r.Side)
		}
		if slices.ContainsFunc(written, r.unsided().Same) {
			known[r.Side]++
		}
	}
	slices.Sort(sides)
	best := sides[0]
	for _, s := range sides {
		if known[s] > known[best] {
			best = s
		}
	}
	for _, r := range routes {
		if r.Side == best {
			agreed = append(agreed, r.unsided())
		} else {
			told = append(told, r.unsided())
		}
	}
	return Canonical(agreed), told
}

func (r Route) unsided() Route {
	r.Side = 0
	return r
}
