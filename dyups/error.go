package dyups

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"swallowkeeper/internal/safetext"
)

// Error is an answer other than the one hoped for.
type Error struct {
	Op     string // what was attempted, e.g. "post upstream"
	Name   string // of the upstream; "" where the call is about all
	Status int    // of HTTP
	Body   string // how the answer begins; quote it where it is shown
	Err    error  // what is wrong with an answer of status 200
}

// Error says what was attempted and what came.
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

// Unwrap is what is wrong with the answer's content, where that is the trouble.
func (e *Error) Unwrap() error { return e.Err }

// Temporary says that another call was under way (dyups_trylock): send it again.
func (e *Error) Temporary() bool { return e.Status == http.StatusConflict }

// NotFound says that the answering worker has no such upstream, or no such call.
func (e *Error) NotFound() bool { return e.Status == http.StatusNotFound && !e.NotDyups() }

// PartlyApplied says that the answering worker made the change and that the shared
// queue was too full to tell the others, which never will by themselves.
func (e *Error) PartlyApplied() bool {
	return e.Status == http.StatusInternalServerError && strings.Contains(e.Body, "not sync to other process")
}

// NotDyups says that something else than dyups answered.
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

// saidByDyups knows the module's own words, as it spells them.
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

// answerOf is the answer that an error is about, or nil where none came.
func answerOf(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}
