package syncer

import (
	"time"

	"swallowkeeper/upstream"
)

// since is from when servers get traffic, and from when instances are out.
type since struct {
	// in has the servers that came later than the rest, in nanoseconds of Unix: there are many. The
	// rest is from first on; the zero time is since before the start.
	in    map[Held]int64
	first time.Time
	out   map[upstream.Out]time.Time
	// began says that there was a first answer: what was out then is so since before the start.
	began bool
}

func newSince() since {
	return since{in: map[Held]int64{}, out: map[upstream.Out]time.Time{}}
}

// moved takes in what servers changes bring and take; before is the generation that they change.
func (s *since) moved(before int, c upstream.Changes, at time.Time) {
	if before == 0 {
		s.first = at
		return
	}
	for m := range moves(c) {
		for _, addr := range m.out {
			delete(s.in, Held{Upstream: m.name, Addr: addr})
		}
		for _, addr := range m.in {
			s.in[Held{Upstream: m.name, Addr: addr}] = at.UnixNano()
		}
	}
}

// serves is from when a server gets traffic that does.
func (s *since) serves(server Held) time.Time {
	if at, later := s.in[server]; later {
		return time.Unix(0, at).UTC()
	}
	return s.first
}

// left takes in what is out now.
func (s *since) left(out []upstream.Out, at time.Time) {
	before := s.out
	s.out = make(map[upstream.Out]time.Time, len(out))
	for _, o := range out {
		switch was, known := before[o]; {
		case known:
			s.out[o] = was
		case s.began:
			s.out[o] = at
		default:
			s.out[o] = time.Time{}
		}
	}
	s.began = true
}
