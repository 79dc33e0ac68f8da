package main

import (
	"errors"

	"swallowkeeper/status"
)

// exitError is an error that ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exit has an error end the program with a code of its own.
func exit(code int, err error) error { return &exitError{code: code, err: err} }

// codeOf is the exit code for an error.
func codeOf(err error) int {
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return status.ExitFailed
}

// errSaid ends the program after everything was said already.
var errSaid = errors.New("said already")
