package guard

import (
	"fmt"
	"iter"
	"net/netip"
)

// Answer is what an address did when it was tried from the gateway's host.
type Answer int

// What an address may do.
const (
	Untried  Answer = iota // nobody tried it since it was asked for, or the try is not over
	Answered               // it accepted a connection
	Refused                // it did not
)

// A witness that reaches none of the servers that nobody doubts says nothing of the others. So some of those are
// controls: at most this many are on trial at a time, and no more than mostControls after one another.
const (
	controls     = 3
	mostControls = 15
)

// proven reports whether none of the servers that a hold keeps is alive, as far as the witness can tell. The
// hold says what was found. What the registries list too little of as a whole is for a person to judge.
func (s *step) proven(h *Hold) bool {
	if s.Witness == nil || len(h.Removed) == 0 {
		return false
	}
	for _, id := range h.Removed {
		s.d.Ask = append(s.d.Ask, id.Addr)
		switch s.Witness(id.Addr) {
		case Answered:
			h.Alive = append(h.Alive, id)
		case Refused:
			h.Dead = append(h.Dead, id)
		}
	}
	sighted := s.sighted(h.Removed)
	alive, all := len(h.Alive), len(h.Removed)
	switch {
	case alive > 0:
		h.Reason += fmt.Sprintf("; %d of %d still %s", alive, all, s.answering("accept connections", "answer"))
		if untold := all - alive - len(h.Dead); untold > 0 {
			h.Reason += fmt.Sprintf("; %d could not be tried", untold)
		}
	case len(h.Dead) < all:
	case !sighted:
		h.Reason += fmt.Sprintf("; none of the %d %s, and neither do servers that are listed: that proves nothing",
			all, s.answering("accepts connections", "answers"))
	case h.Rule == RuleMinServices:
		h.Reason += fmt.Sprintf("; none of the %d %s: a person decides", all, s.answering("accepts connections", "answers"))
	default:
		return true
	}
	return false
}

// answering says what servers do that are alive: in words for a connection alone, or for an answer by HTTP.
func (s *step) answering(tcp, http string) string {
	if s.WitnessBy == WitnessHTTP {
		return http + " " + s.WitnessPath
	}
	return tcp
}

// mostAnswer reports whether most of the servers are alive.
func (s *step) mostAnswer(ids []ServerID) bool {
	if s.Witness == nil {
		return false
	}
	answered := 0
	for _, id := range ids {
		if s.Witness(id.Addr) == Answered {
			answered++
		}
	}
	return 2*answered > len(ids)
}

// dead reports whether the witness found a server dead. It is asked of what the guard keeps.
func (s *step) dead(id ServerID) bool {
	if s.Witness == nil {
		return false
	}
	s.d.Ask = append(s.d.Ask, id.Addr)
	return s.Witness(id.Addr) == Refused && s.sighted([]ServerID{id})
}

// sighted reports whether the witness reaches any of some servers that are in traffic and listed as usable. It
// asks for them. Those of this machine tell only of others of this machine: they answer without a network, too.
func (s *step) sighted(of []ServerID) bool {
	here := true
	for _, id := range of {
		here = here && s.here(id.Addr)
	}
	if known, is := s.sight[here]; is {
		return known
	}
	if s.sight == nil {
		s.sight = map[bool]bool{}
	}
	s.sight[here] = s.look(here)
	return s.sight[here]
}

// look tries controls until one answers, or enough are on trial.
func (s *step) look(here bool) bool {
	trying, tried := 0, 0
	for addr := range s.undoubted() {
		if !here && s.here(addr) {
			continue
		}
		s.d.Ask = append(s.d.Ask, addr)
		switch s.Witness(addr) {
		case Answered:
			return true
		case Untried:
			trying++
		}
		if tried++; trying == controls || tried == mostControls {
			return false
		}
	}
	return false
}

// undoubted yields the servers that are in traffic and listed as usable: first one of each upstream, as what
// keeps one from answering keeps its like, then the others.
func (s *step) undoubted() iter.Seq[netip.AddrPort] {
	return func(yield func(netip.AddrPort) bool) {
		for round := range 2 {
			for u := range s.Accepted.All() {
				now, _ := s.Seen.Get(u.Name)
				listed, n := serves(now), 0
				for _, srv := range u.Servers {
					if srv.Down || !listed(srv.Addr) {
						continue
					}
					n++
					if first := n == 1; first == (round == 0) && !yield(srv.Addr) {
						return
					}
				}
			}
		}
	}
}

func (s *step) here(addr netip.AddrPort) bool { return s.Here != nil && s.Here(addr.Addr()) }
