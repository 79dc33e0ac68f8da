package syncer

import (
	"context"

	"swallowkeeper/upstream"
)

// Registry is a place where instances are registered.
//
// Watch publishes the complete set as soon as it is known, and the complete set
// again after each change, until the context ends. What it can't read it does not
// know, and what it does not know it does not publish: a read that fails, is cut
// short or comes from a server without a leader publishes nothing, and an empty set
// is published only when the registry said that it is empty. An upstream without a
// server says that its service is registered and none of its instances is usable.
// Every server's Origin is the registry's name.
//
// publish never blocks and may be called from any goroutine; the receiver keeps the
// latest. Watch retries by itself what can be retried and tells its trouble to the
// log; it returns when the context ends, after all that it started has ended, or
// with an error that needs the caller: it is started again, after a wait.
type Registry interface {
	Watch(ctx context.Context, publish func(upstream.Set)) error
}

// Gateway is what carries the traffic.
//
// Live reads what the gateway really uses, on all of its workers. An upstream about
// which the workers disagree has no servers in the answer.
//
// Apply makes the changes, additions and updates before removals, and returns nil
// only after the gateway's own answers, from every worker that can be asked,
// showed them. After an error some of the changes may have been made.
type Gateway interface {
	Live(ctx context.Context) (upstream.Set, error)
	Apply(ctx context.Context, c upstream.Changes) error
}

// Store keeps the accepted set where nginx reads it at its start.
//
// Load returns the last generation saved, or the zero Generation where there was
// none yet.
//
// Save makes the store hold the generation, whole or not at all, and returns it
// with its digest. It does not write what is there already.
type Store interface {
	Load() (upstream.Generation, error)
	Save(ctx context.Context, g upstream.Generation) (upstream.Generation, error)
}

// Archiver is a store that keeps earlier generations. What it does for that is asked for when the new
// one is on its way to the gateways.
type Archiver interface{ Archive() }
