package syncer

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Kinds of events.
const (
	EventGeneration  = "generation"        // a new set was accepted and written
	EventServerIn    = "server_in"         // a server gets traffic
	EventServerOut   = "server_out"        // a server gets none any more
	EventHeld        = "held"              // the guard holds a change
	EventHoldEnded   = "hold_ended"        // it holds it no more
	EventProven      = "proven"            // what a rule would hold goes: the witness found all of it dead
	EventApproved    = "approved"          // a person let a hold through
	EventFrozen      = "frozen"            // a person froze an upstream or everything
	EventUnfrozen    = "unfrozen"          // a freeze ended
	EventRolledBack  = "rolled_back"       // a person went back to an earlier generation
	EventPushed      = "pushed"            // a gateway confirmed a generation on all of its workers
	EventInSync      = "in_step"           // a gateway is in sync again
	EventOutOfSync   = "out_of_step"       // a gateway is no longer in sync
	EventStoreFailed = "store_failed"      // the conf file could not be written
	EventStored      = "stored"            // it could again
	EventUnserved    = "no_healthy_server" // an upstream keeps its last servers: none is usable any more
	EventServed      = "healthy_again"     // it has a usable one again
)

// Event is something that happened. Which fields are set depends on its kind.
type Event struct {
	Time       time.Time
	Kind       string
	Generation int
	Upstream   string
	Addr       string
	Gateway    string
	// Signed is whose order it came of; the zero value where it came of none.
	Signed upstream.Signature
	// Text says it in words; it may hold text from a registry.
	Text string
	// Written is the generation, for EventGeneration.
	Written upstream.Generation
	// Timing is of the change that a generation carries, for EventGeneration and EventPushed.
	Timing Timing
	// Added, Updated and Removed count upstreams, In and Out servers, for EventGeneration; EventProven has Out.
	Added, Updated, Removed, In, Out int
	// Workers counts those that can be told apart, for EventPushed.
	Workers int
	// Err is why, for EventOutOfSync and EventStoreFailed.
	Err error
}

// Timing is when a change went through the stages; those it has not reached are zero.
type Timing struct {
	Seen    time.Time // the first registry's answer that was taken
	Decided time.Time // the guard's verdict
	Saved   time.Time // the conf file was in place
	Pushing time.Time // the gateway was about to be told
	Posted  time.Time // its API had taken the change; zero where it does not tell
	Pushed  time.Time // its workers had all confirmed it
}

// event passes on what happened.
func (s *Syncer) event(e Event) {
	if s.Event == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.Event(e)
}

// mostServerEvents bounds what one decision tells of single servers; its own event counts all of them.
const mostServerEvents = 200

func (s *Syncer) serverEvents(generation int, c upstream.Changes, why reasons) {
	left := mostServerEvents
	tell := func(kind, name string, addrs []netip.AddrPort, text func(netip.AddrPort) string) {
		for _, a := range addrs {
			if left--; left >= 0 {
				s.event(Event{Kind: kind, Generation: generation, Upstream: name, Addr: a.String(), Text: text(a)})
			}
		}
	}
	for m := range moves(c) {
		tell(EventServerIn, m.name, m.in, func(a netip.AddrPort) string {
			return fmt.Sprintf("%s gets traffic of %s", a, m.name)
		})
		tell(EventServerOut, m.name, m.out, func(a netip.AddrPort) string {
			return fmt.Sprintf("%s gets no traffic any more of %s: %s", a, m.name, why(m.name, a))
		})
	}
}

// reasons says of a server that is out of its upstream why.
type reasons func(name string, addr netip.AddrPort) string

// reasonsOf finds them in what is out now. What is not there is no instance of that upstream any more.
func reasonsOf(accepted upstream.Set, out []upstream.Out) reasons {
	return func(name string, addr netip.AddrPort) string {
		if u, _ := accepted.Get(name); slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr == addr && s.Down }) {
			return "marked down: its service is deregistered"
		}
		text := addr.String()
		for _, o := range out {
			if (o.Addr == "" || o.Addr == text) && upstream.SameName(cmp.Or(o.Upstream, o.Service), name) {
				return o.Reason
			}
		}
		return "no registry lists it there any more"
	}
}

func (s *Syncer) holdEvents(before, now []guard.Hold) {
	for _, h := range others(now, before) {
		s.event(Event{Kind: EventHeld, Upstream: h.Upstream, Text: h.Reason})
	}
	for _, h := range others(before, now) {
		if !slices.ContainsFunc(now, h.Continued) {
			s.event(Event{Kind: EventHoldEnded, Upstream: h.Upstream, Text: "hold " + h.ID + " has ended"})
		}
	}
}

func (s *Syncer) storeEvents(before, now error) {
	switch {
	case now != nil && (before == nil || before.Error() != now.Error()):
		s.event(Event{Kind: EventStoreFailed, Text: now.Error(), Err: now})
	case now == nil && before != nil:
		s.event(Event{Kind: EventStored, Text: "the conf file can be written again"})
	}
}

// move is what addresses begin and cease to get traffic of one upstream.
type move struct {
	name    string
	in, out []netip.AddrPort
}

// moves yields what changes do to the traffic, an upstream at a time.
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

// serving is the addresses that get traffic.
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

// inWords names what changes, a few upstreams of each kind.
func inWords(c upstream.Changes) string {
	var parts []string
	say := func(what string, names []string) {
		const most = 3
		if n := len(names); n > most {
			names = append(names[:most], fmt.Sprintf("%d more", n-most))
		}
		if len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names, ", "))
		}
	}
	var added, updated, removed []string
	for _, u := range c.Added {
		added = append(added, u.Name)
	}
	for _, u := range c.Updated {
		updated = append(updated, u.New.Name)
	}
	for _, u := range c.Removed {
		removed = append(removed, u.Name)
	}
	say("added", added)
	say("changed", updated)
	say("removed", removed)
	return strings.Join(parts, "; ")
}
