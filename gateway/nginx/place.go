package nginx

import (
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
}

// scopes returns the scopes of a set, that of any host first. If nginx can only have one of two routes, the later one
// is an error.
func scopes(set upstream.Set) ([]scope, error) {
	var all []scope
	for _, b := range set.Routes() {
		pattern, err := route.ParsePath(b.Route.Path)
		if err != nil {
			return nil, &refusal{name: b.Upstream, err: err}
		}
		i := slices.IndexFunc(all, func(s scope) bool { return s.host == b.Route.Host })
		if i < 0 {
			i = len(all)
			all = append(all, scope{host: b.Route.Host})
		}
		s := &all[i]
		if n := len(s.places); n > 0 && s.places[n-1].first().Claim() == b.Route.Claim() {
			last := &s.places[n-1]
			if slices.ContainsFunc(last.routes, func(o route.Belonging) bool { return o.Route.Clash(b.Route) }) {
				return nil, &refusal{name: b.Upstream, err: twoRoutes.Err(b.Upstream, b.Route.Where(), last.owner())}
			}
			last.routes = append(last.routes, b)
			continue
		}
		s.places = append(s.places, place{pattern: pattern, routes: []route.Belonging{b}})
	}
	slices.SortFunc(all, func(a, b scope) int { return strings.Compare(a.host, b.host) })
	return all, nil
}

// within returns the expressions that must be nested in an open location, as it would take their requests.
func (s scope) within(open place) []place {
	var inner []place
	for _, p := range s.places {
		if !p.literal() && !p.open() && p.pattern.Meets(open.pattern) && route.Compare(p.first(), open.first()) < 0 {
			inner = append(inner, p)
		}
	}
	return inner
}

// choices returns the routes that the requests of a place may go to: its own, and unless they accept every method,
// those of less specific places that match all of its requests.
func (s scope) choices(p place) []route.Belonging {
	if last := p.routes[len(p.routes)-1]; len(last.Route.Methods) == 0 {
		return p.routes
	}
	return slices.Concat(p.routes, s.after(p, p.pattern))
}

// after returns the routes of later places that match all requests of a path, up to the first for any method.
func (s scope) after(p place, path route.Pattern) []route.Belonging {
	var all []route.Belonging
	at := slices.IndexFunc(s.places, func(o place) bool { return slices.Equal(o.pattern, p.pattern) })
	for _, o := range s.places[at+1:] {
		if !o.pattern.Includes(path) {
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
func (s scope) together() []string {
	var all []string
	expressions := slices.DeleteFunc(slices.Clone(s.places), func(p place) bool { return p.literal() || p.open() })
	for more := true; more; {
		more = false
		for _, p := range expressions {
			claim := p.first().Claim()
			if !slices.Contains(all, claim) && slices.ContainsFunc(expressions, func(o place) bool {
				return (o.owner() != p.owner() || slices.Contains(all, o.first().Claim())) && o.pattern.Meets(p.pattern)
			}) {
				all, more = append(all, claim), true
			}
		}
	}
	return all
}

// covered reports whether an open location matches all requests of an expression.
func (s scope) covered(p place) bool {
	return slices.ContainsFunc(s.places, func(o place) bool { return o.open() && o.pattern.Includes(p.pattern) })
}
