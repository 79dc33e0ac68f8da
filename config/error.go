package config

import (
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/internal/near"
)

// Error is one problem with the configuration. It can only be solved by correcting the configuration: the program exits
// with 2.
type Error struct {
	// Where is FILE:LINE, the name of an environment variable, or "command line".
	Where string
	// Key is the full path, such as "guard.max_removal"; "" if the problem is not about a key.
	Key string
	// Problem says what is wrong, and what is valid.
	Problem string

	cause error
}

// Error returns one line: the place, the key and the problem.
func (e *Error) Error() string {
	if e.Key == "" {
		return e.Where + ": " + e.Problem
	}
	return e.Where + ": " + e.Key + ": " + e.Problem
}

// Unwrap returns the operating system's error, if any.
func (e *Error) Unwrap() error { return e.cause }

// unknown describes an unknown key and suggests a similar one. If none is similar, it adds the hint.
func unknown(what, given string, known []string, hint string) string {
	if near := near.Word(given, known); near != "" {
		return fmt.Sprintf("unknown %s; did you mean %s?", what, near)
	}
	return fmt.Sprintf("unknown %s; %s", what, hint)
}

// either joins sorted words as a phrase: a, b or c.
func either(words []string) string {
	return inOrder(slices.Sorted(slices.Values(words)))
}

// inOrder is either without sorting.
func inOrder(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
