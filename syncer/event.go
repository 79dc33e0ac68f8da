package syncer

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Kinds of events.
const (
	EventGeneration  = "generation"        // a new set was accepted and written
	EventServerIn    = "server_in"         // a server begins to get traffic
	EventServerOut   = "server_out"        // a server no longer gets traffic
	EventHeld        = "held"              // the guard holds a change
	EventHoldEnded   = "hold_ended"        // the guard no longer holds it
	EventProven      = "proven"            // a change goes through although a rule would hold it: the witness found all its servers dead
	EventApproved    = "approved"          // an operator approved a hold
	EventFrozen      = "frozen"            // an operator froze an upstream or everything
	EventUnfrozen    = "unfrozen"          // a freeze ended
	EventRolledBack  = "rolled_back"       // an operator rolled back to an earlier generation
	EventPushed      = "pushed"            // a gateway confirmed a generation on all of its workers
	EventInSync      = "in_step"           // a gateway is in sync again
	EventOutOfSync   = "out_of_step"       // a gateway is no longer in sync
	EventStoreFailed = "store_failed"      // the conf file could not be written
	EventStored      = "stored"            // the conf file can be written again
	EventUnserved    = "no_healthy_server" // an upstream keeps its last servers although none is usable
	EventServed      = "healthy_again"     // it has a usable one again
)

// Event is something that happened. Its kind determines which fields are set.
type Event struct {
	Time       time.Time
	Kind       string
	Generation int
	Upstream   string
	Addr       string
	Gateway    string
	// Signed is who ordered it; the zero value if nobody did.
	Signed generation.Signature
	// Text describes it. Cause is the reason alone, for EventServerOut.
	Text  reason.Reason
	Cause reason.Reason
	// Written is the generation, for EventGeneration.
	Written generation.Generation
	// Timing is the timing of the change in the generation, for EventGeneration and EventPushed.
	Timing Timing
	// Added, Updated and Removed count upstreams, In and Out servers, for EventGeneration. EventProven sets Out.
	Added, Updated, Removed, In, Out int
	// Workers is the number of workers that can be told apart, for EventPushed.
	Workers int
	// Err is the cause, for EventOutOfSync and EventStoreFailed.
	Err error
}

// Timing is when a change passed each stage. Times of stages that it has not reached are zero.
type Timing struct {
	Seen    time.Time // the first pending answer of a registry arrived
	Decided time.Time // the guard's verdict
	Saved   time.Time // the conf file was in place
	Pushing time.Time // the push to the gateway began
	Posted  time.Time // its API had accepted the change; zero if it does not tell
	Pushed  time.Time // its workers had all confirmed it
}

// event emits an event.
func (s *Syncer) event(e Event) {
	if s.parts.Event == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.parts.Event(e)
}

// mostServerEvents limits the events on single servers per decision. The event of the decision counts all of them.
const mostServerEvents = 200

func (s *Syncer) serverEvents(generation int, c upstream.Changes, why reasons) {
	left := mostServerEvents
	tell := func(kind, name string, addrs []netip.AddrPort, text func(netip.AddrPort) (text, cause reason.Reason)) {
		for _, a := range addrs {
			if left--; left >= 0 {
				text, cause := text(a)
				s.event(Event{Kind: kind, Generation: generation, Upstream: name, Addr: a.String(), Text: text, Cause: cause})
			}
		}
	}
	for m := range moves(c) {
		tell(EventServerIn, m.name, m.in, func(a netip.AddrPort) (text, cause reason.Reason) { return gets.With(a, m.name), cause })
		tell(EventServerOut, m.name, m.out, func(a netip.AddrPort) (text, cause reason.Reason) {
			cause = why(m.name, a)
			return getsNone.With(a, m.name, cause), cause
		})
	}
}

// reasons returns why a server is out of its upstream.
type reasons func(name string, addr netip.AddrPort) reason.Reason

// reasonsOf looks for the reason among the current notes. A server without a note is no longer listed.
func reasonsOf(accepted upstream.Set, out upstream.Outs) reasons {
	return func(name string, addr netip.AddrPort) reason.Reason {
		if u, _ := accepted.Get(name); slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr == addr && s.Down }) {
			return MarkedDown.With()
		}
		text := addr.String()
		for o := range out.Of(name) {
			if o.Route == "" && (o.Addr == "" || o.Addr == text) {
				return o.Reason
			}
		}
		return notListed.With()
	}
}

func (s *Syncer) holdEvents(before, now []guard.Hold) {
	for _, h := range others(now, before) {
		s.event(Event{Kind: EventHeld, Upstream: h.Upstream, Text: h.Reason})
	}
	for _, h := range others(before, now) {
		if !slices.ContainsFunc(now, h.Continued) {
			s.event(Event{Kind: EventHoldEnded, Upstream: h.Upstream, Text: holdEnded.With(h.ID)})
		}
	}
}

func (s *Syncer) storeEvents(before, now error) {
	switch {
	case now != nil && (before == nil || before.Error() != now.Error()):
		s.event(Event{Kind: EventStoreFailed, Text: reason.Of(now), Err: now})
	case now == nil && before != nil:
		s.event(Event{Kind: EventStored, Text: fileWritable.With()})
	}
}

// move lists the addresses that begin and cease to get traffic in an upstream.
type move struct {
	name    string
	in, out []netip.AddrPort
}

// moves yields the effect of changes on traffic, one upstream at a time.
func moves(c upstream.Changes) iter.Seq[move] {
	return func(yield func(move) bool) {
		for _, u := range c.Added {
			if !yield(move{name: u.Name, in: serving(u)}) {
				return
			}
		}
		for _, u := range c.Updated {
			was, is := serving(u.Old), serving(u.New)
			if !yield(move{name: u.New.Name, in: without(is, was), out: without(was, is)}) {
				return
			}
		}
		for _, u := range c.Removed {
			if !yield(move{name: u.Name, out: serving(u)}) {
				return
			}
		}
	}
}

// serving returns the addresses that get traffic.
func serving(u upstream.Upstream) []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range u.Servers {
		if !s.Down {
			all = append(all, s.Addr)
		}
	}
	return all
}

func without[T comparable](all, some []T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(a T) bool { return slices.Contains(some, a) })
}
