package guard

import (
	"fmt"
	"math"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// tooFew applies MinServices, and reports whether everything is held. It counts what the registries list, not what is
// kept.
func (s *step) tooFew() bool {
	usable := s.Seen.Usable() - s.Frozen
	if usable >= s.MinServices {
		return false
	}
	s.hold(Hold{
		ID: identify(RuleMinServices, s.diff.Added, s.diff.Updated, s.diff.Removed), Rule: RuleMinServices,
		Reason:  tooFewServices.With(usable, s.MinServices),
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

// emptied holds the servers of registries that suddenly list nothing usable while others do. For each of them, its
// own part is everything.
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
		Reason:  nothingListed.With(strings.Join(s.Empty, " and "), len(ids)),
		Removed: ids, Of: s.in,
	}, s.changes, theirs)
}

// tooMany applies MaxRemoval and MaxRemovalWindow to all upstreams together.
func (s *step) tooMany() {
	s.limit(s.changes, s.overLimit)
}

// tooManyOfOne applies MaxServiceRemoval to each upstream that stays. If a whole service is deregistered, that is
// more often intended than an accident, and it counts for the rules over all servers.
func (s *step) tooManyOfOne() {
	for _, c := range s.changes {
		if !c.whole() {
			s.limit([]*change{c}, func(ids []ServerID, pick picker) (Hold, bool) { return s.overLimitOf(c, ids, pick) })
		}
	}
}

// limit holds what the changes would remove if that exceeds a limit. Servers that have been missing for the recovery
// time go first if they alone are within the limit, so that flapping servers do not keep them.
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

// overLimit returns the hold if too many of all servers would go, and whether that is so.
func (s *step) overLimit(ids []ServerID, pick picker) (Hold, bool) {
	l := s.lossOfAll(pick)
	switch {
	case s.Now.Before(s.h.spent):
		s.wake(s.h.spent)
		return Hold{
			Rule: RuleMaxRemovalWindow, Of: s.in, Reason: accountLost.With(s.h.spent.UTC().Format(time.RFC3339)),
		}, true
	case s.tooMuch(l, ids, s.MaxRemoval):
		of := max(l.start, len(ids)) // what came during the hold may go as well
		return Hold{
			Rule: RuleMaxRemoval, Of: of, Reason: overRemoval.With(len(ids), of, percent(s.MaxRemoval)),
		}, true
	case l.beyond(s.MaxRemovalWindow):
		of := max(l.peak, l.is, len(ids))
		return Hold{
			Rule: RuleMaxRemovalWindow, Of: of,
			Reason: overWindow.With(l.is, of, setting.FormatDuration(s.Window), percent(s.MaxRemovalWindow)),
		}, true
	}
	return Hold{}, false
}

// overLimitOf is overLimit for one upstream.
func (s *step) overLimitOf(c *change, ids []ServerID, pick picker) (Hold, bool) {
	l := s.lossOf(c, pick)
	switch {
	case s.tooMuch(l, ids, s.MaxServiceRemoval):
		of := max(l.start, len(ids))
		return Hold{
			Rule: RuleMaxServiceRemoval, Upstream: c.name(), Of: of,
			Reason: overService.With(len(ids), of, c.name(), percent(s.MaxServiceRemoval)),
		}, true
	case l.beyond(s.MaxServiceRemoval):
		of := max(l.peak, l.is, len(ids))
		return Hold{
			Rule: RuleMaxServiceRemoval, Upstream: c.name(), Of: of,
			Reason: overServiceWindow.With(l.is, of, c.name(), setting.FormatDuration(s.Window), percent(s.MaxServiceRemoval)),
		}, true
	}
	return Hold{}, false
}

// tooMuch reports whether one step removes more than the allowed share. Replaced servers count as well until nothing
// has come back for the recovery time; after that only lost ones do.
func (s *step) tooMuch(l loss, ids []ServerID, share float64) bool {
	if l.start < smallest || !over(len(ids), share, l.start) {
		return false
	}
	return over(l.is, share, l.start) || s.unsettled(ids) || s.mostAnswer(ids)
}

func percent(share float64) string { return fmt.Sprintf("%d%%", int(math.Round(share*100))) }
