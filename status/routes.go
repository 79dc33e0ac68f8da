package status

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"

	"swallowkeeper/reason"
	routing "swallowkeeper/route"
)

// Route is a route of an upstream, in or out.
type Route struct {
	Route    string `json:"route"` // host and path as registered
	Upstream string `json:"upstream"`
	State    string `json:"state"` // In, Held, Frozen or Out
	// Reason is why it is in this state. It may contain text from a registry.
	Reason reason.Reason `json:"reason"`
	Code   string        `json:"code,omitempty"` // of the reason; "" if its text is not ours
	Addr   string        `json:"addr,omitempty"` // of the instance that registers it, if it is out because of that instance
	Origin string        `json:"origin,omitempty"`
	// Text is the complete route on one line, as in the conf file; "" if it is out. The following fields are its parts.
	Text      string   `json:"text,omitempty"`
	Name      string   `json:"name,omitempty"`
	Host      string   `json:"host,omitempty"`
	Methods   []string `json:"methods,omitempty"`
	Path      string   `json:"path,omitempty"`
	Strip     string   `json:"strip,omitempty"`
	Rewrite   string   `json:"rewrite,omitempty"`
	Timeout   string   `json:"timeout,omitempty"`
	Auth      string   `json:"auth,omitempty"`
	WebSocket *bool    `json:"websocket,omitempty"` // set unless it is out
	// Refused are the gateways that do not support it.
	Refused []RefusedRoute `json:"refused,omitempty"`
}

// RefusedRoute is why a gateway does not support a route.
type RefusedRoute struct {
	Gateway string        `json:"gateway"`
	Reason  reason.Reason `json:"reason"`
	Code    string        `json:"code,omitempty"`
}

// NewRoute returns a route that an upstream has.
func NewRoute(r routing.Route, upstream string) Route {
	webSocket := !r.NoWebSocket
	shown := Route{
		Route: r.Where(), Upstream: upstream, State: In, Origin: r.Origin, Name: r.Name, Host: r.Host, Methods: r.Methods,
		Path: r.Path, Strip: r.Strip, Rewrite: r.Rewrite, Auth: r.Auth, WebSocket: &webSocket,
	}
	if r.Timeout != 0 {
		shown.Timeout = r.Timeout.String()
	}
	r.Origin = ""
	shown.Text = r.Text()
	return shown
}

// AllRoutes returns the routes of all upstreams in order of matching, followed by those that are out.
func AllRoutes(upstreams iter.Seq[Upstream]) []Route {
	type parsed struct {
		Route
		is routing.Route
		in bool
	}
	var all []parsed
	for u := range upstreams {
		for _, r := range u.Routes {
			is, err := routing.ParseText(r.Text, r.Upstream)
			all = append(all, parsed{r, is, err == nil})
		}
	}
	slices.SortStableFunc(all, func(a, b parsed) int {
		switch {
		case a.in && b.in:
			return cmp.Or(routing.Compare(a.is, b.is), cmp.Compare(a.Upstream, b.Upstream))
		case a.in != b.in && a.in:
			return -1
		case a.in != b.in:
			return 1
		}
		return cmp.Or(cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Route.Route, b.Route.Route))
	})
	routes := make([]Route, len(all))
	for i, r := range all {
		routes[i] = r.Route
	}
	return routes
}

// RouteMatch is what happens to a request.
type RouteMatch struct {
	Method string `json:"method"`
	Host   string `json:"host"`
	Path   string `json:"path"`            // as compared: decoded and normalized
	Takes  *Route `json:"takes,omitempty"` // nil: no route matches
	To     string `json:"to,omitempty"`    // the path requested from the upstream
	// Others are the routes that do not take the request, in order of matching.
	Others []OtherRoute `json:"others"`
}

// OtherRoute is a route that does not take a request, and why.
type OtherRoute struct {
	Route    string        `json:"route"`
	Upstream string        `json:"upstream"`
	Reason   reason.Reason `json:"reason"`
	Code     string        `json:"code,omitempty"`
}

// errNoRequest is the error for a target that is not a request.
var errNoRequest = errors.New("allowed is a method and a URL or path, such as GET http://shop.example/orders/42")

// MatchRoute finds the route for a request to a URL, HOST/PATH or /PATH.
func MatchRoute(all []Route, method, target string) (RouteMatch, error) {
	if _, rest, is := strings.Cut(target, "://"); is {
		target = rest
	}
	slash := strings.IndexAny(target, "/?#")
	if slash < 0 {
		slash = len(target)
	}
	host, path := target[:slash], target[slash:]
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	method = strings.ToUpper(method)
	if method == "" || target == "" || strings.ContainsFunc(method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return RouteMatch{}, As(ErrInvalid, errNoRequest)
	}
	normal, ok := routing.Normal(path)
	if !ok {
		return RouteMatch{}, As(ErrInvalid, errors.New("no gateway takes that path: it can't be decoded, or leads above the root"))
	}
	m := RouteMatch{Method: method, Host: routing.HostOf(host), Path: normal, Others: []OtherRoute{}}
	var list []routing.Belonging
	for _, r := range all {
		if is, err := routing.ParseText(r.Text, r.Upstream); err == nil {
			list = append(list, routing.Belonging{Route: is, Upstream: r.Upstream})
		}
	}
	for _, v := range routing.Match(list, method, host, normal) {
		if !v.Takes {
			m.Others = append(m.Others, OtherRoute{Route: v.Route.Where(), Upstream: v.Upstream, Reason: v.Why, Code: v.Why.Code()})
			continue
		}
		m.To = v.To
		i := slices.IndexFunc(all, func(r Route) bool { return r.Upstream == v.Upstream && r.Text == v.Route.Text() })
		m.Takes = &all[i]
	}
	for _, r := range all {
		if r.State == Out {
			m.Others = append(m.Others, OtherRoute{Route: r.Route, Upstream: r.Upstream, Reason: r.Reason, Code: r.Code})
		}
	}
	return m, nil
}
