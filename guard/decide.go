package guard

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// step is a decision in progress: what is wanted of what is seen, what of that is held, and what the next decision
// must remember.
type step struct {
	Config
	Input
	h        History
	in       int                                      // servers in traffic
	sick     map[upstream.Key]map[netip.AddrPort]bool // cache of unusable
	wanted   upstream.Set
	diff     upstream.Changes
	changes  []*change // in order of their keys
	moves    map[ServerID]ServerID
	barred   map[ServerID]bool        // newcomers that a limit keeps out
	services map[upstream.Key]*recent // cache of window
	sight    map[bool]bool            // cache of sighted: for servers on this machine, and for the others
	all      bool                     // everything is held
	released map[RouteID]bool         // routes that go although a rule would hold them
	unrouted map[RouteID]time.Time    // held routes, and since when they have been missing
	again    time.Time                // the zero time means never
	d        Decision
}

// change is the effect of a step on one upstream.
type change struct {
	old, next upstream.Upstream
	arrivals  []upstream.Server // wanted but not yet in traffic, without those that are kept out
	gone      []upstream.Server // in traffic but no longer wanted, without those that are held or released
	kept      []upstream.Server // of gone, the servers that a hold keeps
	in, out   int               // servers in traffic, and how many of them are not wanted
	came      int               // arrivals that can replace what is gone
}

func (c *change) name() string { return cmp.Or(c.old.Name, c.next.Name) }

// whole reports whether the upstream itself would be removed: its service is deregistered, or nothing of it may stay.
func (c *change) whole() bool { return c.next.Name == "" }

// stays cancels the change, so that the upstream stays as it is.
func (c *change) stays() { c.arrivals, c.gone, c.out = nil, nil, len(c.kept) }

// Decide judges what the registries list against what is written. The same input gives the same decision, even after
// the accepted set has been written.
//
// The cases below are run as a test, with the defaults. Each number is a server, and one with a ! is registered and
// unhealthy. The first line of a case is what is written. Each further line has the time, what is seen, what of it is
// then accepted, and what is held by which rule.
//
//	Half of four servers may go at once, and three may not
//	0s     a: 1 2 3 4
//	1s     a: 1 2                     a: 1 2
//	2s     a: 1                       a: 1 2                     max_removal_window: a 2
//
//	What is new goes through beside what is held
//	0s     a: 1 2 3 4
//	1s     a: 4 5                     a: 1 2 3 4 5               max_removal: a 1 2 3
//
//	One server after the other: half of those within the window
//	0s     a: 1 2 3 4 5 6 7 8
//	1s     a: 2 3 4 5 6 7 8           a: 2 3 4 5 6 7 8
//	2s     a: 3 4 5 6 7 8             a: 3 4 5 6 7 8
//	3s     a: 4 5 6 7 8               a: 4 5 6 7 8
//	4s     a: 5 6 7 8                 a: 5 6 7 8
//	5s     a: 6 7 8                   a: 5 6 7 8                 max_removal_window: a 5
//	1h     a: 6 7 8                   a: 5 6 7 8                 max_removal_window: a 5
//
//	A rolling deploy replaces all of them, and nothing is held
//	0s     a: 1 2 3 4
//	1s     a: 2 3 4                   a: 2 3 4
//	2s     a: 2 3 4 11                a: 2 3 4 11
//	3s     a: 4 11                    a: 4 11
//	4s     a: 4 11 12 13              a: 4 11 12 13
//	5s     a: 11 12 13                a: 11 12 13
//	6s     a: 11 12 13 14             a: 11 12 13 14
//
//	All replaced in one step: the old ones stay until the recovery is over
//	0s     a: 1 2 3 4, b: 5 6 7 8 9
//	1s     a: 11 12 13 14, b: 5 6 7 8 9   a: 1 2 3 4 11 12 13 14, b: 5 6 7 8 9   max_service_removal: a 1 2 3 4
//	4m     a: 11 12 13 14, b: 5 6 7 8 9   a: 11 12 13 14, b: 5 6 7 8 9
//
//	A service of many loses most of its servers
//	0s     a: 1 2 3 4 5, b: 6 7 8 9 10 11 12
//	1s     a: 1, b: 6 7 8 9 10 11 12      a: 1 2 3 4 5, b: 6 7 8 9 10 11 12      max_service_removal: a 2 3 4 5
//	1h     a: 1, b: 6 7 8 9 10 11 12      a: 1 2 3 4 5, b: 6 7 8 9 10 11 12      max_service_removal: a 2 3 4 5
//
//	A service that is deregistered whole is gone
//	0s     a: 1 2 3 4 5, b: 6 7 8 9 10 11 12
//	1s     b: 6 7 8 9 10 11 12            b: 6 7 8 9 10 11 12
//
//	In pieces it is gone when nothing of it has come back for the recovery
//	0s     a: 1 2 3 4 5, b: 6 7 8 9 10 11 12
//	1s     a: 5, b: 6 7 8 9 10 11 12      a: 1 2 3 4 5, b: 6 7 8 9 10 11 12      max_service_removal: a 1 2 3 4
//	2s     b: 6 7 8 9 10 11 12            a: 1 2 3 4, b: 6 7 8 9 10 11 12        recovery: a 1 2 3 4
//	4m     b: 6 7 8 9 10 11 12            b: 6 7 8 9 10 11 12
//
//	One service after the other
//	0s     a: 1 2 3, b: 4 5 6, c: 7 8 9, d: 10
//	1s     b: 4 5 6, c: 7 8 9, d: 10      b: 4 5 6, c: 7 8 9, d: 10
//	2s     c: 7 8 9, d: 10                b: 4 5 6, c: 7 8 9, d: 10              max_removal_window: b 4 5 6
//
//	None is usable: all stay
//	0s     a: 1 2, b: 3
//	1s     a: !1 !2, b: 3             a: 1 2, b: 3
//
//	Fewer and fewer are usable: when most are not, all that were usable stay
//	0s     a: 1 2 3 4 5, b: 6 7 8 9
//	1s     a: !1 2 3 4 5, b: 6 7 8 9      a: 2 3 4 5, b: 6 7 8 9
//	2s     a: !1 !2 3 4 5, b: 6 7 8 9     a: 3 4 5, b: 6 7 8 9
//	3s     a: !1 !2 !3 4 5, b: 6 7 8 9    a: 1 2 3 4 5, b: 6 7 8 9
//	4s     a: !1 !2 !3 !4 5, b: 6 7 8 9   a: 1 2 3 4 5, b: 6 7 8 9
//	5s     a: 1 2 3 !4 5, b: 6 7 8 9      a: 1 2 3 5, b: 6 7 8 9
//
//	A registry that lost everything gets it back in pieces
//	0s     a: 1 2 3 4, b: 5 6 7 8
//	1s     -                              a: 1 2 3 4, b: 5 6 7 8                 min_services: a 1 2 3 4, b 5 6 7 8
//	2s     a: 1 2 3                       a: 1 2 3 4, b: 5 6 7 8                 max_removal: a 4, b 5 6 7 8
//	3s     a: 1 2 3, b: 5 6               a: 1 2 3 4, b: 5 6 7 8                 recovery: a 4, b 7 8
//	3m     a: 1 2 3, b: 5 6 7             a: 1 2 3 4, b: 5 6 7 8                 recovery: a 4, b 8
//	5m59s  a: 1 2 3, b: 5 6 7             a: 1 2 3 4, b: 5 6 7 8                 recovery: a 4, b 8
//	6m     a: 1 2 3, b: 5 6 7             a: 1 2 3, b: 5 6 7
//
//	Two services swap their servers: nobody gets another one's
//	0s     a: 1 2 3 4, b: 5 6 7 8
//	1s     a: 5 6 7 8, b: 1 2 3 4         a: 1 2 3 4, b: 5 6 7 8                 max_removal: a 1 2 3 4, b 5 6 7 8
//	1h     a: 5 6 7 8, b: 1 2 3 4         a: 1 2 3 4, b: 5 6 7 8                 max_removal: a 1 2 3 4, b 5 6 7 8
//
//	A route to most servers goes: it stays until a person decides
//	0s     a: 1 2 3 /a, b: 4 5 /b
//	1s     a: 1 2 3, b: 4 5 /b        a: 1 2 3 /a, b: 4 5 /b     max_removal: a /a
//	1h     a: 1 2 3, b: 4 5 /b        a: 1 2 3 /a, b: 4 5 /b     max_removal: a /a
//	2h     a: 1 2 3 /a, b: 4 5 /b     a: 1 2 3 /a, b: 4 5 /b
//
//	A route to a few servers goes
//	0s     a: 1 2 3 /a, b: 4 5 /b
//	1s     a: 1 2 3 /a, b: 4 5        a: 1 2 3 /a, b: 4 5
//
//	A route moves to another service: it counts like all servers of the one that it leaves
//	0s     a: 1 2 3 /x, b: 4 5
//	1s     a: 1 2 3, b: 4 5 /x        a: 1 2 3 /x, b: 4 5        max_removal: a /x
//
//	Routes of the registry that are lost all at once stay, and what is new goes through beside them
//	0s     a: 1 2 /a, b: 3 4 /b
//	1s     a: 1 2, b: 3 4, c: 5 /c    a: 1 2 /a, b: 3 4 /b, c: 5 /c   max_removal: a /a, b /b
//
//	Another route in the place of one: it goes when that is so for the recovery
//	0s     a: 1 2 3 4 /a
//	1s     a: 1 2 3 4 /b              a: 1 2 3 4 /a /b           max_removal: a /a
//	4m     a: 1 2 3 4 /b              a: 1 2 3 4 /b
//
//	One route after the other: those to half of the servers within the window
//	0s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	1s     a: 1 2, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   a: 1 2, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	2s     a: 1 2, b: 3 4, c: 5 6 /c, d: 7 8 /d      a: 1 2, b: 3 4, c: 5 6 /c, d: 7 8 /d
//	3s     a: 1 2, b: 3 4, c: 5 6, d: 7 8 /d         a: 1 2, b: 3 4, c: 5 6 /c, d: 7 8 /d   max_removal_window: c /c
//	4s     a: 1 2, b: 3 4, c: 5 6, d: 7 8            a: 1 2, b: 3 4, c: 5 6 /c, d: 7 8 /d   max_removal_window: c /c, d /d
//	1h     a: 1 2, b: 3 4, c: 5 6, d: 7 8            a: 1 2, b: 3 4, c: 5 6 /c, d: 7 8 /d   max_removal_window: c /c, d /d
//	2h     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//
//	Servers that are lost and routes that are count together
//	0s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	1s     b: 3 4 /b, c: 5 6 /c, d: 7 8 /d           b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	2s     b: 3 4, c: 5 6 /c, d: 7 8 /d              b: 3 4, c: 5 6 /c, d: 7 8 /d
//	3s     b: 3 4, c: 5 6, d: 7 8 /d                 b: 3 4, c: 5 6 /c, d: 7 8 /d           max_removal_window: c /c
//
//	One that is given back, or another in its place, is no loss
//	0s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	1s     a: 1 2, b: 3 4 /y, c: 5 6 /c, d: 7 8 /d   a: 1 2, b: 3 4 /y, c: 5 6 /c, d: 7 8 /d
//	2s     a: 1 2 /a, b: 3 4 /y, c: 5 6, d: 7 8 /d   a: 1 2 /a, b: 3 4 /y, c: 5 6, d: 7 8 /d
//	3s     a: 1 2 /a, b: 3 4 /y, c: 5 6 /z, d: 7 8   a: 1 2 /a, b: 3 4 /y, c: 5 6 /z, d: 7 8
//	4s     a: 1 2 /a, b: 3 4, c: 5 6 /z, d: 7 8      a: 1 2 /a, b: 3 4, c: 5 6 /z, d: 7 8
//	5s     a: 1 2, b: 3 4, c: 5 6 /z, d: 7 8         a: 1 2 /a, b: 3 4, c: 5 6 /z, d: 7 8   max_removal_window: a /a
//
//	Everything is lost, and the routes come back after the servers
//	0s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	1s     -                                         a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   min_services: a 1 2, b 3 4, c 5 6, d 7 8
//	2s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   recovery: d /d
//	3s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	4s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8
//
//	Other routes in their place, one service after the other, the new ones first: nothing is held
//	0s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c
//	1s     a: 1 2 /a /x, b: 3 4 /b, c: 5 6 /c        a: 1 2 /a /x, b: 3 4 /b, c: 5 6 /c
//	2s     a: 1 2 /x, b: 3 4 /b /y, c: 5 6 /c        a: 1 2 /x, b: 3 4 /b /y, c: 5 6 /c
//	3s     a: 1 2 /x, b: 3 4 /y, c: 5 6 /c /z        a: 1 2 /x, b: 3 4 /y, c: 5 6 /c /z
//	4s     a: 1 2 /x, b: 3 4 /y, c: 5 6 /z           a: 1 2 /x, b: 3 4 /y, c: 5 6 /z
//
//	All routes are lost, and come back in pieces: what is missing goes when none has come back for the recovery
//	0s     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d
//	1s     a: 1 2, b: 3 4, c: 5 6, d: 7 8            a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   max_removal: a /a, b /b, c /c, d /d
//	2s     a: 1 2 /a, b: 3 4 /b, c: 5 6, d: 7 8      a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   recovery: c /c, d /d
//	1m     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   recovery: d /d
//	3m59s  a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8 /d   recovery: d /d
//	4m     a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8   a: 1 2 /a, b: 3 4 /b, c: 5 6 /c, d: 7 8
//
//	What a person takes out of the configuration, or gives to another service, goes
//	0s     a: 1 2 3 4 =/a /x, b: 5
//	1s     a: 1 2 3 4 /x, b: 5        a: 1 2 3 4 /x, b: 5
//	2s     a: 1 2 3 4, b: 5 =/x       a: 1 2 3 4, b: 5 =/x
//
//	A service without a usable instance keeps its routes, too
//	0s     a: 1 2 /a, b: 3 4 5 /b
//	1s     a: !1 !2, b: 3 4 5 /b      a: 1 2 /a, b: 3 4 5 /b
//
//	A server that leaves for the fourth time stays out for a while, but never the last one
//	0s     a: 1 2
//	1s     a: 2                       a: 2
//	2s     a: 1 2                     a: 1 2
//	3s     a: 2                       a: 2
//	4s     a: 1 2                     a: 1 2
//	5s     a: 2                       a: 2
//	6s     a: 1 2                     a: 1 2
//	7s     a: 2                       a: 2
//	8s     a: 1 2                     a: 2
//	9s     a: 1 !2                    a: 1
//	10s    a: 1 2                     a: 1 2
//	40s    a: 1 2                     a: 1 2
func (c Config) Decide(in Input) Decision {
	s := c.judge(in, nil)
	for barred := 0; len(s.barred) > barred; { // judge again without the newcomers that are kept out
		barred = len(s.barred)
		s = c.judge(in, s.barred)
	}
	return s.d
}

// judge decides with the barred newcomers kept out. They replace nobody.
func (c Config) judge(in Input, barred map[ServerID]bool) *step {
	s := &step{
		Config: c, Input: in, h: in.History.clone(), in: in.Accepted.Servers(), barred: cloned(barred),
		sick: map[upstream.Key]map[netip.AddrPort]bool{}, services: map[upstream.Key]*recent{},
		released: map[RouteID]bool{}, unrouted: map[RouteID]time.Time{},
	}
	s.doubt()
	s.Seen = s.sound()
	s.wanted = s.damped(s.Seen)
	s.wanted = s.keptUnhealthy(s.wanted)
	s.compare()
	next, all := s.Accepted, s.tooFew()
	if s.all = all; !all {
		s.emptied()
		s.tooMany()
		s.tooManyOfOne()
		s.recovering()
		next = s.routed(s.limited(s.restored()))
	}
	accepted := next
	if !all {
		accepted = s.withoutRemoved(next)
	}
	s.d.Accepted = accepted
	s.d.Out = s.explained(all, next)
	s.remember()
	s.h.settle()
	s.d.History = s.h
	slices.SortFunc(s.d.Ask, netip.AddrPort.Compare)
	s.d.Ask = slices.Compact(s.d.Ask)
	if !s.again.IsZero() {
		s.d.Again = max(s.again.Sub(s.Now), time.Millisecond)
	}
	return s
}

// compare finds the differences between what is written and what is wanted.
func (s *step) compare() {
	s.diff = upstream.Diff(s.Accepted, s.wanted)
	all := make([]change, 0, len(s.diff.Added)+len(s.diff.Updated)+len(s.diff.Removed))
	for _, u := range s.diff.Added {
		all = append(all, change{next: u})
	}
	for _, u := range s.diff.Updated {
		all = append(all, change{old: u.Old, next: u.New})
	}
	for _, u := range s.diff.Removed {
		all = append(all, change{old: u})
	}
	s.changes = make([]*change, len(all))
	for i := range all {
		all[i].compare()
		s.changes[i] = &all[i]
	}
	slices.SortFunc(s.changes, func(a, b *change) int { return upstream.CompareNames(a.name(), b.name()) })
	s.moves = s.moving()
	for to := range s.moves {
		s.change(to.Upstream).came--
	}
	for id := range s.barred {
		if c := s.change(id.Upstream); c != nil && c.came > 0 && s.moves[id] == (ServerID{}) {
			c.came--
		}
	}
}

// compare finds which servers of the upstream come and which go.
func (c *change) compare() {
	moved := false
	leave := func(srv upstream.Server) {
		if c.out++; c.next.Moved(srv) {
			moved = true // its host name now has other addresses: nothing is lost, and the new ones replace nobody
		} else {
			c.gone = append(c.gone, srv)
		}
	}
	is, will := c.old.Servers, c.next.Servers
	for len(is)+len(will) > 0 {
		var order int
		switch {
		case len(is) == 0:
			order = 1
		case len(will) == 0:
			order = -1
		default:
			order = is[0].Addr.Compare(will[0].Addr)
		}
		before, after := order <= 0 && !is[0].Down, order >= 0 && !will[0].Down
		if before {
			c.in++
		}
		switch {
		case before && !after:
			leave(is[0])
		case after && !before:
			c.arrivals = append(c.arrivals, will[0])
		}
		if order <= 0 {
			is = is[1:]
		}
		if order >= 0 {
			will = will[1:]
		}
	}
	if c.old.Name != "" && !moved {
		c.came = len(c.arrivals)
	}
}

// Gone lists the servers that get traffic in before but not in after, in order. Servers that have moved are left out.
func Gone(before, after upstream.Set) []ServerID {
	s := &step{Input: Input{Accepted: before}, wanted: after}
	s.compare()
	return gone(s.changes, everything)
}

// change returns the change to the named upstream, or nil.
func (s *step) change(name string) *change {
	i, found := slices.BinarySearchFunc(s.changes, name, func(c *change, name string) int { return upstream.CompareNames(c.name(), name) })
	if !found {
		return nil
	}
	return s.changes[i]
}

// servers returns the number of servers in traffic after the step.
func (s *step) servers() int {
	n := s.in
	for _, c := range s.changes {
		n += len(c.arrivals) + len(c.kept) - c.out
	}
	return n
}

// moving maps each server that moves between two remaining upstreams from its new ID to its old one. If two services
// swap servers, neither gets anything back.
func (s *step) moving() map[ServerID]ServerID {
	from := map[netip.AddrPort]string{}
	for _, c := range s.changes {
		if !c.whole() {
			for _, srv := range c.gone {
				from[srv.Addr] = c.name()
			}
		}
	}
	if len(from) == 0 {
		return nil
	}
	all := map[ServerID]ServerID{}
	for _, c := range s.changes {
		if c.old.Name == "" {
			continue
		}
		for _, srv := range c.arrivals {
			if name, moves := from[srv.Addr]; moves && name != c.name() {
				all[ServerID{c.name(), srv.Addr}] = ServerID{name, srv.Addr}
			}
		}
	}
	return all
}

// picker selects some of the servers that would go.
type picker func(ServerID, upstream.Server) bool

// gone returns the selected servers that the changes would remove, in order.
func gone(changes []*change, pick picker) []ServerID {
	var all []ServerID
	for _, c := range changes {
		for _, srv := range c.gone {
			if id := (ServerID{c.name(), srv.Addr}); pick(id, srv) {
				all = append(all, id)
			}
		}
	}
	return all
}

func everything(ServerID, upstream.Server) bool { return true }

// hold holds the selected servers of the changes, unless the hold is released.
func (s *step) hold(h Hold, changes []*change, pick picker) {
	h.Since = s.Now
	if since, known := s.h.holds[h.ID]; known {
		h.Since = since
	}
	by := s.releasedBy(&h)
	for _, c := range changes {
		var left []upstream.Server
		for _, srv := range c.gone {
			switch {
			case !pick(ServerID{c.name(), srv.Addr}, srv):
				left = append(left, srv)
			case by != "": // it goes, and does not count as a loss
				s.h.spare.drop(ServerID{c.name(), srv.Addr})
				delete(s.services, upstream.KeyOf(c.name()))
			default:
				c.kept = append(c.kept, srv)
			}
		}
		c.gone = left
	}
	if by != "" {
		s.d.Released = append(s.d.Released, Release{h, by})
		return
	}
	s.d.Holds = append(s.d.Holds, h)
}

// releasedBy returns how a hold ends although its rule still applies, or "".
func (s *step) releasedBy(h *Hold) string {
	if h.ID == s.Approved {
		return ByApproval
	}
	if s.HoldFor > 0 {
		if end := h.Since.Add(s.HoldFor); s.Now.Before(end) {
			s.wake(end)
		} else {
			return ByTime
		}
	}
	if s.proven(h) {
		return ByProof
	}
	return ""
}

// wake requests a decision at the given time.
func (s *step) wake(at time.Time) {
	if at.After(s.Now) && (s.again.IsZero() || at.Before(s.again)) {
		s.again = at
	}
}

func serving(u upstream.Upstream) int {
	n := 0
	for _, srv := range u.Servers {
		if !srv.Down {
			n++
		}
	}
	return n
}

// serves returns a function that reports whether an address gets traffic in the upstream.
func serves(u upstream.Upstream) func(netip.AddrPort) bool {
	return func(addr netip.AddrPort) bool {
		i, found := slices.BinarySearchFunc(u.Servers, addr, func(s upstream.Server, a netip.AddrPort) int { return s.Addr.Compare(a) })
		return found && !u.Servers[i].Down
	}
}
