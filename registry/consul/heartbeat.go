package consul

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
)

const heartbeatLoop = "\x00agent" // sorts first: it is the reason for other failures

// beat is how often the agent is asked for a sign of life, how soon again after a failure, and how long it may take.
type beat struct{ every, again, limit time.Duration }

// heartbeat notices a silent agent long before the end of a wait would: one that hangs keeps all connections open. It
// does not affect what is known. It has its own connection, as all others may be waiting.
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

// alive asks the agent for the current leader. That needs no rights, and makes an agent that is not a server ask one.
// If it is forbidden, any answer of the agent counts.
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
