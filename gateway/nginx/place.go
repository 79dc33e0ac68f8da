package nginx

import (
	"iter"
	"slices"
	"strings"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// How nginx finds a location: an exact one goes before all; of those that begin the path the longest counts, and with ^~ no
// expression is looked at any more; else the first expression does. Routes are tried from the more special to the less,
// segment by segment. So that both lead to the same one
//
//	/orders                  location = /orders
//	/orders/*                location ^~ /orders/, and a redirect of /orders
//	/orders/{id}/items       location ~ an expression; within each ^~ location that would take it and is less special, and
//	                         outside where no ^~ location takes all of it
//
// Routes that differ in their methods alone share a location, which sends a request on to the one that takes its method.

// place is a location: the routes of one path, specific methods first.
type place struct {
	pattern route.Pattern
	claim   string
	at      int // its position in the scope
	routes  []route.Belonging
}

// literal reports whether the pattern is a fixed path; open reports whether it matches everything below a fixed path.
func (p place) literal() bool {
	return !slices.ContainsFunc(p.pattern, func(s route.Segment) bool { return s.Kind != route.Literal })
}

func (p place) open() bool {
	last := len(p.pattern) - 1
	return p.pattern[last].Kind == route.Rest && place{pattern: p.pattern[:last]}.literal()
}

// expression reports whether nginx needs a regular expression for the path.
func (p place) expression() bool { return !p.literal() && !p.open() }

// slashed reports whether the path is literal and ends with a slash.
func (p place) slashed() bool {
	return p.literal() && p.pattern[len(p.pattern)-1].Text == "" && len(p.pattern) > 1
}

func (p place) first() route.Route { return p.routes[0].Route }

func (p place) owner() string { return p.routes[0].Upstream }

// scope is the routes of one host, or of any host.
type scope struct {
	host   string
	places []place // most specific first

	exact  map[string]bool  // the paths of the literal places
	heads  map[string][]int // the places that begin with a literal segment, by its text
	loose  []int            // the places that begin with a variable
	shared map[string]bool  // the claims of the places that must be in one file
}

// scopes returns the scopes of a set, that of any host first. If nginx can only have one of two routes, the later one
// is an error.
func scopes(set upstream.Set) ([]scope, error) {
	var all []scope
	for _, b := range set.Routes() { // sorted by host
		pattern, err := route.ParsePath(b.Route.Path)
		if err != nil {
			return nil, &refusal{name: b.Upstream, err: err}
		}
		if n := len(all); n == 0 || all[n-1].host != b.Route.Host {
			all = append(all, scope{host: b.Route.Host})
		}
		s := &all[len(all)-1]
		claim := b.Route.Claim()
		if n := len(s.places); n > 0 && s.places[n-1].claim == claim {
			last := &s.places[n-1]
			if slices.ContainsFunc(last.routes, func(o route.Belonging) bool { return o.Route.Clash(b.Route) }) {
				return nil, &refusal{name: b.Upstream, err: twoRoutes.Err(b.Upstream, b.Route.Where(), last.owner())}
			}
			last.routes = append(last.routes, b)
			continue
		}
		s.places = append(s.places, place{pattern: pattern, claim: claim, at: len(s.places), routes: []route.Belonging{b}})
	}
	for i := range all {
		all[i].index()
	}
	slices.SortFunc(all, func(a, b scope) int { return strings.Compare(a.host, b.host) })
	return all, nil
}

// index makes the places of a scope quick to find: there may be thousands.
func (s *scope) index() {
	s.exact, s.heads = map[string]bool{}, map[string][]int{}
	for i, p := range s.places {
		if p.literal() {
			s.exact[p.first().Path] = true
		}
		if first := p.pattern[0]; first.Kind == route.Literal {
			s.heads[first.Text] = append(s.heads[first.Text], i)
		} else {
			s.loose = append(s.loose, i)
		}
	}
	s.shared = s.together()
}

// near returns the places that may match a path that the pattern matches, most specific first: those that begin with the
// same segment, or with a variable.
func (s *scope) near(pattern route.Pattern) iter.Seq[place] {
	return func(yield func(place) bool) {
		if len(pattern) == 0 || pattern[0].Kind != route.Literal {
			for _, p := range s.places {
				if !yield(p) {
					return
				}
			}
			return
		}
		for _, list := range [][]int{s.heads[pattern[0].Text], s.loose} {
			for _, i := range list {
				if !yield(s.places[i]) {
					return
				}
			}
		}
	}
}

// within returns the expressions that must be nested in an open location, as it would take their requests.
func (s *scope) within(open place) []place {
	var inner []place
	for p := range s.near(open.pattern) {
		if p.at < open.at && p.expression() && p.pattern.Meets(open.pattern) {
			inner = append(inner, p)
		}
	}
	return inner
}

// choices returns the routes that the requests of a place may go to: its own, and unless they accept every method,
// those of less specific places that match all of its requests.
func (s *scope) choices(p place) []route.Belonging {
	if last := p.routes[len(p.routes)-1]; len(last.Route.Methods) == 0 {
		return p.routes
	}
	return slices.Concat(p.routes, s.after(p, p.pattern))
}

// after returns the routes of later places that match all requests of a path, up to the first for any method.
func (s *scope) after(p place, path route.Pattern) []route.Belonging {
	var all []route.Belonging
	for o := range s.near(path) {
		if o.at <= p.at || !o.pattern.Includes(path) {
			continue
		}
		if all = append(all, o.routes...); len(all[len(all)-1].Route.Methods) == 0 {
			break
		}
	}
	return all
}

// together returns the claims of the expressions that must be in one file: expressions of several upstreams that may
// match the same request, and others that may match it too.
func (s *scope) together() map[string]bool {
	all := map[string]bool{}
	for more := true; more; {
		more = false
		for _, p := range s.places {
			if all[p.claim] || !p.expression() {
				continue
			}
			for o := range s.near(p.pattern) {
				if o.expression() && (o.owner() != p.owner() || all[o.claim]) && o.pattern.Meets(p.pattern) {
					all[p.claim], more = true, true
					break
				}
			}
		}
	}
	return all
}

// covered reports whether an open location matches all requests of an expression.
func (s *scope) covered(p place) bool {
	for o := range s.near(p.pattern) {
		if o.open() && o.pattern.Includes(p.pattern) {
			return true
		}
	}
	return false
}
