package dyups

import (
	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

// Assume is [WithWritten] for a gateway that is made already.
func (g *Gateway) Assume(s upstream.Set) {
	g.written = &gateway.Written{}
	g.written.Set(s)
}

// Incomplete and Workers are what the next answer would say.
func (g *Gateway) Incomplete() bool { return g.workers.unsettled() }

// Workers are those of the last answer.
func (g *Gateway) Workers() []gateway.Worker { return g.crew }
