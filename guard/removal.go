package guard

import (
	"fmt"
	"math"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// tooFew answers MinServices, and reports whether everything is held. What counts is what the registries
// list, not what is kept.
func (s *step) tooFew() bool {
	usable := s.Seen.Usable() - s.Frozen
	if usable >= s.MinServices {
		return false
	}
	s.hold(Hold{
		ID: identify(RuleMinServices, s.diff.Added, s.diff.Updated, s.diff.Removed), Rule: RuleMinServices,
		Reason: fmt.Sprintf("the registries list %d services with a usable server, min_services is %d: everything is held",
			usable, s.MinServices),
		Removed: gone(s.changes, everything), Of: s.in,
	}, s.changes, everything)
	all := len(s.d.Holds) > 0
	for _, c := range s.changes {
		if all {
			c.stays()
		}
	}
	return all
}

// emptied holds what comes from registries that suddenly list nothing usable while others go on: to each of
// them its own part is everything.
func (s *step) emptied() {
	if s.MinServices == 0 || len(s.Empty) == 0 {
		return
	}
	theirs := func(_ ServerID, srv upstream.Server) bool {
		for _, registry := range s.Empty {
			if srv.From(registry) {
				return true
			}
		}
		return false
	}
	ids := gone(s.changes, theirs)
	if len(ids) == 0 {
		return
	}
	s.hold(Hold{
		ID: identify(RuleMinServices, s.Empty), Rule: RuleMinServices,
		Reason: fmt.Sprintf("%s lists no service with a usable server any more: the %d servers from there are held",
			strings.Join(s.Empty, " and "), len(ids)),
		Removed: ids, Of: s.in,
	}, s.changes, theirs)
}

// tooMany answers MaxRemoval and MaxRemovalWindow, over all upstreams together.
func (s *step) tooMany() {
	s.limit(s.changes, s.overLimit)
}

// tooManyOfOne answers MaxServiceRemoval for each upstream by itself. It judges an upstream that stays: a
// service that is deregistered whole is work more often than an accident, and counts for the rules over all.
func (s *step) tooManyOfOne() {
	for _, c := range s.changes {
		if !c.whole() {
			s.limit([]*change{c}, func(ids []ServerID, pick picker) (Hold, bool) { return s.overLimitOf(c, ids, pick) })
		}
	}
}

// limit holds what would go by some changes where that is over a limit. What has been missing for the recovery
// goes before the rest, where it is within the limit by itself: what flaps does not keep it.
func (s *step) limit(changes []*change, over func([]ServerID, picker) (Hold, bool)) {
	held := func(pick picker) (Hold, bool) {
		ids := gone(changes, pick)
		if len(ids) == 0 {
			return Hold{}, false
		}
		return over(ids, pick)
	}
	h, is := held(everything)
	if !is {
		return
	}
	settled := func(id ServerID, _ upstream.Server) bool {
		_, missing := s.h.missing[id]
		return missing && !s.unsettled([]ServerID{id})
	}
	pick := picker(everything)
	if _, is := held(settled); !is {
		pick = func(id ServerID, srv upstream.Server) bool { return !settled(id, srv) }
	}
	h.Removed = gone(changes, pick)
	h.ID = identify(h.Rule, h.Removed)
	s.hold(h, changes, pick)
}

// overLimit reports whether too much would go of everything, and the hold on that.
func (s *step) overLimit(ids []ServerID, pick picker) (Hold, bool) {
	l := s.lossOfAll(pick)
	switch {
	case s.Now.Before(s.h.spent):
		s.wake(s.h.spent)
		return Hold{
			Rule: RuleMaxRemovalWindow, Of: s.in,
			Reason: "what the conf file's header says of removals can't be read: removals are held until " +
				s.h.spent.UTC().Format(time.RFC3339),
		}, true
	case s.tooMuch(l, ids, s.MaxRemoval):
		of := max(l.start, len(ids)) // of what came during the hold, too, all may go
		return Hold{
			Rule: RuleMaxRemoval, Of: of,
			Reason: fmt.Sprintf("%d of %d servers would go, max_removal allows %s: removals are held",
				len(ids), of, percent(s.MaxRemoval)),
		}, true
	case l.beyond(s.MaxRemovalWindow):
		of := max(l.peak, l.is, len(ids))
		return Hold{
			Rule: RuleMaxRemovalWindow, Of: of,
			Reason: fmt.Sprintf("%d of %d servers would be gone within %s, max_removal_window allows %s: removals are held",
				l.is, of, setting.FormatDuration(s.Window), percent(s.MaxRemovalWindow)),
		}, true
	}
	return Hold{}, false
}

// overLimitOf is overLimit of one upstream by itself.
func (s *step) overLimitOf(c *change, ids []ServerID, pick picker) (Hold, bool) {
	l := s.lossOf(c, pick)
	switch {
	case s.tooMuch(l, ids, s.MaxServiceRemoval):
		of := max(l.start, len(ids))
		return Hold{
			Rule: RuleMaxServiceRemoval, Upstream: c.name(), Of: of,
			Reason: fmt.Sprintf("%d of %d servers of %s would go, max_service_removal allows %s: its removals are held",
				len(ids), of, c.name(), percent(s.MaxServiceRemoval)),
		}, true
	case l.beyond(s.MaxServiceRemoval):
		of := max(l.peak, l.is, len(ids))
		return Hold{
			Rule: RuleMaxServiceRemoval, Upstream: c.name(), Of: of,
			Reason: fmt.Sprintf("%d of %d servers of %s would be gone within %s, max_service_removal allows %s: its removals are held",
				l.is, of, c.name(), setting.FormatDuration(s.Window), percent(s.MaxServiceRemoval)),
		}, true
	}
	return Hold{}, false
}

// tooMuch reports whether one step takes away more than the share that is allowed. What is replaced counts,
// too, until nothing has come back for the recovery: then only what is lost does.
func (s *step) tooMuch(l loss, ids []ServerID, share float64) bool {
	if l.start < smallest || !over(len(ids), share, l.start) {
		return false
	}
	return over(l.is, share, l.start) || s.unsettled(ids) || s.mostAnswer(ids)
}

func percent(share float64) string { return fmt.Sprintf("%d%%", int(math.Round(share*100))) }
