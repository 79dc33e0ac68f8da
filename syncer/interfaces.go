package syncer

import (
	"context"

	"swallowkeeper/upstream"
)

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

// Overtaken is a store that another process may write to as well. Its error says that one did after our last
// generation, and has a method Newer that says so: what we have is older, and reaches no gateway any more.
type Overtaken interface{ Overtaken() error }

// Archiver is a store that keeps earlier generations. What it does for that is asked for when the new
// one is on its way to the gateways.
type Archiver interface{ Archive() }
