package syncer

import "time"

// Schedule says when changes are taken: those that come close together are taken
// together, and a single one hardly waits.
type Schedule struct {
	// Quiet is how long nothing new must come before a decision.
	Quiet time.Duration
	// Longest is how long the first change of a row waits at most.
	Longest time.Duration
	// Spacing keeps decisions apart, so that a long row of changes is a few large
	// decisions, not many small ones.
	Spacing time.Duration
}

// DefaultSchedule costs a single change a millisecond.
func DefaultSchedule() Schedule {
	return Schedule{Quiet: time.Millisecond, Longest: 20 * time.Millisecond, Spacing: 10 * time.Millisecond}
}

// due is when to decide: first and last are when the oldest and the newest change came
// that no decision has seen, decided is when the last decision was made.
func (s Schedule) due(first, last, decided time.Time) time.Time {
	due := last.Add(s.Quiet)
	if most := first.Add(s.Longest); most.Before(due) {
		due = most
	}
	if spaced := decided.Add(s.Spacing); spaced.After(due) {
		due = spaced
	}
	return due
}
