package guard

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// restored returns the wanted set with the held servers put back. While an upstream is held, a newcomer that took its
// name is out. While a server's removal is held, another upstream can't have it.
func (s *step) restored() upstream.Set {
	kept := map[ServerID]bool{}
	var put []upstream.Upstream
	var out []upstream.Out
	for _, c := range s.changes {
		if len(c.kept) == 0 {
			continue
		}
		for _, srv := range c.kept {
			kept[ServerID{c.name(), srv.Addr}] = true
		}
		u, wanted := s.wanted.Get(c.name())
		switch {
		case !wanted:
			u = c.old
			u.Servers = c.kept
		case !SameService(c.old, u):
			out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Reason: nameHeld.With(c.old.Name)})
			u = c.old
			c.stays()
		default:
			u.Servers = slices.Concat(c.kept, u.Servers)
		}
		put = append(put, u)
	}
	if len(put) == 0 {
		return s.wanted
	}
	next := s.wanted.With(put, nil).AlsoOut(out...)
	var moving []ServerID
	for to, from := range s.moves {
		if kept[from] {
			moving = append(moving, to)
		}
	}
	return s.keepOut(next, moving, serverHeld.With())
}

// keepOut removes servers from a set, with a note why. An upstream that would lose all its servers stays as it was.
func (s *step) keepOut(next upstream.Set, ids []ServerID, why reason.Reason) upstream.Set {
	taken := map[upstream.Key]map[netip.AddrPort]bool{}
	for _, id := range ids {
		key := upstream.KeyOf(id.Upstream)
		if taken[key] == nil {
			taken[key] = map[netip.AddrPort]bool{}
		}
		taken[key][id.Addr] = true
	}
	var put []upstream.Upstream
	var drop []string
	var out []upstream.Out
	for key, addrs := range taken {
		u, _ := next.Get(string(key))
		var stay []upstream.Server
		for _, srv := range u.Servers {
			if addrs[srv.Addr] {
				out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Addr: srv.Addr.String(), Reason: why})
			} else {
				stay = append(stay, srv)
			}
		}
		c := s.change(string(key))
		if c != nil {
			c.arrivals = slices.DeleteFunc(slices.Clone(c.arrivals), func(srv upstream.Server) bool { return addrs[srv.Addr] })
		}
		switch {
		case len(stay) > 0:
			u.Servers = stay
			put = append(put, u)
		case c != nil && c.old.Name != "":
			put = append(put, c.old)
			c.stays()
		default:
			drop = append(drop, string(key))
		}
	}
	return next.With(put, drop).AlsoOut(out...)
}

// withoutRemoved applies OnRemoved to the upstreams that are missing from next because they were deregistered. Those
// that OnUnhealthy removes are still registered.
func (s *step) withoutRemoved(next upstream.Set) upstream.Set {
	if s.OnRemoved != Down {
		return next
	}
	var put []upstream.Upstream
	for old, stays := range upstream.Changed(s.Accepted, next) {
		if _, registered := s.Seen.Get(old.Name); stays.Name != "" || registered || len(old.Servers) == 0 {
			continue
		}
		down := old.Servers[0]
		down.Down, down.Backup = true, false
		old.Servers = []upstream.Server{down}
		put = append(put, old)
	}
	return next.With(put, nil)
}

// explained returns the notes on what is out. If such a server still gets traffic, its reason says so.
func (s *step) explained(all bool, next upstream.Set) upstream.Outs {
	out := next.Outs()
	if all {
		out = s.Seen.Outs()
		out = out.With(KeptOut(s.Accepted, s.Seen.All(), out, outByHold.With())...)
	}
	s.h.explanation = s.h.explanation.next(out, s.d.Accepted)
	return s.h.explanation.explained
}

// explanation caches the notes of a decision, so that the next one redoes only those that changed.
type explanation struct {
	out, explained upstream.Outs
	accepted       upstream.Set
	kept           map[upstream.Key]string // upstreams with a server that is out but still gets traffic
}

func (e explanation) next(out upstream.Outs, accepted upstream.Set) explanation {
	changed := map[upstream.Key]string{}
	for was, is := range e.out.Changed(out) {
		name := cmp.Or(is.Upstream, was.Upstream)
		changed[upstream.KeyOf(name)] = name
	}
	if e.kept != nil { // otherwise all notes are new
		for was, is := range upstream.Changed(e.accepted, accepted) {
			name := cmp.Or(is.Name, was.Name)
			changed[upstream.KeyOf(name)] = name
		}
	}
	if e.kept != nil && len(changed) == 0 {
		return e
	}
	kept := cloned(e.kept)
	for key, name := range changed {
		delete(kept, key)
		for o := range out.Of(name) {
			if isKept(o, accepted) {
				kept[key] = name
			}
		}
	}
	return explanation{
		out: out, accepted: accepted, kept: kept,
		explained: out.Altered(maps.Values(kept), func(o upstream.Out) upstream.Out {
			if isKept(o, accepted) {
				o.Reason = KeptAllTheSame.With(o.Reason)
			}
			return o
		}),
	}
}

// isKept reports whether a server that is out still gets traffic.
func isKept(o upstream.Out, accepted upstream.Set) bool {
	u, _ := accepted.Get(o.Upstream)
	if u.Name != o.Upstream {
		return false
	}
	addr, _ := netip.ParseAddrPort(o.Addr) // an invalid address matches no server
	return serves(u)(addr)
}

// KeptOut returns a note, with reason why, for each usable server that last lacks: whatever freezes last keeps it
// out. An address that already has a note in out, from another instance, gets no second one.
func KeptOut(last upstream.Set, upstreams iter.Seq[upstream.Upstream], out upstream.Outs, why reason.Reason) []upstream.Out {
	var all []upstream.Out
	for u := range upstreams {
		old, _ := last.Get(u.Name)
		in := serves(old)
		name := cmp.Or(old.Name, u.Name)
		var has map[netip.AddrPort]bool
		for _, srv := range u.Servers {
			if srv.Down || in(srv.Addr) {
				continue
			}
			if has == nil {
				has = addresses(out, name)
			}
			if !has[srv.Addr] {
				all = append(all, upstream.Out{Service: u.Name, Upstream: name, Addr: srv.Addr.String(), Reason: why})
			}
		}
	}
	return all
}

// addresses returns the addresses of an upstream that have a note.
func addresses(out upstream.Outs, name string) map[netip.AddrPort]bool {
	all := map[netip.AddrPort]bool{}
	for o := range out.Of(name) {
		if addr, err := netip.ParseAddrPort(o.Addr); err == nil && o.Upstream == name {
			all[addr] = true
		}
	}
	return all
}
