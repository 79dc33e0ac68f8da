package guard

import (
	"fmt"
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

// controls is how many servers that nobody doubts are tried beside those that are missing: a witness that
// reaches none of them says nothing of the others.
const controls = 3

// proven reports whether none of the servers that a hold keeps is alive, as far as the witness can tell.
// What the registries list too little of as a whole is for a person to judge.
func (s *step) proven(h *Hold) bool {
	if s.Witness == nil || len(h.Removed) == 0 {
		return false
	}
	sighted := s.sighted()
	answered, refused := s.heard(h.Removed)
	for _, id := range h.Removed {
		s.d.Ask = append(s.d.Ask, id.Addr)
	}
	if answered > 0 && sighted {
		h.Reason += fmt.Sprintf("; %d of %d still accept connections", answered, len(h.Removed))
	}
	return refused == len(h.Removed) && h.Rule != RuleMinServices && sighted
}

// mostAnswer reports whether most of the servers are alive.
func (s *step) mostAnswer(ids []ServerID) bool {
	if s.Witness == nil {
		return false
	}
	answered, _ := s.heard(ids)
	return 2*answered > len(ids)
}

// dead reports whether the witness found a server dead. It is asked of what the guard keeps.
func (s *step) dead(addr netip.AddrPort) bool {
	if s.Witness == nil {
		return false
	}
	s.d.Ask = append(s.d.Ask, addr)
	return s.Witness(addr) == Refused && s.sighted()
}

func (s *step) heard(ids []ServerID) (answered, refused int) {
	for _, id := range ids {
		switch s.Witness(id.Addr) {
		case Answered:
			answered++
		case Refused:
			refused++
		}
	}
	return answered, refused
}

// sighted reports whether the witness reaches any of some servers that are in traffic and listed as usable.
// It asks for them.
func (s *step) sighted() bool {
	if s.control == nil {
		s.control = []netip.AddrPort{}
		for u := range s.Accepted.All() {
			now, _ := s.Seen.Get(u.Name)
			listed := serves(now)
			for _, srv := range u.Servers {
				if !srv.Down && listed(srv.Addr) && len(s.control) < controls {
					s.control = append(s.control, srv.Addr)
				}
			}
			if len(s.control) == controls {
				break
			}
		}
		s.d.Ask = append(s.d.Ask, s.control...)
	}
	for _, addr := range s.control {
		if s.Witness(addr) == Answered {
			return true
		}
	}
	return false
}
