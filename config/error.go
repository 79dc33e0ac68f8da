package config

import (
	"fmt"
	"slices"
	"strings"
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
	if near := nearest(given, known); near != "" {
		return fmt.Sprintf("unknown %s; did you mean %s?", what, near)
	}
	return fmt.Sprintf("unknown %s; %s", what, hint)
}

// nearest is the known word with the fewest typing errors between it and the given
// one, "" where there are too many for a guess.
func nearest(given string, known []string) string {
	if len(given) > 100 {
		return ""
	}
	best, most := "", min(3, max(1, len(given)/3))
	for _, k := range known {
		if d := distance(strings.ToLower(given), strings.ToLower(k)); d <= most {
			best, most = k, d-1
		}
	}
	return best
}

// distance counts the letters to add, drop, change or swap with their neighbour to get
// from a to b (optimal string alignment).
func distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

// either lists words as a person would: a, b or c.
func either(words []string) string {
	words = slices.Sorted(slices.Values(words))
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
