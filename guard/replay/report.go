package replay

import (
	"time"

	"swallowkeeper/guard"
)

// Report says what was held in a replay.
type Report struct {
	// From and To are the first and the last moment; zero where there was none.
	From, To time.Time
	// Decisions counts those of the daemon. Unlike counts those after which, by the same limits, something else
	// was written than in the replay: none, unless a daemon of another version decided.
	Decisions, Unlike int
	// Holds are those of the limits, in the order in which they began.
	Holds []Hold
	// OtherLimits says that the limits are not those of today, and NotHere are the holds of today's that kept or
	// kept out servers which the limits let through.
	OtherLimits bool
	NotHere     []Hold
	// Then are the limits that the daemon decided with where they are not those of today, the last first.
	Then []guard.Config
}

// mostThen bounds Then.
const mostThen = 3

func (r *Report) noteLimits(then, today guard.Config) {
	if sameLimits(then, today) || len(r.Then) > 0 && sameLimits(then, r.Then[0]) {
		return
	}
	r.Then = append([]guard.Config{then}, r.Then[:min(len(r.Then), mostThen-1)]...)
}

// Since returns the report without the holds that ended before.
func (r Report) Since(from time.Time) Report {
	later := func(holds []Hold) []Hold {
		var left []Hold
		for _, h := range holds {
			if h.Ended.IsZero() || !h.Ended.Before(from) {
				left = append(left, h)
			}
		}
		return left
	}
	r.Holds, r.NotHere = later(r.Holds), later(r.NotHere)
	return r
}

// Ways in which a hold ends beside those of [guard.Release].
const (
	Open     = "open"     // it does not: the record ends before
	Resolved = "resolved" // nothing is missing any more, or what was new is gone again
	Replaced = "replaced" // another hold goes on with its servers
	Within   = "within"   // what it held is within the limits again: it went, or came in
)

// Hold is a hold of a replay, from its beginning to its end: its servers may have been others at times.
type Hold struct {
	ID, Rule, Upstream, Reason string // as it began
	Began                      time.Time
	Ended                      time.Time // zero: held at the end
	// By says how it ended.
	By string
	// Servers are those that stayed because of it, or that did not get in: of many only the first.
	Servers []guard.ServerID
	// Kept and KeptOut count all of them.
	Kept, KeptOut int
	// Right counts those that proved the hold right before the record ends: of those that stayed, what the registry
	// listed again as usable; of those that were kept out, what it lists no more. RightAt is when the last one did.
	Right   int
	RightAt time.Time
	// Went counts those that the guard let through by the end of the hold, and Elsewhere has what the other limits
	// did with the servers meanwhile.
	Went      int
	Elsewhere Elsewhere
}

// Elsewhere says what other limits did with the servers of a hold while it was there.
type Elsewhere struct {
	Held    int // held too
	Through int // let through
}
