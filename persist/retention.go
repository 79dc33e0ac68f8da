package persist

import (
	"slices"
	"time"
)

// stamp is what retention needs to know about a generation.
type stamp struct {
	number int
	time   time.Time
}

// calm is how long a generation must stay unchanged to be worth keeping: the change that ended the calm may be an
// accident.
const calm = 5 * time.Minute

// tiers define how the history thins out with age: the last generation of each period is kept for that long.
var tiers = []struct{ every, keep time.Duration }{
	{time.Minute, time.Hour},
	{time.Hour, 24 * time.Hour},
	{24 * time.Hour, 7 * 24 * time.Hour},
}

// MostKept returns the maximum number of generations in a history.
func (c Config) MostKept() int {
	if c.History == 0 {
		return 0
	}
	most := c.History + 2 // the pair around a calm
	for _, t := range tiers {
		most += int(t.keep/t.every) + 1
	}
	return most
}

// expired returns the generations to drop from a history, which is sorted. It keeps:
//
//	the newest generations, as many as last
//	the newest one followed by a calm, and the one that ended that calm
//	the last of each minute for an hour, of each hour for a day, of each day for a week
func expired(history []stamp, last int, now time.Time) (drop []int) {
	stays := make([]bool, len(history))
	calmed := false
	type period struct {
		every time.Duration
		began time.Time
	}
	has := map[period]bool{}
	for i, s := range slices.Backward(history) {
		stays[i] = stays[i] || i >= len(history)-last
		if next := i + 1; !calmed && next < len(history) && history[next].number == s.number+1 && history[next].time.Sub(s.time) >= calm {
			stays[i], stays[next], calmed = true, true, true
		}
		age := max(now.Sub(s.time), 0) // a time in the future is from a wrong clock
		for _, t := range tiers {
			p := period{t.every, now.Add(-age).UTC().Truncate(t.every)}
			stays[i] = stays[i] || age < t.keep && !has[p]
			has[p] = true
		}
	}
	for i, s := range history {
		if !stays[i] {
			drop = append(drop, s.number)
		}
	}
	return drop
}
