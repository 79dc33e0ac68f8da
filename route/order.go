package route

import (
	"cmp"
	"slices"
	"strings"
)

// Compare orders routes as they are tried: a host before any host, hosts by name, more specific paths first, some
// methods before any. Routes that are equal in all that are ordered by their other fields.
func Compare(a, b Route) int {
	if c := compareHosts(a.Host, b.Host); c != 0 {
		return c
	}
	if c := comparePaths(a.Path, b.Path); c != 0 {
		return c
	}
	return compareRest(a, b)
}

// compareRest compares routes of one host and of paths that are equally specific.
func compareRest(a, b Route) int {
	return cmp.Or(
		compareMethods(a.Methods, b.Methods),
		cmp.Compare(a.Path, b.Path),
		cmp.Compare(a.Side, b.Side),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Strip, b.Strip),
		cmp.Compare(a.Rewrite, b.Rewrite),
		cmp.Compare(a.Timeout, b.Timeout),
		cmp.Compare(a.Auth, b.Auth),
		compareBool(a.NoWebSocket, b.NoWebSocket),
		cmp.Compare(a.Origin, b.Origin),
	)
}

// Sort sorts routes as they are tried, those that are equal as they were. It parses each path once.
func Sort(all []Belonging) {
	type parsed struct {
		Belonging
		pattern Pattern
	}
	list := make([]parsed, len(all))
	for i, b := range all {
		list[i].Belonging = b
		list[i].pattern, _ = parsePath(b.Route.Path) // they are valid
	}
	slices.SortStableFunc(list, func(a, b parsed) int {
		if c := cmp.Or(compareHosts(a.Route.Host, b.Route.Host), a.pattern.compare(b.pattern)); c != 0 {
			return c
		}
		return compareRest(a.Route, b.Route)
	})
	for i := range list {
		all[i] = list[i].Belonging
	}
}

func compareHosts(a, b string) int {
	if (a == "") != (b == "") {
		return cmp.Compare(len(b), len(a)) // any host comes last
	}
	return cmp.Compare(a, b)
}

func comparePaths(a, b string) int {
	if a == b {
		return 0
	}
	p, _ := parsePath(a) // they are valid
	o, _ := parsePath(b)
	return p.compare(o)
}

func compareMethods(a, b []string) int {
	if (len(a) == 0) != (len(b) == 0) {
		return cmp.Compare(len(b), len(a))
	}
	return slices.Compare(a, b)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// Claim returns the key that routes compete for. Two routes with different claims never take the same request, unless
// one is more specific, or they are [Route.Ambiguous]. Two routes with one claim compete if they [Route.Clash].
func (r Route) Claim() string {
	p, err := parsePath(r.Path)
	if err != nil {
		return r.Host + r.Path
	}
	return p.Claim(r.Host)
}

// Claim returns [Route.Claim] of a route with this path and a host.
func (p Pattern) Claim(host string) string { return host + p.Shape() }

// Clash reports whether two routes with one claim share a method, so that only one of them can exist.
func (r Route) Clash(o Route) bool {
	if len(r.Methods) == 0 || len(o.Methods) == 0 {
		return len(r.Methods) == len(o.Methods)
	}
	return slices.ContainsFunc(r.Methods, func(m string) bool { return slices.Contains(o.Methods, m) })
}

// Contends reports whether two routes take the same requests, so that only one of them can exist.
func (r Route) Contends(o Route) bool {
	return r.Host == o.Host && r.Clash(o) && (r.Path == o.Path || r.Claim() == o.Claim())
}

// MethodList returns the methods separated by commas, "" for any.
func (r Route) MethodList() string { return strings.Join(r.Methods, ",") }
