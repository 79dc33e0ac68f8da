package guard

import (
	"cmp"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// The window counts servers, not steps. A server that leaves traffic is a loss of its service until it comes back
// or another one takes its place. One that came within the window and took nobody's place yet is spare: it takes that
// of the next one that leaves. So a deploy that starts the new ones first loses nothing, and one that grew and shrinks
// again loses what it shrinks by.

// lately is what one service lost within the window or since its hold began, and what of it is spare, the oldest first.
type lately struct{ lost, spare []moment }

type moment struct {
	id ServerID
	at time.Time
}

// pin is what there was when a hold on removals began: how many servers, and at most how many within the window.
// What comes in meanwhile must not make the share smaller that is held, and a hold must not end because the window
// moves on. The zero pin is none.
type pin struct {
	start, peak int
	at          time.Time
}

// loss is how many servers are lost within the window before a step and after it, and of how many.
type loss struct{ start, peak, was, is int }

// beyond reports whether the step makes the loss larger than the share that is allowed.
func (l loss) beyond(share float64) bool {
	return l.peak >= smallest && l.is > l.was && over(l.is, share, l.peak)
}

// over allows for what a share of a whole number is off by in binary.
func over(n int, share float64, of int) bool { return float64(n) > share*float64(of)+1e-9 }

// within reports whether something was within the window.
func (s *step) within(at time.Time) bool { return s.Now.Sub(at) <= s.Window }

// counts reports whether what happened then counts under a pin.
func (s *step) counts(at time.Time, p pin) bool {
	return s.within(at) || p.start > 0 && p.at.Sub(at) <= s.Window
}

// readWindow finds what each service lost, and what is spare.
func (s *step) readWindow() map[upstream.Key]*lately {
	if s.services != nil {
		return s.services
	}
	s.services = map[upstream.Key]*lately{}
	of := func(id ServerID) *lately {
		name := upstream.KeyOf(id.Upstream)
		if s.services[name] == nil {
			s.services[name] = &lately{}
		}
		return s.services[name]
	}
	for id, d := range s.h.left {
		if d.lost {
			l := of(id)
			l.lost = append(l.lost, moment{id, d.at})
		}
	}
	for id, at := range s.h.spare {
		// One that came before the window, or went without being counted, by a person's word say, takes nobody's place.
		if u, _ := s.Accepted.Get(id.Upstream); !s.within(at) || !serves(u)(id.Addr) {
			delete(s.h.spare, id)
			continue
		}
		l := of(id)
		l.spare = append(l.spare, moment{id, at})
	}
	return s.services
}

func (l *lately) sort() {
	oldest := func(a, b moment) int { return cmp.Or(a.at.Compare(b.at), a.id.compare(b.id)) }
	slices.SortFunc(l.lost, oldest)
	slices.SortFunc(l.spare, oldest)
}

// lost is what an upstream has lost under a pin, before the step and after it, if of what would go what pick picks did.
func (s *step) lost(c *change, pick picker, p pin) (before, after int) {
	l := s.readWindow()[upstream.KeyOf(c.name())]
	if l == nil {
		l = &lately{}
	}
	for _, m := range l.lost {
		if s.counts(m.at, p) {
			before++
		}
	}
	spare, gone, wasted := len(l.spare)+max(c.came-before, 0), 0, 0
	for _, srv := range c.gone {
		id := ServerID{c.name(), srv.Addr}
		if !pick(id, srv) {
			continue
		}
		if _, is := s.h.spare[id]; is {
			wasted++
		} else {
			gone++
		}
	}
	return before, max(before-c.came, 0) + wasted + max(gone-(spare-wasted), 0)
}

// lossOf is the loss of one upstream.
func (s *step) lossOf(c *change, pick picker) loss {
	p := s.h.pins[upstream.KeyOf(c.name())]
	was, is := s.lost(c, pick, p)
	return p.loss(c.in, was, is)
}

// lossOfAll is the loss over all upstreams together.
func (s *step) lossOfAll(pick picker) loss {
	p, was, is := s.h.pin, 0, 0
	for _, c := range s.changes {
		before, after := s.lost(c, pick, p)
		was, is = was+before, is+after
	}
	for name, l := range s.readWindow() {
		if s.change(string(name)) != nil {
			continue
		}
		for _, m := range l.lost {
			if s.counts(m.at, p) {
				was, is = was+1, is+1
			}
		}
	}
	return p.loss(s.in, was, is)
}

func (p pin) loss(in, was, is int) loss {
	if p.start > 0 {
		return loss{start: p.start, peak: p.peak, was: was, is: is}
	}
	return loss{start: in, peak: in + was, was: was, is: is}
}

// pin notes what there was when the holds on removals began.
func (s *step) pin() {
	begin := func(before pin, l loss) pin {
		if before.start > 0 {
			return before
		}
		return pin{start: l.start, peak: l.peak, at: s.Now}
	}
	all, pins := pin{}, map[upstream.Key]pin{}
	for _, h := range s.d.Holds {
		switch h.Rule {
		case RuleMaxRemoval, RuleMaxRemovalWindow:
			all = begin(s.h.pin, s.lossOfAll(everything))
		case RuleMaxServiceRemoval:
			name := upstream.KeyOf(h.Upstream)
			pins[name] = begin(s.h.pins[name], s.lossOf(s.change(h.Upstream), everything))
		}
	}
	s.h.pin, s.h.pins = all, pins
}

// count takes in which servers of an upstream came and left.
func (s *step) count(c *change) {
	name := c.name()
	l := s.readWindow()[upstream.KeyOf(name)]
	if l == nil {
		l = &lately{}
	}
	l.sort()
	if c.old.Name != "" {
		for _, srv := range c.arrivals {
			s.arrive(ServerID{name, srv.Addr}, l, c.came > 0)
		}
	}
	for _, srv := range c.gone {
		s.depart(ServerID{name, srv.Addr}, srv, l)
	}
}

// arrive has a server give its own loss back, or take the place of one that is lost, or be spare.
func (s *step) arrive(id ServerID, l *lately, replaces bool) {
	own := slices.IndexFunc(l.lost, func(m moment) bool { return m.id == id })
	switch {
	case own >= 0:
		l.lost = slices.Delete(l.lost, own, own+1)
		s.h.found(id)
	case !replaces:
	case len(l.lost) > 0:
		s.h.found(l.lost[0].id)
		l.lost = l.lost[1:]
	default:
		s.h.spare[id] = s.Now
		l.spare = append(l.spare, moment{id, s.Now})
	}
}

// found notes that a server's place is taken.
func (h *History) found(id ServerID) {
	d := h.left[id]
	d.lost = false
	h.left[id] = d
}

// depart notes that a server left traffic.
func (s *step) depart(id ServerID, srv upstream.Server, l *lately) {
	d := departure{server: srv, at: s.Now, times: 1, lost: true, unhealthy: s.unusable[upstream.KeyOf(id.Upstream)][srv.Addr]}
	if before, known := s.h.left[id]; known && s.within(before.at) {
		d.times += before.times
	}
	d.until = s.penalty(d.times, s.Now)
	if _, is := s.h.spare[id]; is {
		delete(s.h.spare, id)
		l.spare = slices.DeleteFunc(l.spare, func(m moment) bool { return m.id == id })
	} else if len(l.spare) > 0 {
		d.lost = false
		delete(s.h.spare, l.spare[0].id)
		l.spare = l.spare[1:]
	}
	s.h.left[id] = d
}
