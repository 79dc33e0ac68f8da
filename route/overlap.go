package route

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// charset is the set of characters of a class, one bit each.
type charset [2]uint64

func (s Segment) charset() (set charset) {
	for c := range byte(128) {
		if inClass(s.Class, c) {
			set[c/64] |= 1 << (c % 64)
		}
	}
	return set
}

func (c charset) size() int { return bits.OnesCount64(c[0]) + bits.OnesCount64(c[1]) }

func (c charset) String() string {
	var b strings.Builder
	for i := range byte(128) {
		if c[i/64]&(1<<(i%64)) != 0 {
			b.WriteByte(i)
		}
	}
	return b.String()
}

// longest returns the maximum length of a Classed variable.
func (s Segment) longest() int {
	if s.Most == 0 {
		return math.MaxInt
	}
	return s.Most
}

// compareClass orders the more restrictive segment first: a subset before its superset, then the smaller class, then
// the narrower count.
func (s Segment) compareClass(o Segment) int {
	a, b := s.charset(), o.charset()
	return cmp.Or(
		cmp.Compare(a.size(), b.size()),
		cmp.Compare(s.longest()-s.Least, o.longest()-o.Least),
		slices.Compare(a[:], b[:]),
		cmp.Compare(s.Least, o.Least),
	)
}

// alike reports whether two segments match the same texts.
func (s Segment) alike(o Segment) bool {
	switch {
	case s.Kind != o.Kind:
		return false
	case s.Kind == Literal:
		return s.Text == o.Text
	case s.Kind == Classed:
		return s.Least == o.Least && s.Most == o.Most && (s.Class == o.Class || s.charset() == o.charset())
	}
	return true
}

// within reports whether every text that s matches is also matched by o. Neither is a Rest.
func (s Segment) within(o Segment) bool {
	switch {
	case o.Kind == Variable:
		return s.Kind != Literal || s.Text != ""
	case s.Kind == Literal:
		return o.Kind == Literal && o.Text == s.Text || o.Kind == Classed && o.takes(s.Text)
	case s.Kind == Classed && o.Kind == Classed:
		a, b := s.charset(), o.charset()
		return a[0]&^b[0] == 0 && a[1]&^b[1] == 0 && s.Least >= o.Least && s.longest() <= o.longest()
	}
	return false
}

// meets reports whether some text matches both segments. Neither is a Rest.
func (s Segment) meets(o Segment) bool {
	if s.Kind == Classed && o.Kind == Classed {
		a, b := s.charset(), o.charset()
		return a[0]&b[0]|a[1]&b[1] != 0 && max(s.Least, o.Least) <= min(s.longest(), o.longest())
	}
	return s.within(o) || o.within(s)
}

// Meets reports whether some path matches both patterns.
func (p Pattern) Meets(o Pattern) bool {
	for i := 0; ; i++ {
		switch {
		case i < len(p) && p[i].Kind == Rest, i < len(o) && o[i].Kind == Rest, i == len(p) && i == len(o):
			return true
		case i == len(p), i == len(o), !p[i].meets(o[i]):
			return false
		}
	}
}

// Includes reports whether p matches every path that o matches.
func (p Pattern) Includes(o Pattern) bool {
	for i, s := range p {
		switch {
		case s.Kind == Rest:
			return true
		case i == len(o), o[i].Kind == Rest, !o[i].within(s):
			return false
		}
	}
	return len(p) == len(o)
}

// Ambiguous reports whether some path matches both patterns and neither is more specific: at the first difference both
// have a class, and each class matches something that the other does not.
func (p Pattern) Ambiguous(o Pattern) bool {
	for i := range min(len(p), len(o)) {
		a, b := p[i], o[i]
		if a.alike(b) {
			continue
		}
		return a.Kind == Classed && b.Kind == Classed && !a.within(b) && !b.within(a) && p.Meets(o)
	}
	return false
}

// Arena returns a key that is equal for routes that may exclude each other whatever their methods: those with one
// claim, and ambiguous ones. Routes that are compatible may share it too.
func (r Route) Arena() string {
	p, err := parsePath(r.Path)
	if err != nil {
		return r.Host + r.Path
	}
	return p.Arena(r.Host)
}

// Arena returns [Route.Arena] of a route with this path and a host.
func (p Pattern) Arena(host string) string {
	if i := slices.IndexFunc(p, func(s Segment) bool { return s.Kind == Classed }); i >= 0 {
		return host + p[:i].Shape() + "/[]"
	}
	return host + p.Shape()
}

// Ambiguous reports whether some request matches both routes and neither is more specific.
func (r Route) Ambiguous(o Route) bool {
	if r.Host != o.Host || !r.shareMethod(o) {
		return false
	}
	p, _ := parsePath(r.Path) // they are valid
	q, _ := parsePath(o.Path)
	return p.Ambiguous(q)
}

// Excludes reports whether only one of two routes can exist.
func (r Route) Excludes(o Route) bool { return r.Contends(o) || r.Ambiguous(o) }

func (r Route) shareMethod(o Route) bool {
	return len(r.Methods) == 0 || len(o.Methods) == 0 || slices.ContainsFunc(r.Methods, func(m string) bool { return slices.Contains(o.Methods, m) })
}
