package syncer

import (
	"context"

	"swallowkeeper/generation"
)

// Store keeps the accepted set where nginx reads it at startup.
//
// Load returns the last saved generation, or the zero Generation if there is none.
//
// Save stores the generation atomically and returns it with its digest. It does not write what is already there.
type Store interface {
	Load() (generation.Generation, error)
	Save(ctx context.Context, g generation.Generation) (generation.Generation, error)
}

// Overtaken is a store that other processes may write to. Overtaken returns an error with a method Newer if one wrote
// after our last generation. Ours is outdated then and must not be pushed.
type Overtaken interface{ Overtaken() error }

// Archiver is a store that keeps earlier generations. Archive is called once the new generation is on its way to the
// gateways.
type Archiver interface{ Archive() }
