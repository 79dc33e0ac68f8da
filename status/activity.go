package status

import (
	"maps"
	"slices"
	"time"
)

// Activity is what happened in ten seconds. It counts beyond the events that a [Timeline] keeps.
type Activity struct {
	Time time.Time `json:"time"` // when they began
	// In and Out are how many servers began and ceased to get traffic, Generations how many were written.
	In          int `json:"in"`
	Out         int `json:"out"`
	Generations int `json:"generations"`
	// TookMS is how long changes took until a gateway had them, in milliseconds: the worst, and some others.
	TookMS []float64 `json:"took_ms"`
}

const (
	activitySpan = 10 * time.Second
	activityKept = 6 * time.Hour
	mostTook     = 20 // times of one span that are kept
)

// activities are the counts of the last hours, by the beginning of their span in seconds of Unix.
type activities map[int64]*Activity

// count takes an event in.
func (a activities) count(e Event) {
	if e.Kind != eventGeneration && e.TookMS == 0 {
		return
	}
	began := e.Time.Truncate(activitySpan)
	span := a[began.Unix()]
	if span == nil {
		span = &Activity{Time: began.UTC(), TookMS: []float64{}}
		a[began.Unix()] = span
		oldest := began.Add(-activityKept).Unix()
		maps.DeleteFunc(a, func(at int64, _ *Activity) bool { return at < oldest })
	}
	span.In += e.In
	span.Out += e.Out
	if e.Kind == eventGeneration {
		span.Generations++
	}
	if e.TookMS > 0 {
		span.TookMS = append(span.TookMS, e.TookMS)
		if slices.Sort(span.TookMS); len(span.TookMS) > mostTook {
			span.TookMS = slices.Delete(span.TookMS, mostTook/2, mostTook/2+1) // the middle one
		}
	}
}

// eventGeneration is the kind of the event that counts servers: see syncer.EventGeneration.
const eventGeneration = "generation"

// Activity lists what happened in the last hours, the oldest first, without the spans in which nothing did.
func (t *Timeline) Activity() []Activity {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Activity, 0, len(t.counts))
	for _, at := range slices.Sorted(maps.Keys(t.counts)) {
		span := *t.counts[at]
		span.TookMS = slices.Clone(span.TookMS)
		list = append(list, span)
	}
	return list
}
