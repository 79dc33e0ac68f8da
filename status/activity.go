package status

import (
	"maps"
	"slices"
	"time"
)

// Activity counts what happened within ten seconds. It covers more than the events that a [Timeline] keeps.
type Activity struct {
	Time time.Time `json:"time"` // beginning of the ten seconds
	// In and Out are how many servers began and stopped receiving traffic, Generations how many generations were
	// written.
	In          int `json:"in"`
	Out         int `json:"out"`
	Generations int `json:"generations"`
	// TookMS has how long changes took to reach a gateway, in milliseconds: the slowest, and some others.
	TookMS []float64 `json:"took_ms"`
}

const (
	activitySpan = 10 * time.Second
	activityKept = 6 * time.Hour
	maxTook      = 20 // maximum number of times kept per span
)

// activities are the spans of the last hours, by Unix time of their beginning.
type activities map[int64]*Activity

// count adds an event.
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
		if slices.Sort(span.TookMS); len(span.TookMS) > maxTook {
			span.TookMS = slices.Delete(span.TookMS, maxTook/2, maxTook/2+1) // drop the median
		}
	}
}

// eventGeneration is the kind of event that counts servers: see syncer.EventGeneration.
const eventGeneration = "generation"

// Activity returns the spans of the last hours in which something happened, oldest first.
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
