package syncer

import (
	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// Parts is what a syncer is made of.
type Parts struct {
	Sources  []Source
	Guard    guard.Config
	Store    Store
	Targets  []Target
	Schedule Schedule
	// Retry says how long to wait between tries; the zero value is [retry.Default].
	Retry retry.Policy
	// Reach, where not nil, says what registrations may reach now.
	Reach func() Reach
	// Taken, where not nil, is the names that nginx's configuration uses now. It is handed the workers
	// of each target, in their order, as that showed them last.
	Taken func(workers [][]gateway.Worker) map[upstream.Key]Taken
	// Witness, where not nil, tries the servers that the guard asks for.
	Witness Witness
	// Recorder, where not nil, is told what Run decides. It is told after the gateways.
	Recorder Recorder
	Log      logrus.FieldLogger
	// Changed, where not nil, is called after something that Status shows has changed. It must not block.
	Changed func()
	// Event, where not nil, is told what happens. It must not block, and is called from several goroutines.
	Event func(Event)
}
