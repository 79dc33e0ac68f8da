// Package upstream holds the words that the whole program speaks: a server, an
// upstream, a set of them, and the changes that lead from one set to another.
//
// Everything here is a value: nothing reads a clock, a network or a disk, and a
// [Set] never changes once it is built. The package knows what is valid in an
// nginx upstream, so that nothing from a registry reaches nginx unchecked, but
// not how nginx spells it: that is internal/nginxconf.
package upstream

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Server is one address of an upstream with its nginx options.
type Server struct {
	// Addr is the address that nginx connects to, never a host name: a name that
	// does not resolve would stop nginx from loading its whole configuration. The
	// zero value stands for an address that only nginx understands (a unix socket
	// of a hand-written upstream) and equals nothing that a registry can give.
	Addr netip.AddrPort
	// Weight is the share of the traffic, 1 to [MaxWeight].
	Weight int
	// MaxConns limits the connections of one worker; 0 is no limit.
	MaxConns int
	// MaxFails is how many failures within FailTimeout take the server out for
	// FailTimeout; 0 never does.
	MaxFails int
	// FailTimeout is in whole seconds: nginx knows no finer unit here.
	FailTimeout time.Duration
	// Backup servers get traffic only when all others are out.
	Backup bool
	// Down servers get none.
	Down bool
	// Origin names the registries that the server comes from, separated by commas.
	// It is written to the conf file as a note, and is no part of what nginx runs.
	Origin string
	// Host is the host name and port that the server is registered by, where Addr is one of the addresses that the
	// name has; else it is empty. It is written as a note, too. A server that is gone while others with its Host are
	// there has moved: see [Upstream.Moved].
	Host string
}

// Same reports whether nginx would treat both servers alike; Origin and Host do not count.
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

// Options are what stands in an upstream block beside its servers.
type Options struct {
	// Method is the balancing directive without its semicolon: "" for weighted
	// round robin, or one that [ValidMethod] takes.
	Method string
	// Keepalive is how many idle connections each worker keeps; with 0 nothing is written
	// and nginx does as it does by default.
	Keepalive int
}

// Upstream is a name and its servers.
type Upstream struct {
	// Name as nginx and the gateways know it. Two names that differ only in case can't
	// both be there.
	Name string
	// Canary is the suffix of Name that came from an instance's canary tag, so that
	// service a with canary b is told apart from a service called a_b.
	Canary string
	// Options of the block.
	Options Options
	// Servers is sorted by address, each address once. From a registry, none means
	// that the service is registered and none of its instances is usable; from a
	// gateway, that its workers disagree about them.
	Servers []Server
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

// Moved reports whether the server, which u had before and has no more, is registered by a host name that has other
// addresses now. Its instance is there still, so the server is not gone.
func (u Upstream) Moved(s Server) bool {
	return s.Host != "" && slices.ContainsFunc(u.Servers, func(o Server) bool { return o.Host == s.Host && !o.Down })
}

// Same reports whether nginx would treat both upstreams alike. An upstream whose
// servers are not known is like no other. Names must agree to the letter: the dyups
// API takes Web and web for one upstream, but a request for the one does not find the other.
func (u Upstream) Same(o Upstream) bool {
	return len(u.Servers) > 0 && u.Options == o.Options && u.Name == o.Name &&
		(shared(u.Servers, o.Servers) || slices.EqualFunc(u.Servers, o.Servers, Server.Same))
}

// SameOptions reports whether all that both have is the same but for servers that only one
// of them has.
func (u Upstream) SameOptions(o Upstream) bool {
	return u.Options == o.Options && !slices.ContainsFunc(u.Servers, func(s Server) bool {
		i, both := slices.BinarySearchFunc(o.Servers, s, func(a, b Server) int { return a.Addr.Compare(b.Addr) })
		return both && !s.Same(o.Servers[i])
	})
}

// Identical is Same, and the notes on where all of it comes from agree too.
func (u Upstream) Identical(o Upstream) bool {
	return u.Name == o.Name && u.Canary == o.Canary && u.Options == o.Options &&
		(shared(u.Servers, o.Servers) || slices.Equal(u.Servers, o.Servers))
}

// canonical sorts the servers and keeps each address once. The given slice is not changed.
func (u Upstream) canonical() Upstream {
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

// loadable lets backups serve like any other server where nginx takes none: where there is
// nothing but backups, or the balancing method allows none. The given slice is not changed.
func (u Upstream) loadable() Upstream {
	backups := 0
	for i := range u.Servers {
		if u.Servers[i].Backup {
			backups++
		}
	}
	if backups > 0 && (backups == len(u.Servers) || !TakesBackup(u.Options.Method)) {
		u.Servers = slices.Clone(u.Servers)
		for i := range u.Servers {
			u.Servers[i].Backup = false
		}
	}
	return u
}

// preferred orders servers by address; of two with one address the one that
// carries more comes first, whatever order they were registered in.
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

// union joins the servers of two halves of one upstream. An address that both
// have is one server that both are the origin of.
func union(a, b Upstream) Upstream {
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
