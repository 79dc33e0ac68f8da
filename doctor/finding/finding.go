// Package finding has the type of doctor's findings. doctor finds them in nginx's configuration, and each kind of
// registry and gateway in its answers.
package finding

import (
	"fmt"
	"slices"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// Severity ranks findings.
type Severity string

// Severities, worst first.
const (
	// Problem is something that does not work, or a security hole.
	Problem Severity = "problem"
	// Unknown is something that could not be examined.
	Unknown Severity = "not examined"
	// Warning is something that works until something else fails, or works badly.
	Warning Severity = "warning"
	// Hint is something that could be better.
	Hint Severity = "hint"
)

// Rank returns 0 for the worst.
func (s Severity) Rank() int { return slices.Index([]Severity{Problem, Unknown, Warning, Hint}, s) }

// Finding is a problem, or something that could not be examined. Its texts may quote nginx's configuration and the
// registries.
type Finding struct {
	// Check is the name of the check, as in docs/doctor.md or the page of its kind.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// What is wrong.
	What string `json:"what"`
	// Where is file:line, or the name of a registry or gateway. Places lists all if there are several; Where is the
	// first. A registry or gateway leaves Where empty, and its Places are within it.
	Where  string   `json:"where"`
	Places []string `json:"places"`
	// Why it matters.
	Why string `json:"why"`
	// Now is the current line, or "".
	Now string `json:"now,omitempty"`
	// Change is the replacement, or what to add or do.
	Change string `json:"change,omitempty"`
}

// Show returns plain names as they are, and quotes others.
func Show(s string) string {
	if upstream.ValidName(s) == nil {
		return s
	}
	return safetext.Quote(s)
}

// Many returns a number with its noun.
func Many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
