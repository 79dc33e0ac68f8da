package consul

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
)

const heartbeatLoop = "\x00agent" // sorts before every other: it is the reason of what else fails

// beat is how often the agent is asked whether it is there, how soon again where it was not, and how long it may
// take to answer what it has at hand.
type beat struct{ every, again, limit time.Duration }

// heartbeat notices an agent that is silent long before the end of a wait would show it: one that hangs keeps all
// connections open. What is known stays as it is. It has a connection of its own, for all others may be waiting.
func (w *watch) heartbeat(ctx context.Context, c *client) {
	timer := time.NewTimer(w.beat.every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := w.beat.every
		if err := c.alive(ctx); err == nil {
			w.trouble.over(heartbeatLoop)
		} else if ctx.Err() == nil {
			w.trouble.report(heartbeatLoop, "hear from the agent", err)
			next = w.beat.again
		}
		timer.Reset(next)
	}
}

// alive asks the agent for the leader of its servers. That needs no rights, and an agent that is not a server
// must ask one. Any answer of its own will do where somebody lets us ask for less than that.
func (c *client) alive(ctx context.Context) error {
	o, cancel := c.options(ctx, query{})
	defer cancel()
	leader, err := c.api.Status().LeaderWithQueryOptions(o)
	var status api.StatusError
	switch {
	case errors.As(err, &status) && status.Code < http.StatusInternalServerError:
		return nil
	case err != nil:
		return err
	case leader == "":
		return errNoLeader
	}
	return nil
}
