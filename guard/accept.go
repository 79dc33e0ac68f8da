package guard

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// restored is what is wanted with what is held as it was. A newcomer that took the name of an upstream that
// is held is out for as long: what is written stays. So is a server that an upstream would get from another
// one where its removal is held.
func (s *step) restored() upstream.Set {
	held := map[upstream.Key]*change{}
	kept := map[ServerID]bool{}
	for _, c := range s.changes {
		for _, srv := range c.kept {
			held[upstream.KeyOf(c.name())] = c
			kept[ServerID{c.name(), srv.Addr}] = true
		}
	}
	if len(held) == 0 {
		return s.wanted
	}
	var list []upstream.Upstream
	out := s.wanted.Out()
	for u := range s.wanted.All() {
		c := held[upstream.KeyOf(u.Name)]
		delete(held, upstream.KeyOf(u.Name))
		switch {
		case c == nil:
		case !SameService(c.old, u):
			out = append(out, upstream.Out{
				Service: u.Name, Upstream: u.Name,
				Reason: fmt.Sprintf("its name collides with upstream %s, whose removal is held", c.old.Name),
			})
			u = c.old
			c.stays()
		default:
			u.Servers = slices.Concat(c.kept, u.Servers)
		}
		list = append(list, u)
	}
	for _, c := range held {
		back := c.old
		back.Servers = c.kept
		list = append(list, back)
	}
	next := upstream.NewSet(list, out...)
	var moving []ServerID
	for to, from := range s.moves {
		if kept[from] {
			moving = append(moving, to)
		}
	}
	return s.keepOut(next, moving, "another upstream has it, where its removal is held")
}

// keepOut takes servers from a set and says why they are out. An upstream that they would leave without a server
// stays as it was.
func (s *step) keepOut(next upstream.Set, ids []ServerID, why string) upstream.Set {
	if len(ids) == 0 {
		return next
	}
	type key struct {
		upstream.Key
		netip.AddrPort
	}
	taken := make(map[key]bool, len(ids))
	for _, id := range ids {
		taken[key{upstream.KeyOf(id.Upstream), id.Addr}] = true
	}
	list, out := make([]upstream.Upstream, 0, next.Len()), next.Out()
	for u := range next.All() {
		var stay []upstream.Server
		for _, srv := range u.Servers {
			if taken[key{upstream.KeyOf(u.Name), srv.Addr}] {
				out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Addr: srv.Addr.String(), Reason: why})
			} else {
				stay = append(stay, srv)
			}
		}
		if c := s.change(u.Name); len(stay) == 0 && c != nil && c.old.Name != "" {
			u, stay = c.old, c.old.Servers
			c.stays()
		}
		if u.Servers = stay; len(stay) > 0 {
			list = append(list, u)
		}
	}
	for _, c := range s.changes {
		name := upstream.KeyOf(c.name())
		c.arrivals = slices.DeleteFunc(slices.Clone(c.arrivals), func(srv upstream.Server) bool { return taken[key{name, srv.Addr}] })
	}
	return upstream.NewSet(list, out...)
}

// withoutRemoved answers OnRemoved for the upstreams that next does not have because they
// are deregistered. What OnUnhealthy removes is registered still.
func (s *step) withoutRemoved(next upstream.Set) upstream.Set {
	if s.OnRemoved != Down {
		return next
	}
	list := slices.Collect(next.All())
	for old := range s.Accepted.All() {
		_, stays := next.Get(old.Name)
		_, registered := s.Seen.Get(old.Name)
		if stays || registered || len(old.Servers) == 0 {
			continue
		}
		down := old.Servers[0]
		down.Down, down.Backup = true, false
		old.Servers = []upstream.Server{down}
		list = append(list, old)
	}
	return upstream.NewSet(list, next.Out()...)
}

// KeptAllTheSame ends the reason of what is out by its registry, and yet gets traffic.
const KeptAllTheSame = ": it is kept in traffic all the same"

// explained is what is out, and says of it what is kept in traffic all the same.
func (s *step) explained(all bool, next upstream.Set) []upstream.Out {
	out := next.Out()
	if all {
		out = KeptOut(s.Accepted, s.Seen.All(), s.Seen.Out(), "a hold on everything")
	}
	for i, o := range out {
		addr, err := netip.ParseAddrPort(o.Addr)
		if u, ok := s.d.Accepted.Get(o.Upstream); err == nil && ok && u.Name == o.Upstream && serves(u)(addr) {
			out[i].Reason += KeptAllTheSame
		}
	}
	return out
}

// KeptOut adds to what is out the servers of upstreams that are usable and that last does not have:
// what keeps it as it is keeps them out. An address that is out by another instance has its reason.
func KeptOut(last upstream.Set, upstreams iter.Seq[upstream.Upstream], out []upstream.Out, by string) []upstream.Out {
	has := make(map[ServerID]bool, len(out))
	for _, o := range out {
		if addr, err := netip.ParseAddrPort(o.Addr); err == nil {
			has[ServerID{o.Upstream, addr}] = true
		}
	}
	for u := range upstreams {
		old, _ := last.Get(u.Name)
		in := serves(old)
		name := cmp.Or(old.Name, u.Name)
		for _, srv := range u.Servers {
			if !srv.Down && !in(srv.Addr) && !has[ServerID{name, srv.Addr}] {
				out = append(out, upstream.Out{
					Service: u.Name, Upstream: name, Addr: srv.Addr.String(), Reason: "it is usable, and " + by + " keeps it out",
				})
			}
		}
	}
	return out
}
