package gateway

import (
	"slices"

	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// Routes describes which parts of routes a gateway supports. A route with an unsupported part is out as a whole: half a
// route might let through what the other half should keep out.
type Routes struct {
	// Served reports whether it supports routes at all: a host and a path, exact or with a trailing *.
	Served bool
	// Hosts are the only hosts that it serves routes for, besides routes for any host; nil means all.
	Hosts []string
	// Variables, Rewrite and Strip report support for path variables, path rewriting and prefix stripping.
	Variables, Rewrite, Strip bool
	// Methods reports whether routes can select by request method.
	Methods bool
	// Timeout reports whether routes can have a timeout.
	Timeout bool
	// Auth reports whether routes can require authorization.
	Auth bool
	// OwnAuth is such a question to a path that the operator serves himself, and not to an upstream.
	OwnAuth bool
	// NoWebSocket reports whether routes can refuse WebSocket connections.
	NoWebSocket bool
}

// AllRoutes returns full support of routes.
func AllRoutes() Routes {
	return Routes{Served: true, Variables: true, Rewrite: true, Strip: true, Methods: true, Timeout: true, Auth: true, OwnAuth: true, NoWebSocket: true}
}

// refuses returns why a route is not supported, or zero.
func (a Routes) refuses(r route.Route) reason.Reason {
	switch {
	case !a.Served:
		return noRoutes.With()
	case r.Host != "" && a.Hosts != nil && !slices.Contains(a.Hosts, r.Host):
		return noRouteHost.With(r.Host)
	case len(r.Methods) > 0 && !a.Methods:
		return noRouteMethods.With()
	case r.Strip != "" && !a.Strip:
		return noRouteStrip.With()
	case r.Rewrite != "" && !a.Rewrite:
		return noRouteRewrite.With()
	case r.Timeout != 0 && !a.Timeout:
		return noRouteTimeout.With()
	case r.Auth != "" && !a.Auth:
		return noRouteAuth.With()
	case r.Auth != "" && r.AuthUpstream() == "" && !a.OwnAuth:
		return noRouteOwnAuth.With(r.Auth)
	case r.NoWebSocket && !a.NoWebSocket:
		return noRouteWebSocket.With()
	case !a.Variables && hasVariables(r):
		return noRouteVariables.With()
	}
	return reason.Reason{}
}

func hasVariables(r route.Route) bool {
	p, _ := route.ParsePath(r.Path) // validated
	return slices.ContainsFunc(p, func(s route.Segment) bool { return s.Kind == route.Variable || s.Kind == route.Classed })
}

// admit returns the upstream with the supported routes, and the others with their reasons.
func (a Routes) admit(u upstream.Upstream) (upstream.Upstream, []upstream.Out) {
	var kept []route.Route
	var out []upstream.Out
	for _, r := range u.Routes {
		why := a.refuses(r)
		if why.IsZero() {
			kept = append(kept, r)
			continue
		}
		out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Route: r.Where(), Reason: why})
	}
	if out != nil {
		u.Routes = kept
	}
	return u, out
}
