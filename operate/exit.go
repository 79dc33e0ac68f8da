package operate

import (
	"errors"

	"swallowkeeper/status"
)

// ExitError is an error with an exit code.
type ExitError struct {
	Code int
	err  error
}

// Error returns the text of the error.
func (e *ExitError) Error() string { return e.err.Error() }

// Unwrap returns the error without the code.
func (e *ExitError) Unwrap() error { return e.err }

// Exit adds an exit code to an error.
func Exit(code int, err error) error { return &ExitError{Code: code, err: err} }

// CodeOf returns the exit code for an error.
func CodeOf(err error) int {
	var coded *ExitError
	if errors.As(err, &coded) {
		return coded.Code
	}
	return status.ExitFailed
}

// ErrReported ends the program without another message.
var ErrReported = errors.New("already reported")
