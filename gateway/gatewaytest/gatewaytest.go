// Package gatewaytest holds gateways to their contract: Live is what every worker really uses, Apply returns nil only
// after all of them showed the changes, what others configured stays, and no trouble is mistaken for success.
//
// It knows nothing of how a gateway is told. Each brings a [Harness] that can make trouble between the gateway and
// what it tells, and behind its back.
package gatewaytest

import (
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/suite"
	"swallowkeeper/upstream"
)

// Harness is what carries the traffic, with no upstream in it. Its functions fail the test themselves.
type Harness struct {
	// New makes a gateway to it that knows what the conf file held. It is closed when the test ends.
	New func(t *testing.T, written upstream.Set) gateway.Gateway
	// Workers is how many there are.
	Workers int
	// Patience is how long it may take until a gateway is in sync again after any trouble.
	Patience time.Duration

	// Sent names the upstreams of the changes that were sent so far, in order.
	Sent func() []string
	// Lie has changes of the upstream answered by success and not made, Refuse has them refused; "" ends either.
	Lie, Refuse func(upstream string)
	// Hang keeps every call unanswered, until it is released.
	Hang func() (release func())
	// Stall keeps calls of one worker unanswered, until it is released.
	Stall func(worker string) (release func())
	// OnChange is called once, before the next change is made.
	OnChange func(do func())
	// Kill ends a worker as a crash does, and Reload replaces all of them. They start with the upstreams that are
	// written then.
	Kill   func(t *testing.T, worker string)
	Reload func(t *testing.T, written upstream.Set)
}

// Part says what the suite runs against.
type Part = suite.Part

// The parts. A kind that has a double, in a folder of its name with test behind it, passes the suite with both.
const (
	Double = suite.Double
	Real   = suite.Real
)

// Main is [suite.Main] for a package of a gateway.
func Main(m *testing.M, parts ...Part) int { return suite.Main(m, "gatewaytest", parts...) }

// Run runs the suite. Each test starts with a harness of its own.
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
		{Name: "the end of the context is obeyed", Run: contextEnds},
		{Name: "nothing outlives Close", Run: nothingOutlivesClose},
	})
}
