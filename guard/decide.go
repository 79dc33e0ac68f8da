package guard

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// step is one decision on its way: what is wanted of what is seen, what of that is held, and what the next
// decision must know.
type step struct {
	Config
	Input
	h        History
	in       int                                      // servers in traffic
	unusable map[upstream.Key]map[netip.AddrPort]bool // what is registered and not usable
	wanted   upstream.Set
	diff     upstream.Changes
	changes  []*change // in order of their keys
	moves    map[ServerID]ServerID
	barred   map[ServerID]bool // newcomers that a limit keeps out
	services map[upstream.Key]*lately
	sight    map[bool]bool // what sighted found, of what is on this machine and of the rest
	again    time.Time     // zero: never
	d        Decision
}

// change is what a step would do to one upstream.
type change struct {
	old, next upstream.Upstream
	arrivals  []upstream.Server // not in traffic, and wanted; what is kept out leaves the list
	gone      []upstream.Server // in traffic, and not wanted any more; what is held or released leaves the list
	kept      []upstream.Server // of what was gone, what stays because of a hold
	in, out   int               // servers in traffic, and how many of them are not wanted
	came      int               // arrivals that may take the place of what is gone
}

func (c *change) name() string { return cmp.Or(c.old.Name, c.next.Name) }

// whole says that the upstream itself would go: its service is deregistered, or nothing of it may stay.
func (c *change) whole() bool { return c.next.Name == "" }

// stays says that the upstream stays as it is, and what would go of it with it.
func (c *change) stays() { c.arrivals, c.gone, c.out = nil, nil, len(c.kept) }

// Decide judges what the registries list against what is written. The same input gets the same decision,
// also after what it accepted has been written.
//
// The cases below run as they stand, with the defaults. Each number is a server, and one with a ! is registered
// and unhealthy. The first line of a case is what is written; each further one is what is seen when, what of it is
// accepted then, and what is held by which rule.
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
	for barred := 0; len(s.barred) > barred; { // what was let go for newcomers that stay out is judged without them
		barred = len(s.barred)
		s = c.judge(in, s.barred)
	}
	return s.d
}

// judge decides where those who are barred stay out, and take nobody's place.
func (c Config) judge(in Input, barred map[ServerID]bool) *step {
	s := &step{Config: c, Input: in, h: in.History.clone(), in: in.Accepted.Servers(), barred: cloned(barred)}
	s.doubt()
	s.readUnusable()
	s.wanted = s.damped(s.Seen)
	s.wanted = s.keptUnhealthy(s.wanted)
	s.compare()
	next, all := s.Accepted, s.tooFew()
	if !all {
		s.emptied()
		s.tooMany()
		s.tooManyOfOne()
		s.recovering()
		next = s.limited(s.restored())
	}
	accepted := next
	if !all {
		accepted = s.withoutRemoved(next)
	}
	s.d.Accepted = accepted.Loadable()
	s.d.Out = s.explained(all, next)
	s.remember()
	s.d.History = s.h
	slices.SortFunc(s.d.Ask, netip.AddrPort.Compare)
	s.d.Ask = slices.Compact(s.d.Ask)
	if !s.again.IsZero() {
		s.d.Again = max(s.again.Sub(s.Now), time.Millisecond)
	}
	return s
}

// compare finds what is wanted otherwise than it is written.
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

// compare finds which servers of an upstream come and which go.
func (c *change) compare() {
	moved := false
	leave := func(srv upstream.Server) {
		if c.out++; c.next.Moved(srv) {
			moved = true // its host name has other addresses now: nothing is lost, and those take nobody's place
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

// Gone lists the servers that get traffic of one set and none of another, in order, but those that have moved.
func Gone(before, after upstream.Set) []ServerID {
	s := &step{Input: Input{Accepted: before}, wanted: after}
	s.compare()
	return gone(s.changes, everything)
}

// change finds what the step does to an upstream, nil where it leaves it alone.
func (s *step) change(name string) *change {
	i, found := slices.BinarySearchFunc(s.changes, name, func(c *change, name string) int { return upstream.CompareNames(c.name(), name) })
	if !found {
		return nil
	}
	return s.changes[i]
}

// servers is how many servers get traffic after the step.
func (s *step) servers() int {
	n := s.in
	for _, c := range s.changes {
		n += len(c.arrivals) + len(c.kept) - c.out
	}
	return n
}

// moving names the servers that an upstream would get from another one, where both go on: a swap gives
// nobody anything back.
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

// picker picks some of the servers that would go.
type picker func(ServerID, upstream.Server) bool

// gone lists what pick picks of the servers that would go by some changes, in order.
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

// hold holds what pick picks of what would go by some changes, unless the hold is released.
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
			case by != "": // it goes, and is no loss
				delete(s.h.spare, ServerID{c.name(), srv.Addr})
				s.services = nil
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

// releasedBy says how a hold ends although its rule would go on, or returns "".
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

// wake asks for a decision at that time.
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

// serves tells which addresses get traffic of an upstream.
func serves(u upstream.Upstream) func(netip.AddrPort) bool {
	return func(addr netip.AddrPort) bool {
		i, found := slices.BinarySearchFunc(u.Servers, addr, func(s upstream.Server, a netip.AddrPort) int { return s.Addr.Compare(a) })
		return found && !u.Servers[i].Down
	}
}
