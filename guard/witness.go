package guard

import (
	"iter"
	"net/netip"

	"swallowkeeper/reason"
)

// Answer is the result of trying an address from the gateway's host.
type Answer int

// The possible results.
const (
	Untried  Answer = iota // not tried since it was requested, or still in progress
	Answered               // it accepted a connection
	Refused                // it did not, even after servers that are listed as usable had answered
	Unproven               // it did not, and neither has any other server since
)

// If the witness can't reach any server that is listed as usable, its results about the others mean nothing. So it
// tries some of those as controls: at most this many at a time, and at most mostControls in all.
const (
	controls     = 3
	mostControls = 15
)

// proven reports whether all the servers that the hold keeps are dead, as far as the witness can tell. It adds the
// findings to the hold's reason. If the registries list too little as a whole, an operator must decide.
func (s *step) proven(h *Hold) bool {
	if s.Witness == nil || len(h.Removed) == 0 {
		return false
	}
	unproven := 0
	for _, id := range h.Removed {
		s.d.Ask = append(s.d.Ask, id.Addr)
		switch s.Witness(id.Addr) {
		case Answered:
			h.Alive = append(h.Alive, id)
		case Refused:
			h.Dead = append(h.Dead, id)
		case Unproven:
			unproven++
		}
	}
	sighted := s.sighted(h.Removed)
	alive, all := len(h.Alive), len(h.Removed)
	switch {
	case alive > 0:
		h.Reason = reason.Join(h.Reason, s.answering(someAccept, someAnswer, alive, all))
		if untold := all - alive - len(h.Dead) - unproven; untold > 0 {
			h.Reason = reason.Join(h.Reason, untried.With(untold))
		}
	case len(h.Dead)+unproven < all:
	case !sighted:
		h.Reason = reason.Join(h.Reason, s.answering(noneAccepts, noneAnswers, all))
	case unproven > 0: // they are tried again
	case h.Rule == RuleMinServices:
		h.Reason = reason.Join(h.Reason, s.answering(acceptDecides, answerDecides, all))
	default:
		return true
	}
	return false
}

// answering returns the phrase for a TCP or an HTTP witness.
func (s *step) answering(tcp, http *reason.Phrase, numbers ...any) reason.Reason {
	if s.WitnessBy == WitnessHTTP {
		return http.With(append(numbers, s.WitnessPath)...)
	}
	return tcp.With(numbers...)
}

// mostAnswer reports whether more than half of the servers are alive.
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

// dead reports whether the witness found a server dead. It is used for servers that the guard keeps.
func (s *step) dead(id ServerID) bool {
	if s.Witness == nil {
		return false
	}
	s.d.Ask = append(s.d.Ask, id.Addr)
	return s.Witness(id.Addr) == Refused && s.sighted([]ServerID{id})
}

// sighted reports whether the witness can reach any server that is in traffic and listed as usable, and asks it to
// try. Servers on this machine are no evidence for those elsewhere: they answer even without a network.
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

// look tries controls until one answers or the limits are reached.
func (s *step) look(here bool) bool {
	trying, tried := 0, 0
	for addr := range s.controlCandidates() {
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

// controlCandidates yields the servers that are in traffic and listed as usable: first one of each upstream, because what
// stops one server often stops others of its kind, then the rest.
func (s *step) controlCandidates() iter.Seq[netip.AddrPort] {
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
