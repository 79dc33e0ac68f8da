package probe

import (
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/guard"
)

// Sides of servers: across the network, or on this machine. Only an answer from across the network proves that it
// works.
const (
	far = iota
	near
)

// side is what is known about the network on the way to the servers of one side.
type side struct {
	last time.Time // last answer of any server
	// moment is an answer after the last server began to fail; zero if there was none. A server that fails before and
	// after it is dead.
	moment time.Time
}

func (p *Pool) sideOf(addr netip.AddrPort) int {
	if p.Here != nil && p.Here(addr.Addr()) {
		return near
	}
	return far
}

// vouchesFor reports whether an answer of the server proves that a side can be reached. For the near side, any answer
// does.
func (s *server) vouchesFor(side int) bool { return s.side == far || side == near }

// answered records that a server answered.
func (p *Pool) answered(s *server, now time.Time) {
	for i := range p.sides {
		if side := &p.sides[i]; s.vouchesFor(i) {
			if side.last = now; side.moment.IsZero() {
				side.moment = now
			}
		}
	}
}

// beganFailing records that a server began to fail. That reopens the question for all failing servers: are they dead, or is
// the network down?
func (p *Pool) beganFailing(s *server) {
	side := &p.sides[s.side]
	if side.moment.After(s.began) {
		return
	}
	if side.moment = (time.Time{}); side.last.After(s.began) {
		side.moment = side.last
	}
}

// doubted reports whether another server answered since a server last failed.
func (p *Pool) doubted(s *server) bool {
	moment := p.sides[s.side].moment
	return s.failed > 0 && !moment.IsZero() && !s.missed.After(moment)
}

// prove marks servers as dead if they failed both before and after the same answer of another server, as soon as that
// holds for all failing servers. It is no proof if it holds for some only: they may have come back before the others
// went away.
func (p *Pool) prove() {
	for i, side := range p.sides {
		if side.moment.IsZero() {
			continue
		}
		var dead []*server
		all := true
		for _, s := range p.servers {
			if !s.asked || s.side != i || s.failed == 0 {
				continue
			}
			if all = s.failed >= refusals && !p.doubted(s); !all {
				break
			}
			if s.answer != guard.Refused {
				dead = append(dead, s)
			}
		}
		for _, s := range dead {
			if all {
				s.answer, p.news = guard.Refused, true
			}
		}
	}
}

// call schedules tries of some live servers if others fail and no server answered since.
func (p *Pool) call() {
	for i, side := range p.sides {
		if !side.moment.IsZero() {
			continue
		}
		failing, called := false, 0
		var alive []*server
		for _, s := range p.servers {
			failing = failing || s.asked && s.side == i && s.failed > 0
			switch {
			case !s.alive() || !s.vouchesFor(i):
			case s.soon || s.inFlight:
				called++
			default:
				alive = append(alive, s)
			}
		}
		if !failing || called >= callers {
			continue
		}
		slices.SortFunc(alive, func(a, b *server) int { return a.tried.Compare(b.tried) })
		for _, s := range alive[:min(len(alive), callers-called)] {
			s.soon = true
		}
	}
}

// pending reports whether some answer is still to come. For a failing server, the answer is whether it is dead; it
// stays pending as long as another server can vouch for the network.
func (p *Pool) pending() bool {
	var proven [2]bool
	for i, side := range p.sides {
		proven[i] = !side.moment.IsZero()
	}
	for _, s := range p.servers {
		for i := range proven {
			proven[i] = proven[i] || s.alive() && s.vouchesFor(i)
		}
	}
	for _, s := range p.servers {
		if s.asked && (!s.known || s.answer == guard.Unproven && proven[s.side]) {
			return true
		}
	}
	return false
}
