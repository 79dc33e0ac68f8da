package operate

import (
	"errors"

	"swallowkeeper/status"
)

// ExitError is an error that ends the program with a code of its own.
type ExitError struct {
	Code int
	err  error
}

// Error is the error's own text.
func (e *ExitError) Error() string { return e.err.Error() }

// Unwrap returns the error without its code.
func (e *ExitError) Unwrap() error { return e.err }

// Exit gives an error an exit code.
func Exit(code int, err error) error { return &ExitError{Code: code, err: err} }

// CodeOf is the exit code for an error.
func CodeOf(err error) int {
	var coded *ExitError
	if errors.As(err, &coded) {
		return coded.Code
	}
	return status.ExitFailed
}

// ErrSaid ends the program after everything was said already.
var ErrSaid = errors.New("said already")
