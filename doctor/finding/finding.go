// Package finding is what doctor tells: one trap, or one thing that could not be examined. doctor finds them in nginx's
// configuration, and each kind of registry and gateway in what it answers. The words that they share are here.
package finding

import (
	"fmt"
	"slices"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// Severity says how much a finding matters.
type Severity string

// The severities, the worst first.
const (
	// Problem is what does not work, or lets others in.
	Problem Severity = "problem"
	// Unknown is what could not be examined: nothing is known about it.
	Unknown Severity = "not examined"
	// Warning is what works until something goes wrong, or worse than it could.
	Warning Severity = "warning"
	// Hint is what could be better.
	Hint Severity = "hint"
)

// Rank is 0 for the worst.
func (s Severity) Rank() int { return slices.Index([]Severity{Problem, Unknown, Warning, Hint}, s) }

// Finding is one trap, or one thing that could not be examined. Its texts may quote what
// nginx's configuration and the registries hold.
type Finding struct {
	// Check is the name of the check, as docs/doctor.md or the page of its kind explains it.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// What is there.
	What string `json:"what"`
	// Where it is: file:line, or the name of a registry or gateway. Places lists all of
	// them where the same is found at several; Where is the first. A registry or gateway leaves Where
	// empty, for it is found there, and its Places are within it.
	Where  string   `json:"where"`
	Places []string `json:"places"`
	// Why it hurts.
	Why string `json:"why"`
	// Now is the line as it stands, "" where there is none yet.
	Now string `json:"now,omitempty"`
	// Change is what to write in its place, or to add or do.
	Change string `json:"change,omitempty"`
}

// Show leaves plain names as they are.
func Show(s string) string {
	if upstream.ValidName(s) == nil {
		return s
	}
	return safetext.Quote(s)
}

// Many is a number with its word.
func Many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
