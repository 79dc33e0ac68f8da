package config

import (
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/internal/near"
)

// Error is one thing that is wrong with the configuration. Whoever gets one from
// [Load] can only mend the configuration: the program exits with 2.
type Error struct {
	// Where is FILE:LINE, the name of an environment variable, or "command line".
	Where string
	// Key is the whole path, e.g. "guard.max_removal"; "" where it is about no key.
	Key string
	// Problem says what is wrong and what is allowed.
	Problem string

	cause error
}

// Error is one line: where, which key, and what is wrong with it.
func (e *Error) Error() string {
	if e.Key == "" {
		return e.Where + ": " + e.Problem
	}
	return e.Where + ": " + e.Key + ": " + e.Problem
}

// Unwrap gives the operating system's error, where there was one.
func (e *Error) Unwrap() error { return e.cause }

// unknown says that a key does not exist, and which one may be meant. Where none is
// near, the caller's hint says what is allowed.
func unknown(what, given string, known []string, hint string) string {
	if near := near.Word(given, known); near != "" {
		return fmt.Sprintf("unknown %s; did you mean %s?", what, near)
	}
	return fmt.Sprintf("unknown %s; %s", what, hint)
}

// either lists words as a person would: a, b or c.
func either(words []string) string {
	return inOrder(slices.Sorted(slices.Values(words)))
}

// inOrder is either with the words in their order.
func inOrder(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
