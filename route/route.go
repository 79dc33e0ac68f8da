// Package route holds which requests go to an upstream and what is done with them on the way.
//
// It is the one place that decides what a route may say. A route never holds a regular expression beyond one character
// class a variable, nor a piece of some gateway's configuration, so whoever may register an instance can't write into an
// nginx. Everything here is a value: nothing reads a clock, a network or a disk, and no gateway's syntax is known.
//
// A path is one of
//
//	/orders                   exactly that
//	/orders/{id}              a variable is one segment
//	/orders/{id:[0-9]+}       of one character class, with a quantifier: + or {n} or {n,m}
//	/orders/{rest...}         /orders and all below it
//	/orders/*                 short for that
package route

import (
	"slices"
	"strings"
	"time"
)

// Route tells which requests go to its upstream.
type Route struct {
	// Name is the operator's name for it, or "".
	Name string
	// Host is the request's host in lower case, "" for any.
	Host string
	// Methods are sorted and in upper case; none means any. GET includes HEAD.
	Methods []string
	// Path is the pattern of the path.
	Path string
	// Strip is removed from the path: whole segments that Path begins with. "" removes nothing.
	Strip string
	// Rewrite is the path sent to the upstream. It may contain variables of Path. "" keeps the path.
	Rewrite string
	// Timeout is how long an answer may take; 0 for the gateway's default.
	Timeout time.Duration
	// Auth is queried before each request: a path served by the operator's own configuration (/auth), or an upstream
	// and a path (auth/verify). "" means no authorization.
	Auth string
	// NoWebSocket disables upgrades to WebSocket.
	NoWebSocket bool
	// Origin names the registries of the route, separated by commas. It is "" for a route of the configuration.
	// Gateways do not see it.
	Origin string
	// Side is not 0 only in a tie of instances with different routes: then the routes of each side have its number.
	Side int
}

// Same reports whether a gateway would treat both alike.
func (r Route) Same(o Route) bool {
	return r.Name == o.Name && r.Host == o.Host && r.Path == o.Path && r.Strip == o.Strip && r.Rewrite == o.Rewrite &&
		r.Timeout == o.Timeout && r.Auth == o.Auth && r.NoWebSocket == o.NoWebSocket && r.Side == o.Side &&
		slices.Equal(r.Methods, o.Methods)
}

// Identical reports whether both are the Same and have the same origin.
func (r Route) Identical(o Route) bool { return r.Origin == o.Origin && r.Same(o) }

// From reports whether the route comes from the named registry.
func (r Route) From(registry string) bool {
	for o := range strings.SplitSeq(r.Origin, ",") {
		if o == registry && o != "" {
			return true
		}
	}
	return false
}

// Where returns host and path, by which people know a route.
func (r Route) Where() string { return r.Host + r.Path }

// AuthUpstream returns the upstream queried before each request, or "".
func (r Route) AuthUpstream() string {
	if r.Auth == "" || r.Auth[0] == '/' {
		return ""
	}
	name, _, _ := strings.Cut(r.Auth, "/")
	return name
}

// Canonical sorts routes and removes duplicates. Duplicates of different origins are merged into one with both origins.
// It does not change its argument.
func Canonical(routes []Route) []Route {
	sorted := true
	for i := 1; i < len(routes) && sorted; i++ {
		sorted = Compare(routes[i-1], routes[i]) < 0 && !routes[i-1].Same(routes[i])
	}
	if sorted {
		return routes
	}
	routes = slices.Clone(routes)
	slices.SortFunc(routes, Compare)
	kept := routes[:1]
	for _, r := range routes[1:] {
		if last := &kept[len(kept)-1]; last.Same(r) {
			last.Origin = joinOrigins(last.Origin, r.Origin)
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

func joinOrigins(a, b string) string {
	switch {
	case a == b:
		return a
	case a == "" || b == "": // the configuration's origin wins
		return ""
	}
	all := append(strings.Split(a, ","), strings.Split(b, ",")...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}
