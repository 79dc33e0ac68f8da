package replay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// mostNamed is the maximum number of servers that a hold lists.
const mostNamed = 100

// tracker follows the holds of a run and the fate of their servers.
type tracker struct {
	seen    upstream.Set
	open    []*tracked
	all     []*tracked
	pending map[upstream.Key][]*server // servers that have not proved their hold right yet
}

type tracked struct {
	Hold
	last    string // its ID when its servers were last updated
	servers map[guard.ServerID]*server
}

// server is one server of a hold.
type server struct {
	of      *tracked
	id      guard.ServerID
	keptOut bool
	right   bool
	through bool // the other limits let it through
}

// take records what a run has decided. other is the run to compare with, or nil.
func (t *tracker) take(r, other *run) {
	t.look(r.seen.Seen, r.seen.Now)
	var open []*tracked
	for _, h := range r.decision.Holds {
		i := slices.IndexFunc(t.open, func(o *tracked) bool { return h.Continued(guard.Hold{Rule: o.Rule, Upstream: o.Upstream}) })
		var o *tracked
		if i >= 0 {
			o = t.open[i]
			t.open = slices.Delete(t.open, i, i+1)
		} else {
			o = &tracked{Hold: Hold{ID: h.ID, Rule: h.Rule, Upstream: h.Upstream, Reason: h.Reason, Began: r.seen.Now}, servers: map[guard.ServerID]*server{}}
			t.all = append(t.all, o)
		}
		if o.last != h.ID {
			o.last = h.ID
			t.adds(o, h.Removed, false, other)
			t.adds(o, h.KeptOut, true, other)
		}
		open = append(open, o)
	}
	for _, o := range t.open {
		t.ends(o, r, other)
	}
	t.open = open
}

func (t *tracker) adds(o *tracked, ids []guard.ServerID, keptOut bool, other *run) {
	for _, id := range ids {
		if o.servers[id] != nil {
			continue
		}
		s := &server{of: o, id: id, keptOut: keptOut}
		o.servers[id] = s
		if len(o.Servers) < mostNamed {
			o.Servers = append(o.Servers, id)
		}
		if keptOut {
			o.KeptOut++
		} else {
			o.Kept++
		}
		if t.pending == nil {
			t.pending = map[upstream.Key][]*server{}
		}
		name := upstream.KeyOf(id.Upstream)
		t.pending[name] = append(t.pending[name], s)
		s.through = other != nil && other.has(id) == keptOut
	}
}

// look finds the servers that prove their holds right.
func (t *tracker) look(seen upstream.Set, now time.Time) {
	before := t.seen
	t.seen = seen
	if len(t.pending) == 0 {
		return
	}
	for old, u := range upstream.Changed(before, seen) {
		name := upstream.KeyOf(cmp.Or(old.Name, u.Name))
		if waiting := t.pending[name]; len(waiting) > 0 {
			t.pending[name] = slices.DeleteFunc(waiting, func(s *server) bool { return s.proves(u, now) })
			if len(t.pending[name]) == 0 {
				delete(t.pending, name)
			}
		}
	}
}

func (s *server) proves(u upstream.Upstream, now time.Time) bool {
	if listed(u, s.id.Addr) == s.keptOut {
		return false
	}
	s.right = true
	s.of.Right++
	s.of.RightAt = now
	return true
}

func listed(u upstream.Upstream, addr netip.AddrPort) bool {
	i, found := slices.BinarySearchFunc(u.Servers, addr, func(s upstream.Server, a netip.AddrPort) int { return s.Addr.Compare(a) })
	return found && !u.Servers[i].Down
}

// has reports whether a server gets traffic in the run.
func (r *run) has(id guard.ServerID) bool {
	u, _ := r.accepted.Get(id.Upstream)
	return listed(u, id.Addr)
}

// ends records how a hold ended.
func (t *tracker) ends(o *tracked, r, other *run) {
	o.Ended = r.seen.Now
	t.settles(o, r, other)
	left := 0
	for _, s := range o.servers {
		if u, _ := r.seen.Seen.Get(s.id.Upstream); listed(u, s.id.Addr) == s.keptOut {
			left++
		}
	}
	i := slices.IndexFunc(r.decision.Released, func(rel guard.Release) bool {
		return rel.Hold.Rule == o.Rule && rel.Hold.Upstream == o.Upstream
	})
	switch {
	case i >= 0:
		o.By = r.decision.Released[i].By
	case left == 0:
		o.By = Resolved
	case o.Went == 0:
		o.By = Replaced
	default:
		o.By = Within
	}
	o.servers = nil // those that may still prove it right are in pending
}

// settles counts what a run, and the other one, have done with the servers of a hold so far.
func (t *tracker) settles(o *tracked, r, other *run) {
	for _, s := range o.servers {
		u, _ := r.seen.Seen.Get(s.id.Upstream)
		if listed(u, s.id.Addr) == s.keptOut && r.has(s.id) == s.keptOut {
			o.Went++
		}
		switch {
		case other == nil:
		case s.through || !s.right && other.has(s.id) == s.keptOut:
			o.Elsewhere.Through++
		default:
			o.Elsewhere.Held++
		}
	}
}

// end returns all holds, including those that have not ended.
func (t *tracker) end(r, other *run) []Hold {
	for _, o := range t.open {
		o.By = Open
		t.settles(o, r, other)
		o.Went = 0
	}
	holds := make([]Hold, len(t.all))
	for i, o := range t.all {
		holds[i] = o.Hold
	}
	return holds
}
