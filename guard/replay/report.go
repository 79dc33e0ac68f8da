package replay

import (
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/reason"
)

// Report is the result of a replay.
type Report struct {
	// From and To are the first and last moment; zero if there was none.
	From, To time.Time
	// Decisions is the number of the daemon's decisions. Unlike counts those after which the daemon wrote something
	// else than the replay with the same limits. It is 0 unless a daemon of another version decided.
	Decisions, Unlike int
	// Holds are the holds under the given limits, in the order in which they began.
	Holds []Hold
	// OtherLimits means that the limits differ from today's. NotHere are the holds under today's limits on servers
	// that the given limits let through.
	OtherLimits bool
	NotHere     []Hold
	// Then are the recorded limits that differ from today's, the latest first.
	Then []guard.Config
}

// mostThen is the maximum length of Then.
const mostThen = 3

func (r *Report) noteLimits(then, today guard.Config) {
	if sameLimits(then, today) || len(r.Then) > 0 && sameLimits(then, r.Then[0]) {
		return
	}
	r.Then = append([]guard.Config{then}, r.Then[:min(len(r.Then), mostThen-1)]...)
}

// Since returns the report without the holds that ended before from.
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

// Ways in which a hold ends, besides those of [guard.Release].
const (
	Open     = "open"     // it did not end within the record
	Resolved = "resolved" // nothing is missing any longer, or the newcomers are gone again
	Replaced = "replaced" // another hold continues with its servers
	Within   = "within"   // the change is within the limits again and went through
)

// Hold is a hold in a replay, from beginning to end. Its servers may have changed meanwhile.
type Hold struct {
	ID, Rule, Upstream string
	Reason             reason.Reason // at the beginning
	Began              time.Time
	Ended              time.Time // the zero time if it was still held at the end
	// By is how it ended.
	By string
	// Servers are the first servers that it kept or kept out.
	Servers []guard.ServerID
	// Kept and KeptOut are the total numbers.
	Kept, KeptOut int
	// Right is the number of servers that proved the hold right before the record ends: kept servers that the
	// registry listed as usable again, and kept-out servers that it no longer listed. RightAt is when the last one
	// did.
	Right   int
	RightAt time.Time
	// Went is the number of servers that had gone through by the end of the hold. Elsewhere is what the other limits
	// did with the servers meanwhile.
	Went      int
	Elsewhere Elsewhere
}

// Elsewhere counts what other limits did with the servers of a hold while it lasted.
type Elsewhere struct {
	Held    int // also held
	Through int // let through
}
