package syncer

import (
	"time"

	"swallowkeeper/upstream"
)

// since is from when servers get traffic, and from when instances are out.
type since struct {
	in  map[Held]time.Time
	out map[upstream.Out]time.Time
	// began says that there was a first answer: what was out then is so since before the start.
	began bool
}

func newSince() since {
	return since{in: map[Held]time.Time{}, out: map[upstream.Out]time.Time{}}
}

// moved takes in what servers changes bring and take.
func (s *since) moved(c upstream.Changes, at time.Time) {
	for m := range moves(c) {
		for _, addr := range m.out {
			delete(s.in, Held{Upstream: m.name, Addr: addr})
		}
		for _, addr := range m.in {
			s.in[Held{Upstream: m.name, Addr: addr}] = at
		}
	}
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
