package syncer

import (
	"net/netip"
	"slices"
	"strings"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Reach restricts the addresses that a registration may direct traffic to. Otherwise, anyone who can register a
// service could expose what listens only for this machine to all clients of nginx.
//
//	always refused               our own addresses: a gateway's interface, a registry, the status page
//	                             0.0.0.0/8, ::             not the address of a machine
//	                             224.0.0.0/4, ff00::/8, 255.255.255.255   addresses of many machines
//	refused unless allowed       169.254.0.0/16, fe80::/10  link-local; a range in Allow within them must name it
//	refused by the operator      what is in Deny, and what is in no range of Allow unless Allow is empty
//
// An IPv6 address that stands for an IPv4 one (mapped, compatible, NAT64, 6to4) is refused if that one is. The zero
// value refuses only what is always refused.
type Reach struct {
	Allow, Deny []netip.Prefix
	Own         []Own
	// Local are the addresses of this machine besides loopback.
	Local []netip.Addr
}

// Own is an address that swallowkeeper itself uses.
type Own struct {
	Of reason.Reason // whose address it is, as in "the status page"
	// Addr is where it listens or is reached. A service on one address of this machine may listen on all of them, so
	// its port is protected on every local address.
	Addr netip.AddrPort
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	linkLocal   = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	broadcast   = netip.AddrFrom4([4]byte{255, 255, 255, 255})

	// In these prefixes the last four bytes are an IPv4 address.
	carriers = []netip.Prefix{
		netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("::/96"),
	}
	sixToFour = netip.MustParsePrefix("2002::/16") // the address follows
)

// Refuses returns why an address may not be used, or the zero Reason.
func (r Reach) Refuses(addr netip.AddrPort) reason.Reason {
	ip := addr.Addr().Unmap().WithZone("")
	inner, carries := embedded(ip)
	if carries {
		if why := r.refuses(netip.AddrPortFrom(inner, addr.Port())); !why.IsZero() {
			return standsFor.With(ip, inner, why)
		}
	}
	if why := r.refuses(netip.AddrPortFrom(ip, addr.Port())); !why.IsZero() {
		return why
	}
	if len(r.Allow) > 0 && !within(r.Allow, ip) {
		return notAllowed.With(ip)
	}
	return reason.Reason{}
}

func (r Reach) refuses(addr netip.AddrPort) reason.Reason {
	ip := addr.Addr()
	switch {
	case ip.IsUnspecified() || thisNetwork.Contains(ip):
		return nobodys.With(ip)
	case ip.IsMulticast() || ip == broadcast:
		return manyMachines.With(ip)
	}
	for _, own := range r.Own {
		if own.Addr.Port() == addr.Port() && (own.Addr.Addr() == ip || r.local(own.Addr.Addr()) && r.local(ip)) {
			return ownAddress.With(addr, own.Of)
		}
	}
	if i := slices.IndexFunc(r.Deny, func(p netip.Prefix) bool { return p.Contains(ip) }); i >= 0 {
		return denied.With(ip, r.Deny[i])
	}
	if within(linkLocal, ip) && !slices.ContainsFunc(r.Allow, func(p netip.Prefix) bool {
		return p.Contains(ip) && within(linkLocal, p.Addr()) && p.Bits() >= 10
	}) {
		return isLinkLocal.With(ip)
	}
	return reason.Reason{}
}

// Forbids returns why this machine must not connect to an address just because a registry listed it: whatever Refuses
// refuses, and loopback addresses unless a range in Allow within 127.0.0.0/8 or ::1 names them.
func (r Reach) Forbids(addr netip.AddrPort) reason.Reason {
	if why := r.Refuses(addr); !why.IsZero() {
		return why
	}
	ip := addr.Addr().Unmap().WithZone("")
	if inner, carries := embedded(ip); carries {
		ip = inner
	}
	if ip.IsLoopback() && !slices.ContainsFunc(r.Allow, func(p netip.Prefix) bool {
		return p.Contains(ip) && p.Addr().IsLoopback() && p.Bits() >= 8
	}) {
		return thisMachine.With(ip)
	}
	return reason.Reason{}
}

// Here reports whether the address belongs to this machine.
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

// embedded returns the IPv4 address that an IPv6 one stands for, if any. The loopback ::1 and :: stand for none.
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

// leaves returns the part of an upstream that may be reached, and notes for the rest. If no server is left, the
// upstream stays with none.
func (r Reach) leaves(u upstream.Upstream) (upstream.Upstream, []upstream.Out) {
	var out []upstream.Out
	servers := u.Servers
	for i, srv := range servers {
		why := r.Refuses(srv.Addr)
		if why.IsZero() {
			if out != nil {
				u.Servers = append(u.Servers, srv)
			}
			continue
		}
		if out == nil {
			u.Servers = slices.Clone(servers[:i])
		}
		out = append(out, upstream.Out{
			Service: strings.TrimSuffix(u.Name, "_"+u.Canary), Upstream: u.Name, Addr: srv.Addr.String(), Reason: why,
		})
	}
	return u, out
}

func (r Reach) equal(o Reach) bool {
	return slices.Equal(r.Allow, o.Allow) && slices.Equal(r.Deny, o.Deny) && slices.Equal(r.Own, o.Own) && slices.Equal(r.Local, o.Local)
}
