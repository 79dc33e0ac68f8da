package guard

import (
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// readUnusable finds what is registered and out because of its health, not because a person wished so.
func (s *step) readUnusable() {
	s.unusable = map[upstream.Key]map[netip.AddrPort]bool{}
	for _, o := range s.Seen.Out() {
		addr, err := netip.ParseAddrPort(o.Addr)
		if err != nil || o.Upstream == "" || !o.Unhealthy {
			continue
		}
		name := upstream.KeyOf(o.Upstream)
		if s.unusable[name] == nil {
			s.unusable[name] = map[netip.AddrPort]bool{}
		}
		s.unusable[name][addr] = true
	}
}

// keptUnhealthy answers OnUnhealthy: afterwards every upstream has a server.
//
// A service of four servers or more keeps all that were usable within the window when more of them turn out
// not usable than still are: what is left would fall under the load of all, and most checks that fail at once
// tell more of what they have in common than of the servers. Of a smaller one this holds when none is usable.
// A server that the witness found dead goes, as long as some are usable.
func (s *step) keptUnhealthy(seen upstream.Set) upstream.Set {
	kept := map[upstream.Key][]upstream.Server{}
	if s.OnUnhealthy == Keep {
		for name, addrs := range s.unusable {
			if u, listed := seen.Get(string(name)); listed && u.Usable() {
				if back := s.spiral(u, addrs); back != nil {
					kept[name] = back
				}
			}
		}
	}
	if len(kept) == 0 && seen.Usable() == seen.Len() {
		return seen
	}
	var list []upstream.Upstream
	for u := range seen.All() {
		switch {
		case len(u.Servers) > 0: // one whose servers are all marked down is frozen so
			u.Servers = slices.Concat(u.Servers, kept[upstream.KeyOf(u.Name)])
		case s.OnUnhealthy == Remove:
			continue
		default:
			old, ok := s.Accepted.Get(u.Name)
			if !ok || !SameService(old, u) {
				continue
			}
			u.Servers = slices.Concat(old.Servers, s.turned(u, s.unusable[upstream.KeyOf(u.Name)], old))
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, seen.Out()...)
}

// spiral finds the servers of a service that it keeps although they are not usable.
func (s *step) spiral(u upstream.Upstream, unusable map[netip.AddrPort]bool) []upstream.Server {
	old, ok := s.Accepted.Get(u.Name)
	if !ok || !SameService(old, u) {
		return nil
	}
	turned := s.turned(u, unusable, old)
	listed := serves(u)
	for _, srv := range old.Servers {
		if !srv.Down && unusable[srv.Addr] && !listed(srv.Addr) {
			turned = append(turned, srv)
		}
	}
	usable := serving(u)
	if len(turned) <= usable || len(turned)+usable < smallest {
		return nil
	}
	return slices.DeleteFunc(turned, func(srv upstream.Server) bool { return s.dead(ServerID{old.Name, srv.Addr}) })
}

// turned finds what left traffic within the window because it was not usable, and is not yet. Of what left because it
// was not registered any more, nobody remembers how it was.
func (s *step) turned(u upstream.Upstream, unusable map[netip.AddrPort]bool, old upstream.Upstream) []upstream.Server {
	in, listed := serves(old), serves(u)
	var turned []upstream.Server
	for addr := range unusable {
		d, left := s.h.left[ServerID{old.Name, addr}]
		if left && d.unhealthy && !in(addr) && !listed(addr) && s.within(d.at) {
			turned = append(turned, d.server)
		}
	}
	return turned
}

// SameService reports whether both come from one service: upstreams whose names collide do not.
func SameService(a, b upstream.Upstream) bool { return a.Name == b.Name && a.Canary == b.Canary }
