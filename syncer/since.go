package syncer

import (
	"maps"
	"net/netip"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Since is from when servers are in their upstreams, or marked down there, and from when instances are
// out, at one moment. The zero value knows nothing.
type Since struct {
	// in has the servers that came, or changed in that, later than the rest, in nanoseconds of Unix: there
	// are many. The rest is from first on; the zero time is since before the start.
	in    map[guard.ServerID]int64
	first time.Time
	out   map[outID]time.Time
}

// outID is an instance that is out, for whatever reason.
type outID struct{ service, upstream, addr string }

func idOf(o upstream.Out) outID { return outID{o.Service, o.Upstream, o.Addr} }

// In is from when a server is in its upstream that is, or from when it is marked down there.
func (s Since) In(server guard.ServerID) time.Time {
	if at, later := s.in[server]; later {
		return time.Unix(0, at).UTC()
	}
	return s.first
}

// Out is from when an instance is out.
func (s Since) Out(o upstream.Out) time.Time { return s.out[idOf(o)] }

// since keeps Since.
type since struct {
	Since
	// began says that there was a first answer: what was out then is so since before the start.
	began bool
}

func newSince() since {
	return since{Since: Since{in: map[guard.ServerID]int64{}, out: map[outID]time.Time{}}}
}

// now is a copy that does not change any more.
func (s *since) now() Since { return Since{in: maps.Clone(s.in), first: s.first, out: s.out} }

// moved takes in what servers changes bring, take and mark down; before is the generation that they change.
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

// updated takes in an upstream that stays, perhaps under a name in another case.
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

// left takes in what is out now. The map before is not changed: somebody may read in it.
func (s *since) left(out []upstream.Out, at time.Time) {
	before := s.out
	s.out = make(map[outID]time.Time, len(out))
	for _, o := range out {
		switch was, known := before[idOf(o)]; {
		case known:
			s.out[idOf(o)] = was
		case s.began:
			s.out[idOf(o)] = at
		default:
			s.out[idOf(o)] = time.Time{}
		}
	}
	s.began = true
}
