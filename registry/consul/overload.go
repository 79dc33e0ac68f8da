package consul

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// least is the minimum number of connections.
	least = 4
	// limitEvery is the interval at which the agent is asked for its limit.
	limitEvery = time.Minute
	// overloadEvery is the minimum time with one room: earlier refusals say nothing about it.
	overloadEvery = 5 * time.Second
	// mostHalved limits the halving, in case something else is wrong.
	mostHalved = 4
)

// overloaded reports whether an agent refused a connection because there are too many. It answers 429 before it reads
// the request, so Go's client often reports an unsolicited response or a closed connection.
func overloaded(err error) bool {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code == http.StatusTooManyRequests
	}
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return true
	}
	var transport *url.Error
	return errors.As(err, &transport) && (strings.Contains(transport.Err.Error(), "readLoopPeekFailLocked") ||
		strings.Contains(transport.Err.Error(), "server closed idle connection"))
}

// otherRoom waits until the room for connections changes, and returns false if the context ends before. It changes when
// the agent's limit does, or when connections are refused although we respect the limit. Then others at this address,
// such as another daemon, use them, and we continue with half.
func (w *watch) otherRoom(ctx context.Context, c *client) bool {
	begun := time.Now()
	ticker := time.NewTicker(limitEvery)
	defer ticker.Stop()
	for {
		refused := false
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		case <-w.client.overload:
			if refused = w.stillOverloaded(ctx, max(overloadEvery<<w.overload.Load()-time.Since(begun), time.Second)); !refused {
				continue
			}
		}
		log := w.log.WithField("connections", w.room.connections)
		limit := 0
		if !w.asksNot() {
			var err error
			limit, err = c.connectionLimit(ctx)
			switch {
			case err != nil && overloaded(err):
				if w.unasked.Add(1) > 1 && w.overload.Load() < mostHalved {
					w.overload.Add(1) // the limit is not what has changed
				}
				log.Info("not even the agent's limit can be asked for: all connections are given back, and all is read again")
				return true
			case err != nil:
				continue // other loops report that the agent can't be read
			}
			w.unasked.Store(0)
		}
		if time.Since(begun) >= relearn {
			w.overload.Store(0)
		}
		next := w.roomOf(limit)
		switch {
		case next != w.room:
			log.Info("the room for connections to the agent is another one: all is read again")
			return true
		case refused && w.room.connections > least && w.overload.Load() < mostHalved:
			w.overload.Add(1)
			log.Warn("the agent refuses connections, which others at this address may have: half of them will do from now on")
			return true
		}
	}
}

// stillOverloaded reports whether connections are still refused after a while. A restarted agent accepts them by then.
func (w *watch) stillOverloaded(ctx context.Context, after time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(after):
	}
	select {
	case <-w.client.overload:
	default:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(w.retry.Longest + time.Second):
		return false
	case <-w.client.overload:
		return true
	}
}
