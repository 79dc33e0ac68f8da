package guard

import (
	"iter"
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// unusable returns the addresses of the upstream that are out because of their health, not on an operator's request.
func (s *step) unusable(name string) map[netip.AddrPort]bool {
	key := upstream.KeyOf(name)
	addrs, known := s.sick[key]
	if known {
		return addrs
	}
	for o := range s.Seen.Outs().Of(name) {
		if !o.Unhealthy || o.Upstream == "" {
			continue
		}
		if addrs == nil {
			addrs = map[netip.AddrPort]bool{}
		}
		addr, _ := netip.ParseAddrPort(o.Addr) // an invalid address matches no server
		addrs[addr] = true
	}
	s.sick[key] = addrs
	return addrs
}

// keptUnhealthy applies OnUnhealthy. Afterwards every upstream has a server.
//
// A service of at least four servers keeps all that were usable within the window if more of them became unusable
// than are still usable. The rest would collapse under the load, and if most checks fail at once, the cause is more
// often something shared than the servers. A smaller service keeps them if none is usable. A server that the witness
// found dead goes as long as some are usable.
func (s *step) keptUnhealthy(seen upstream.Set) upstream.Set {
	if seen.Outs().Len() == 0 && seen.Usable() == seen.Len() { // nothing is unhealthy
		return seen
	}
	var put []upstream.Upstream
	var drop []string
	for name := range s.ailing(seen) {
		u, listed := seen.Get(name)
		switch {
		case !listed, s.frozen(name):
		case len(u.Servers) > 0: // an upstream with all servers down is frozen that way
			if s.OnUnhealthy != Keep || !u.Usable() {
				continue
			}
			if back := s.keptInSpiral(u, s.unusable(name)); len(back) > 0 {
				u.Servers = slices.Concat(u.Servers, back)
				put = append(put, u)
			}
		case s.OnUnhealthy == Remove:
			drop = append(drop, name)
		default:
			old, _ := s.Accepted.Get(name)
			if !SameService(old, u) {
				drop = append(drop, name)
				continue
			}
			u = withKnownRoutes(u, old)
			u.Servers = slices.Concat(old.Servers, s.turnedUnhealthy(u, s.unusable(name), old))
			put = append(put, u)
		}
	}
	return seen.With(put, drop)
}

// ailing yields the names of the upstreams that may have something to keep: those that differ from what is written,
// and those that lost unhealthy servers.
func (s *step) ailing(seen upstream.Set) iter.Seq[string] {
	return func(yield func(string) bool) {
		last := ""
		for id := range s.h.sick.All() {
			if !upstream.SameName(id.Upstream, last) && !yield(id.Upstream) {
				return
			}
			last = id.Upstream
		}
		changes := upstream.Diff(s.Accepted, seen)
		for _, u := range changes.Added {
			if !yield(u.Name) {
				return
			}
		}
		for _, u := range changes.Updated {
			if !yield(u.New.Name) {
				return
			}
		}
	}
}

// keptInSpiral returns the unhealthy servers that a service keeps because too few would be left.
func (s *step) keptInSpiral(u upstream.Upstream, unusable map[netip.AddrPort]bool) []upstream.Server {
	old, _ := s.Accepted.Get(u.Name)
	if !SameService(old, u) {
		return nil
	}
	turnedUnhealthy := s.turnedUnhealthy(u, unusable, old)
	listed := serves(u)
	for _, srv := range old.Servers {
		if !srv.Down && unusable[srv.Addr] && !listed(srv.Addr) {
			turnedUnhealthy = append(turnedUnhealthy, srv)
		}
	}
	usable := serving(u)
	if len(turnedUnhealthy) <= usable || len(turnedUnhealthy)+usable < smallest {
		return nil
	}
	return slices.DeleteFunc(turnedUnhealthy, func(srv upstream.Server) bool { return s.dead(ServerID{old.Name, srv.Addr}) })
}

// turnedUnhealthy returns the servers that left traffic within the window because they became unhealthy, and still are. It
// leaves out those that were deregistered, as their parameters are not remembered.
func (s *step) turnedUnhealthy(u upstream.Upstream, unusable map[netip.AddrPort]bool, old upstream.Upstream) []upstream.Server {
	in, listed := serves(old), serves(u)
	var turnedUnhealthy []upstream.Server
	for addr := range unusable {
		e, left := s.h.left.get(ServerID{old.Name, addr})
		if left && e.is.unhealthy && !in(addr) && !listed(addr) && s.within(e.at) {
			turnedUnhealthy = append(turnedUnhealthy, *e.is.server)
		}
	}
	return turnedUnhealthy
}

// SameService reports whether both come from the same service, not from two whose names collide.
func SameService(a, b upstream.Upstream) bool { return a.Name == b.Name && a.Canary == b.Canary }
