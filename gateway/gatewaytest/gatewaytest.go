// Package gatewaytest tests gateways against their contract: Live returns what every worker really uses, Apply returns
// nil only after all of them have shown the changes, upstreams of others stay, and no failure is mistaken for success.
//
// It does not know how a gateway works. Each brings a [Harness] that can cause trouble between the gateway and its
// proxy, and behind its back.
package gatewaytest

import (
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/suite"
	"swallowkeeper/upstream"
)

// Harness is a proxy without upstreams. Its functions fail the test themselves.
type Harness struct {
	// New makes a gateway that knows what the conf file held. It is closed when the test ends.
	New func(t *testing.T, written upstream.Set) gateway.Gateway
	// Workers is the number of workers; 0 if the gateway can't tell them apart. Then Kill and Reload affect all, and
	// Stall gets no name and leaves everything unanswered.
	Workers int
	// Patience is how long a gateway may take to be in sync again after any trouble.
	Patience time.Duration

	// Shown returns what each worker has. It shares no code with the gateway. If possible, reading does not update a
	// worker.
	Shown func(t *testing.T) []upstream.Set
	// Sent returns the upstreams of the changes sent so far, in order.
	Sent func() []string
	// Lie makes changes of the upstream succeed without effect, Refuse makes them fail; "" ends either.
	Lie, Refuse func(upstream string)
	// Hang leaves all calls unanswered until it is released.
	Hang func() (release func())
	// Stall leaves calls of one worker unanswered until it is released.
	Stall func(worker string) (release func())
	// OnChange is called once, before the next change is made.
	OnChange func(do func())
	// Kill ends a worker like a crash. Reload replaces all of them. New workers start with the upstreams in the conf
	// file.
	Kill   func(t *testing.T, worker string)
	Reload func(t *testing.T, written upstream.Set)
}

// worker returns the ID of the first worker, or "" if they can't be told apart.
func (h Harness) worker(live gateway.Live) string {
	if h.Workers == 0 {
		return ""
	}
	return live.Workers[0].ID
}

// Part is what the suite runs against.
type Part = suite.Part

// Parts. A kind with a double, in a folder of its name with suffix test, passes the suite with both.
const (
	Double = suite.Double
	Real   = suite.Real
)

// Main is [suite.Main] for a package of a gateway.
func Main(m *testing.M, parts ...Part) int { return suite.Main(m, "gatewaytest", parts...) }

// Run runs the suite. Each test starts with its own harness.
func Run(t *testing.T, against Part, start func(t *testing.T) Harness) {
	t.Helper()
	suite.Run(t, against, start, []suite.Test[Harness]{
		{Name: "what is applied is live, whole", Run: appliedIsLive},
		{Name: "each change is made, and removals come last", Run: changesAreMade},
		{Name: "what is done already is no error and no change", Run: doneIsDone},
		{Name: "what others configured stays", Run: foreignStays},
		{Name: "what others change is seen", Run: driftIsSeen},
		{Name: "what is not shown is as it was written", Run: hiddenIsAsWritten},
		{Name: "an answer of success is no proof", Run: successIsNoProof},
		{Name: "the trouble of one is not that of the others", Run: troubleOfOne},
		{Name: "a worker that does not answer", Run: stalledWorker},
		{Name: "a worker crashes", Run: crashedWorker},
		{Name: "a reload while changes are made", Run: reloadInBetween},
		{Name: "what broke off is sent again, shown or not", Run: brokenOffIsSentAgain},
		{Name: "the end of the context is obeyed", Run: contextEnds},
		{Name: "nothing outlives Close", Run: nothingOutlivesClose},
	})
}
