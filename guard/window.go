package guard

import (
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// The window counts servers, not steps. A server that leaves traffic is a loss for its service until it comes back or
// another server replaces it. A server that came within the window and has replaced nothing yet is spare: it replaces
// the next one that leaves. So a deploy that starts new servers first loses nothing, and one that grew and then
// shrinks loses as many as it shrinks by.

// recent is what a service lost within the window or since its hold began, and which of its servers are spare, the
// oldest first.
type recent struct{ lost, spare []moment }

// pin is the baseline of a hold on removals, fixed when it began: the number of servers, and the peak within the
// window. Newcomers must not shrink the held share, and a hold must not end just because the window moves on. The
// zero pin means that there is no hold.
type pin struct {
	start, peak int
	at          time.Time
}

// loss is the number of servers lost within the window before and after a step, and the totals to compare with.
type loss struct{ start, peak, was, is int }

// beyond reports whether the step increases the loss beyond the allowed share.
func (l loss) beyond(share float64) bool {
	return l.peak >= smallest && l.is > l.was && over(l.is, share, l.peak)
}

// over reports whether n exceeds the share of a total. It tolerates the rounding error of a binary fraction.
func over(n int, share float64, of int) bool { return float64(n) > share*float64(of)+1e-9 }

// within reports whether a time is within the window.
func (s *step) within(at time.Time) bool { return s.Now.Sub(at) <= s.Window }

// counts reports whether a loss at that time counts under the pin.
func (s *step) counts(at time.Time, p pin) bool {
	return s.within(at) || p.start > 0 && p.at.Sub(at) <= s.Window
}

// window returns what a service lost and which servers are spare.
func (s *step) window(name string) *recent {
	key := upstream.KeyOf(name)
	l := s.services[key]
	if l != nil {
		return l
	}
	l = &recent{}
	s.services[key] = l
	for e := range s.h.left.of(name) {
		if e.is.lost {
			l.lost = append(l.lost, moment{e.id, e.at})
		}
	}
	u, _ := s.Accepted.Get(name)
	in := serves(u)
	for e := range s.h.spare.of(name) {
		// A server that came before the window, or left uncounted (by approval, for example), replaces nothing.
		if s.within(e.at) && in(e.id.Addr) {
			l.spare = append(l.spare, moment{e.id, e.at})
		} else {
			s.h.spare.drop(e.id)
		}
	}
	return l
}

func (l *recent) sort() {
	oldest := func(a, b moment) int { return byAge(&a, &b) }
	slices.SortFunc(l.lost, oldest)
	slices.SortFunc(l.spare, oldest)
}

// lost returns how many servers an upstream has lost under a pin, before the step, and after it if the selected
// servers go.
func (s *step) lost(c *change, pick picker, p pin) (before, after int) {
	l := s.window(c.name())
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
		if _, is := s.h.spare.get(id); is {
			wasted++
		} else {
			gone++
		}
	}
	return before, max(before-c.came, 0) + wasted + max(gone-(spare-wasted), 0)
}

// lossOf returns the loss of one upstream.
func (s *step) lossOf(c *change, pick picker) loss {
	p := s.h.pins[upstream.KeyOf(c.name())]
	was, is := s.lost(c, pick, p)
	return p.loss(c.in, was, is)
}

// lossOfAll returns the loss over all upstreams together.
func (s *step) lossOfAll(pick picker) loss {
	p, was := s.h.pin, s.h.lost
	for e := range s.h.left.before(s.Now.Add(-s.Window)) {
		if e.is.lost && !s.counts(e.at, p) {
			was--
		}
	}
	is := was
	for _, c := range s.changes {
		before, after := s.lost(c, pick, p)
		is += after - before
	}
	l := p.loss(s.in, was, is)
	if p.start == 0 {
		l.peak = min(l.peak, s.h.most(s.in)) // a server that came to another service than the one that lost was not there before
	}
	return l
}

func (p pin) loss(in, was, is int) loss {
	if p.start > 0 {
		return loss{start: p.start, peak: p.peak, was: was, is: is}
	}
	return loss{start: in, peak: in + was, was: was, is: is}
}

// pin fixes the baseline when the holds on removals begin.
func (s *step) pin() {
	begin := func(before pin, l loss) pin {
		if before.start > 0 {
			return before
		}
		return pin{start: l.start, peak: l.peak, at: s.Now}
	}
	all, pins := pin{}, map[upstream.Key]pin{}
	for _, h := range s.d.Holds {
		switch {
		case len(h.Routes) > 0: // it holds no server, and may last until a person decides
		case h.Rule == RuleMaxRemoval, h.Rule == RuleMaxRemovalWindow:
			all = begin(s.h.pin, s.lossOfAll(everything))
		case h.Rule == RuleMaxServiceRemoval:
			name := upstream.KeyOf(h.Upstream)
			pins[name] = begin(s.h.pins[name], s.lossOf(s.change(h.Upstream), everything))
		}
	}
	s.h.pin, s.h.pins = all, pins
}

// count records which servers of the upstream came and left.
func (s *step) count(c *change) {
	name := c.name()
	l := s.window(name)
	l.sort()
	if c.old.Name != "" {
		for _, srv := range c.arrivals {
			s.arrive(ServerID{name, srv.Addr}, l, c.came > 0)
		}
	}
	var others []upstream.Server
	for _, srv := range c.gone { // spare servers first: they can't replace others
		if _, spare := s.h.spare.get(ServerID{name, srv.Addr}); spare {
			s.depart(ServerID{name, srv.Addr}, srv, l)
		} else {
			others = append(others, srv)
		}
	}
	for _, srv := range others {
		s.depart(ServerID{name, srv.Addr}, srv, l)
	}
}

// arrive records a new server: it cancels its own loss, replaces a lost server, or becomes spare.
func (s *step) arrive(id ServerID, l *recent, replaces bool) {
	own := slices.IndexFunc(l.lost, func(m moment) bool { return m.id == id })
	switch {
	case own >= 0:
		l.lost = slices.Delete(l.lost, own, own+1)
	case !replaces:
	case len(l.lost) > 0:
		s.h.found(l.lost[0].id, false)
		l.lost = l.lost[1:]
	default:
		s.h.spare.put(id, s.Now, struct{}{})
		l.spare = append(l.spare, moment{id, s.Now})
	}
	s.h.found(id, true)
}

// found records that a lost server is back, or that another one replaced it.
func (h *History) found(id ServerID, back bool) {
	if e, left := h.left.get(id); left && (e.is.lost || back && e.is.unhealthy) {
		e.is.lost, e.is.unhealthy = false, e.is.unhealthy && !back
		h.leaves(id, e.at, e.is)
	}
}

// depart records that a server left traffic.
func (s *step) depart(id ServerID, srv upstream.Server, l *recent) {
	d := departure{server: &srv, times: 1, lost: true, unhealthy: s.unusable(id.Upstream)[srv.Addr]}
	if before, left := s.h.left.get(id); left && s.within(before.at) {
		d.times += before.is.times
	}
	d.until = s.penalty(d.times, s.Now)
	if _, is := s.h.spare.get(id); is {
		s.h.spare.drop(id)
		l.spare = slices.DeleteFunc(l.spare, func(m moment) bool { return m.id == id })
	} else if len(l.spare) > 0 {
		d.lost = false
		s.h.spare.drop(l.spare[0].id)
		l.spare = l.spare[1:]
	}
	s.h.leaves(id, s.Now, d)
}
