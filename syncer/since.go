package syncer

import (
	"cmp"
	"maps"
	"net/netip"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Since tells since when servers have been in their upstreams, or marked down there, and since when instances have
// been out, as of one moment. The zero value knows nothing.
type Since struct {
	// in has the servers that came or changed after first, as Unix nanoseconds to save memory. All others are there
	// since first. The zero time means since before the start.
	in    map[guard.ServerID]int64
	first time.Time
	out   map[outID]time.Time
}

// outID identifies an instance or a route that is out, whatever the reason.
type outID struct{ service, upstream, addr, route string }

func idOf(o upstream.Out) outID { return outID{o.Service, o.Upstream, o.Addr, o.Route} }

// In returns since when a server in an upstream has been there, or has been marked down there.
func (s Since) In(server guard.ServerID) time.Time {
	if at, later := s.in[server]; later {
		return time.Unix(0, at).UTC()
	}
	return s.first
}

// Out returns since when an instance has been out.
func (s Since) Out(o upstream.Out) time.Time { return s.out[idOf(o)] }

// since maintains a Since.
type since struct {
	Since
	// began means that there was a first answer. What was out in it has been out since before the start.
	began bool
}

func newSince() since {
	return since{Since: Since{in: map[guard.ServerID]int64{}, out: map[outID]time.Time{}}}
}

// now returns an immutable copy.
func (s *since) now() Since {
	return Since{in: maps.Clone(s.in), first: s.first, out: maps.Clone(s.out)}
}

// moved records the effect of changes on servers. before is the number of the generation that they change.
func (s *since) moved(before int, c upstream.Changes, at time.Time) {
	if before == 0 {
		s.first = at
		return
	}
	for _, u := range c.Added {
		for _, server := range u.Servers {
			s.in[guard.ServerID{Upstream: u.Name, Addr: server.Addr}] = at.UnixNano()
		}
	}
	for _, u := range c.Removed {
		for _, server := range u.Servers {
			delete(s.in, guard.ServerID{Upstream: u.Name, Addr: server.Addr})
		}
	}
	for _, u := range c.Updated {
		s.updated(u, at)
	}
}

// updated records an updated upstream, whose name may have changed case.
func (s *since) updated(u upstream.Update, at time.Time) {
	type was struct {
		down bool
		at   time.Time
	}
	before := make(map[netip.AddrPort]was, len(u.Old.Servers))
	for _, server := range u.Old.Servers {
		id := guard.ServerID{Upstream: u.Old.Name, Addr: server.Addr}
		before[server.Addr] = was{server.Down, s.In(id)}
		delete(s.in, id)
	}
	for _, server := range u.New.Servers {
		from := at
		if old, there := before[server.Addr]; there && old.down == server.Down {
			from = old.at
		}
		if !from.Equal(s.first) {
			s.in[guard.ServerID{Upstream: u.New.Name, Addr: server.Addr}] = from.UnixNano()
		}
	}
}

// left records what is out now and was out before.
func (s *since) left(before, now upstream.Outs, at time.Time) {
	if !s.began { // out since before the start
		s.began, at = true, time.Time{}
	}
	for was, is := range before.Changed(now) {
		if was != (upstream.Out{}) && !has(now, was) {
			delete(s.out, idOf(was))
		}
		if is == (upstream.Out{}) {
			continue
		}
		if _, known := s.out[idOf(is)]; !known {
			s.out[idOf(is)] = at
		}
	}
}

// has reports whether an instance is out.
func has(out upstream.Outs, o upstream.Out) bool {
	for p := range out.Of(cmp.Or(o.Upstream, o.Service)) {
		if idOf(p) == idOf(o) {
			return true
		}
	}
	return false
}
