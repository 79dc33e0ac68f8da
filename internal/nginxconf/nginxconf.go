// Package nginxconf is the syntax of nginx's upstream blocks, written and read.
//
// One renderer serves the conf file and the body of a dyups POST, so that a gateway's
// memory and the file agree. [ParseBlocks] reads what [AppendBlock] writes and nothing
// else; [ParseBody] reads a body as a strict nginx would. The package touches no disk
// and no network, and resolves no host name.
package nginxconf

import (
	"errors"
	"fmt"
	"strings"

	"swallowkeeper/upstream"
)

// ErrZone is the cause of ParseBody's error for a body with a zone directive: a real
// dyups worker takes it and dies of it (signal 11).
var ErrZone = errors.New("a zone in a dyups body kills the worker")

// Error says what is wrong in a text, and on which of its lines.
type Error struct {
	Line   int // from 1
	Reason string
	cause  error
}

// Error names the line and what is wrong there.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Unwrap is the cause, if it is one that callers tell apart ([ErrZone]).
func (e *Error) Unwrap() error { return e.cause }

// Valid says what nginx or [ParseBlocks] would refuse in the upstream, or nil.
func Valid(u upstream.Upstream) error {
	if err := upstream.ValidName(u.Name); err != nil {
		return err
	}
	if err := upstream.ValidMethod(u.Options.Method); err != nil {
		return err
	}
	if k := u.Options.Keepalive; k < 0 || k > upstream.MaxCount {
		return fmt.Errorf("keepalive %d is not between 0 and %d", k, upstream.MaxCount)
	}
	backups := 0
	for _, s := range u.Servers {
		if err := validServer(s); err != nil {
			return fmt.Errorf("server %s: %w", s.Addr, err)
		}
		if s.Host != "" && (s.Origin == "" || !isHostPort(s.Host) || strings.ContainsFunc(s.Host, func(r rune) bool { return r <= ' ' || r == 0x7f })) {
			return fmt.Errorf("server %s: the note of its host %q is no host:port behind an origin: it could not be read back", s.Addr, s.Host)
		}
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

func validServer(s upstream.Server) error {
	if err := s.Valid(); err != nil {
		return err
	}
	addr, err := upstream.AddrFrom(s.Addr.Addr(), int(s.Addr.Port()))
	if err != nil {
		return err
	}
	if addr != s.Addr {
		return fmt.Errorf("the address is another spelling of %s", addr)
	}
	return nil
}
