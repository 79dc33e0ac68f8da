// Package upstream defines the core types of the program: a server, an upstream, a set of upstreams, and the changes
// between two sets.
//
// Everything here is a value: nothing reads a clock, a network or a disk, and a [Set] never changes once it is built.
// The package knows what is valid in an nginx upstream, so that nothing unchecked reaches nginx from a registry. How
// nginx spells it is the job of internal/nginxconf.
package upstream

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swallowkeeper/route"
)

// Server is one address of an upstream with its nginx options.
type Server struct {
	// Addr is the address that nginx connects to, never a host name: a name that does not resolve would stop nginx
	// from loading its whole configuration. The zero value stands for an address that only nginx understands (a unix
	// socket in a hand-written upstream) and differs from everything a registry can publish.
	Addr netip.AddrPort
	// Weight is the share of the traffic, 1 to [MaxWeight].
	Weight int
	// MaxConns limits the connections of each worker; 0 means no limit.
	MaxConns int
	// MaxFails is the number of failures within FailTimeout that take the server out for FailTimeout; 0 disables
	// this.
	MaxFails int
	// FailTimeout is in whole seconds, nginx's finest unit here.
	FailTimeout time.Duration
	// Backup servers get traffic only if all others are out.
	Backup bool
	// Down servers get no traffic.
	Down bool
	// Origin names the registries that the server comes from, separated by commas. The conf file has it as a comment;
	// it has no effect on nginx.
	Origin string
	// Host is the host:port by which the server is registered, if Addr is a resolved address of that name; otherwise
	// it is empty. The conf file has it as a comment, too. If a server is gone and another one has its Host, it has
	// moved: see [Upstream.Moved].
	Host string
}

// Same reports whether nginx would treat both servers alike. Origin and Host are ignored.
func (s Server) Same(o Server) bool {
	s.Origin, o.Origin = "", ""
	s.Host, o.Host = "", ""
	return s == o
}

// From reports whether the server comes from the named registry.
func (s Server) From(origin string) bool {
	for o := range strings.SplitSeq(s.Origin, ",") {
		if o == origin {
			return true
		}
	}
	return false
}

// Options are the directives of an upstream block other than its servers.
type Options struct {
	// Method is the balancing directive without its semicolon: "" for weighted round robin, or one that [ValidMethod]
	// accepts.
	Method string
	// Keepalive is the number of idle connections that each worker keeps. With 0 the directive is omitted and nginx
	// uses its default.
	Keepalive int
}

// Upstream is a named group of servers.
type Upstream struct {
	// Name as nginx and the gateways know it. Two names that differ only in case can't coexist.
	Name string
	// Canary is the suffix of Name that came from an instance's canary tag. It tells service a with canary b from a
	// service called a_b.
	Canary string
	// Options of the block.
	Options Options
	// Servers is sorted by address, each address once. An empty list from a registry means that the service is
	// registered but no instance is usable; from a gateway, that its workers disagree.
	Servers []Server
	// Routes are the requests that go to the upstream, in the order of [route.Compare]. A registry sets what the
	// instances register: see [route.Elect]. Gateways without routes use the upstream by its name alone.
	Routes []route.Route
}

// Usable reports whether at least one server can get traffic.
func (u Upstream) Usable() bool {
	for i := range u.Servers {
		if !u.Servers[i].Down {
			return true
		}
	}
	return false
}

// From returns the part of the upstream that comes from the given registry, or the zero Upstream if there is none.
func (u Upstream) From(registry string) Upstream {
	u.Routes = u.routes(func(r route.Route) bool { return r.From(registry) })
	for i := range u.Routes {
		u.Routes[i].Origin = registry
	}
	return u.part(func(srv Server) (Server, bool) {
		from := srv.From(registry)
		srv.Origin = registry
		return srv, from
	})
}

// FromNoneOf returns the part of the upstream that comes from none of the given registries, or the zero Upstream.
func (u Upstream) FromNoneOf(registries []string) Upstream {
	u.Routes = u.routes(func(r route.Route) bool { return r.Origin != "" && !slices.ContainsFunc(registries, r.From) })
	return u.part(func(srv Server) (Server, bool) {
		return srv, !slices.ContainsFunc(registries, srv.From)
	})
}

// routes returns a copy of the routes for which keep returns true.
func (u Upstream) routes(keep func(route.Route) bool) []route.Route {
	var kept []route.Route
	for _, r := range u.Routes {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

func (u Upstream) part(keep func(Server) (Server, bool)) Upstream {
	var servers []Server
	for _, srv := range u.Servers {
		if kept, ok := keep(srv); ok {
			servers = append(servers, kept)
		}
	}
	if u.Servers = servers; servers == nil {
		return Upstream{}
	}
	return u
}

// Moved reports whether s, a server that u has lost, is registered by a host name that now has other addresses. Its
// instance still exists then, so the server is not gone.
func (u Upstream) Moved(s Server) bool {
	return s.Host != "" && slices.ContainsFunc(u.Servers, func(o Server) bool { return o.Host == s.Host && !o.Down })
}

// Same reports whether nginx would treat both upstreams alike. An upstream without servers is never the same as
// another: its servers are unknown. Names must agree in case, too: the dyups API takes Web and web for one upstream,
// but a request for one does not find the other.
func (u Upstream) Same(o Upstream) bool {
	return len(u.Servers) > 0 && u.Options == o.Options && u.Name == o.Name &&
		(shared(u.Servers, o.Servers) || slices.EqualFunc(u.Servers, o.Servers, Server.Same)) && u.SameRoutes(o)
}

// SameRoutes reports whether both get the same requests in the same way.
func (u Upstream) SameRoutes(o Upstream) bool {
	return sharedRoutes(u.Routes, o.Routes) || slices.EqualFunc(u.Routes, o.Routes, route.Route.Same)
}

// SameOptions reports whether both have the same options, and the same parameters for each server that is in both.
// Routes are ignored.
func (u Upstream) SameOptions(o Upstream) bool {
	return u.Options == o.Options && !slices.ContainsFunc(u.Servers, func(s Server) bool {
		i, both := slices.BinarySearchFunc(o.Servers, s, func(a, b Server) int { return a.Addr.Compare(b.Addr) })
		return both && !s.Same(o.Servers[i])
	})
}

// Identical is Same with origins compared as well.
func (u Upstream) Identical(o Upstream) bool {
	return u.Name == o.Name && u.Canary == o.Canary && u.Options == o.Options &&
		(shared(u.Servers, o.Servers) || slices.Equal(u.Servers, o.Servers)) &&
		(sharedRoutes(u.Routes, o.Routes) || slices.EqualFunc(u.Routes, o.Routes, route.Route.Identical))
}

// canonical sorts servers and routes and removes duplicates. It does not change the given slices.
func (u Upstream) canonical() Upstream {
	if len(u.Routes) > 0 {
		u.Routes = route.Canonical(u.Routes)
	}
	sorted := true
	for i := 1; i < len(u.Servers) && sorted; i++ {
		sorted = u.Servers[i-1].Addr.Compare(u.Servers[i].Addr) < 0
	}
	if !sorted {
		u.Servers = slices.Clone(u.Servers)
		slices.SortFunc(u.Servers, preferred)
		u.Servers = slices.CompactFunc(u.Servers, func(a, b Server) bool { return a.Addr == b.Addr })
	}
	return u
}

// preferred orders servers by address. If two have the same address, the one that carries more traffic comes first,
// regardless of the order of registration.
func preferred(a, b Server) int {
	return cmp.Or(
		a.Addr.Compare(b.Addr),
		compareBool(a.Down, b.Down),
		compareBool(a.Backup, b.Backup),
		cmp.Compare(b.Weight, a.Weight),
		cmp.Compare(b.MaxConns, a.MaxConns),
		cmp.Compare(b.MaxFails, a.MaxFails),
		cmp.Compare(b.FailTimeout, a.FailTimeout),
		cmp.Compare(a.Host, b.Host),
		cmp.Compare(a.Origin, b.Origin),
	)
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

// union combines the servers and routes of two parts of one upstream. An address in both becomes one server with both
// origins.
func union(a, b Upstream) Upstream {
	a.Routes = route.Union(a.Routes, b.Routes, len(a.Servers), len(b.Servers))
	servers := slices.Concat(a.Servers, b.Servers)
	slices.SortFunc(servers, preferred)
	kept := servers[:0]
	for _, s := range servers {
		if n := len(kept); n > 0 && kept[n-1].Addr == s.Addr {
			kept[n-1].Origin = joinOrigins(kept[n-1].Origin, s.Origin)
			continue
		}
		kept = append(kept, s)
	}
	a.Servers = kept
	return a
}

func joinOrigins(a, b string) string {
	if a == b || b == "" {
		return a
	}
	if a == "" {
		return b
	}
	all := append(strings.Split(a, ","), strings.Split(b, ",")...)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}
