package dyups

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"swallowkeeper/internal/safetext"
)

// Error is an unexpected answer.
type Error struct {
	Op     string // what was attempted, such as "post upstream"
	Name   string // of the upstream; "" if the call is about all
	Status int    // HTTP status
	Body   string // beginning of the answer; quote it before display
	Err    error  // what is wrong with an answer of status 200
}

// Error names the call and the answer.
func (e *Error) Error() string {
	s := what(e.Op, e.Name)
	if e.NotDyups() {
		s += ": not a dyups interface"
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %v: the answer begins %q", s, e.Err, e.Body)
	}
	return fmt.Sprintf("%s: the answer was %d %q", s, e.Status, e.Body)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether another call was in progress (dyups_trylock). The call may be repeated.
func (e *Error) Temporary() bool { return e.Status == http.StatusConflict }

// NotFound reports whether the worker has no such upstream, or the build no such call.
func (e *Error) NotFound() bool { return e.Status == http.StatusNotFound && !e.NotDyups() }

// PartlyApplied reports whether the answering worker made the change, but the shared queue was full: the other workers
// will never learn of it.
func (e *Error) PartlyApplied() bool {
	return e.Status == http.StatusInternalServerError && strings.Contains(e.Body, "not sync to other process")
}

// NotDyups reports whether something other than dyups answered.
func (e *Error) NotDyups() bool {
	switch s := e.Status; {
	case e.Err != nil, s < 400:
		return true
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusBadRequest,
		s == http.StatusNotImplemented:
		return e.Name == "" && strings.HasPrefix(e.Op, "list") || !saidByDyups(e.Body)
	default:
		return false
	}
}

// saidByDyups reports whether the body is one of the module's messages, in the module's spelling.
func saidByDyups(body string) bool {
	switch strings.TrimSpace(body) {
	case "", "not found uptream", "not support this interface", "not support this api", "API disabled":
		return true
	default:
		return false
	}
}

func excerpt(body []byte) string {
	const most = 200
	return safetext.Cut(string(body[:min(len(body), most+1)]), most)
}

// answerOf returns the answer that an error is about, or nil if none arrived.
func answerOf(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}
