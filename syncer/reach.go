package syncer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"swallowkeeper/upstream"
)

// Reach says which addresses a registration may lead the traffic to. Whoever may register a service
// would otherwise open what listens for this machine alone to everybody whom nginx serves.
//
//	refused always               an address of our own: a gateway's interface, a registry, the status page
//	                             0.0.0.0/8, ::             no address of a machine
//	                             224.0.0.0/4, ff00::/8, 255.255.255.255   of many machines
//	refused unless allowed       169.254.0.0/16, fe80::/10  link-local; a range of Allow within them must name it
//	refused by the operator      what is in Deny, and what is in no range of Allow where that has any
//
// An IPv6 address that stands for an IPv4 one (mapped, compatible, NAT64, 6to4) is refused with it.
// The zero value refuses what is refused always.
type Reach struct {
	Allow, Deny []netip.Prefix
	Own         []Own
	// Local are the addresses of this machine beside those of the loopback.
	Local []netip.Addr
}

// Own is an address that belongs to swallowkeeper itself.
type Own struct {
	Of string // in words, as in "the status page"
	// Addr is where it is asked or listens. Something on one address of this machine may listen on
	// all of them, so its port counts for every local address.
	Addr netip.AddrPort
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	linkLocal   = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	broadcast   = netip.AddrFrom4([4]byte{255, 255, 255, 255})

	// In these the last four bytes are an IPv4 address.
	carriers = []netip.Prefix{
		netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("::/96"),
	}
	sixToFour = netip.MustParsePrefix("2002::/16") // the address follows
)

// Refuses says why an address may not be reached, or "".
func (r Reach) Refuses(addr netip.AddrPort) string {
	ip := addr.Addr().Unmap().WithZone("")
	inner, carries := embedded(ip)
	if carries {
		if why := r.refuses(netip.AddrPortFrom(inner, addr.Port())); why != "" {
			return fmt.Sprintf("%s stands for %s: %s", ip, inner, why)
		}
	}
	if why := r.refuses(netip.AddrPortFrom(ip, addr.Port())); why != "" {
		return why
	}
	if len(r.Allow) > 0 && !within(r.Allow, ip) {
		return fmt.Sprintf("%s is in no range of allow_addresses", ip)
	}
	return ""
}

func (r Reach) refuses(addr netip.AddrPort) string {
	ip := addr.Addr()
	switch {
	case ip.IsUnspecified() || thisNetwork.Contains(ip):
		return fmt.Sprintf("%s is no address of a machine", ip)
	case ip.IsMulticast() || ip == broadcast:
		return fmt.Sprintf("%s is an address of many machines", ip)
	}
	for _, own := range r.Own {
		if own.Addr.Port() == addr.Port() && (own.Addr.Addr() == ip || r.local(own.Addr.Addr()) && r.local(ip)) {
			return fmt.Sprintf("%s is the address of %s", addr, own.Of)
		}
	}
	if i := slices.IndexFunc(r.Deny, func(p netip.Prefix) bool { return p.Contains(ip) }); i >= 0 {
		return fmt.Sprintf("%s is in %s of deny_addresses", ip, r.Deny[i])
	}
	if within(linkLocal, ip) && !slices.ContainsFunc(r.Allow, func(p netip.Prefix) bool {
		return p.Contains(ip) && within(linkLocal, p.Addr()) && p.Bits() >= 10
	}) {
		return fmt.Sprintf("%s is link-local, and no range of allow_addresses names it", ip)
	}
	return ""
}

// Forbids says why nothing may connect to an address from this machine only because a registry listed it, or "":
// what Refuses, and what listens for this machine alone unless a range of Allow within 127.0.0.0/8 or ::1 names it.
func (r Reach) Forbids(addr netip.AddrPort) string {
	if why := r.Refuses(addr); why != "" {
		return why
	}
	ip := addr.Addr().Unmap().WithZone("")
	if inner, carries := embedded(ip); carries {
		ip = inner
	}
	if ip.IsLoopback() && !slices.ContainsFunc(r.Allow, func(p netip.Prefix) bool {
		return p.Contains(ip) && p.Addr().IsLoopback() && p.Bits() >= 8
	}) {
		return fmt.Sprintf("%s is this machine itself, and no range of allow_addresses names it", ip)
	}
	return ""
}

// Here reports whether an address is this machine's.
func (r Reach) Here(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if inner, carries := embedded(ip); carries {
		ip = inner
	}
	return r.local(ip)
}

func (r Reach) local(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsUnspecified() || slices.Contains(r.Local, ip)
}

func within(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// embedded is the IPv4 address that an IPv6 one stands for, if it does. The loopback ::1 and :: do not.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() || ip.IsLoopback() || ip.IsUnspecified() {
		return ip, false
	}
	b := ip.As16()
	switch {
	case within(carriers, ip):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return ip, false
}

// seen leaves out the servers that may not be reached, each with its reason.
func (r Reach) seen(s upstream.Set) upstream.Set {
	var out []upstream.Out
	kept := s.Select(func(u upstream.Upstream, srv upstream.Server) bool {
		why := r.Refuses(srv.Addr)
		if why != "" {
			out = append(out, upstream.Out{
				Service: strings.TrimSuffix(u.Name, "_"+u.Canary), Upstream: u.Name, Addr: srv.Addr.String(), Reason: why,
			})
		}
		return why == ""
	})
	if out == nil {
		return s
	}
	return upstream.NewSet(slices.Collect(kept.All()), append(s.Out(), out...)...)
}

// written is what was written without the servers that may not be reached any more: the configuration
// has changed, or the machine's addresses. No hold, no freeze and no on_unhealthy = "keep" brings them
// back, so they count for none of the guard's limits. An upstream that has none left is no more there.
func (r Reach) written(g upstream.Generation) upstream.Generation {
	kept := g.Set.Select(func(_ upstream.Upstream, srv upstream.Server) bool { return r.Refuses(srv.Addr) == "" })
	var empty []string
	for u := range kept.All() {
		if len(u.Servers) == 0 {
			empty = append(empty, u.Name)
		}
	}
	g.Set = kept.Without(empty)
	return g
}
