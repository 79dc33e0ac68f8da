// Package nginxconf renders and parses the syntax of nginx's upstream blocks.
//
// The conf file and the body of a dyups POST come from the same renderer, so that a gateway's memory and the file
// agree. [ParseBlocks] parses what [AppendBlock] writes and nothing else; [ParseBody] parses a body like a strict
// nginx. The package uses no disk and no network, and resolves no host names.
package nginxconf

import (
	"errors"
	"fmt"

	"swallowkeeper/upstream"
)

// ErrZone is the cause of ParseBody's error for a body with a zone directive. A real dyups worker accepts it and
// crashes (signal 11).
var ErrZone = errors.New("a zone in a dyups body kills the worker")

// Error is a syntax error with its line.
type Error struct {
	Line   int // starting at 1
	Reason string
	cause  error
}

// Error returns the line and the reason.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Unwrap returns the cause if callers may check for it ([ErrZone]).
func (e *Error) Unwrap() error { return e.cause }

// Valid returns what nginx or [ParseBlocks] would refuse in the upstream, or nil.
func Valid(u upstream.Upstream) error {
	if err := u.Valid(); err != nil {
		return err
	}
	backups := 0
	for _, s := range u.Servers {
		if s.Backup {
			backups++
		}
	}
	switch {
	case len(u.Servers) == 0:
		return errors.New("it has no server, and nginx refuses an upstream without one")
	case backups == len(u.Servers):
		return errors.New("all its servers are backups, and nginx wants one that is none")
	case backups > 0 && !upstream.TakesBackup(u.Options.Method):
		return fmt.Errorf("nginx allows no backup servers beside %s", u.Options.Method)
	}
	return nil
}
