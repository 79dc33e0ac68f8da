package syncer

import (
	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/internal/retry"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// Parts is what a syncer is built from.
type Parts struct {
	Sources  []Source
	Guard    guard.Config
	Store    Store
	Targets  []Target
	Schedule Schedule
	// Routes are the routes of the configuration, each with its upstream.
	Routes []route.Belonging
	// Retry is how long to wait between tries; the zero value means [retry.Default].
	Retry retry.Policy
	// Reach, if not nil, returns which addresses registrations may currently use.
	Reach func() Reach
	// Taken, if not nil, returns the names that nginx's configuration currently uses. It is given the workers of each
	// target, in order, as last shown.
	Taken func(workers [][]gateway.Worker) map[upstream.Key]Taken
	// Witness, if not nil, tries the servers that the guard asks about.
	Witness Witness
	// Recorder, if not nil, records the decisions of Run. It is called after the gateways were told.
	Recorder Recorder
	Log      logrus.FieldLogger
	// Changed, if not nil, is called after a change to what Status shows. It must not block.
	Changed func()
	// Event, if not nil, receives events. It must not block, and is called from several goroutines.
	Event func(Event)
}
