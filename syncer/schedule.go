package syncer

import "time"

// Schedule says when changes are taken. A change after a calm is taken at once. Those
// that follow close upon a decision are taken together: when nothing new has come for
// a quiet time, and at the longest wait all the same.
type Schedule struct {
	Calm    time.Duration // without a decision; a change after it does not wait
	Quiet   time.Duration // without a change, before those that have come are taken
	Longest time.Duration // that the first of them waits
}

// DefaultSchedule turns a row of changes into few large decisions and delays a single one by nothing.
func DefaultSchedule() Schedule {
	return Schedule{Calm: 20 * time.Millisecond, Quiet: 5 * time.Millisecond, Longest: 20 * time.Millisecond}
}

// due is when to decide: first and last are when the oldest and the newest change came
// that no decision has seen, decided is when the last decision was made.
func (s Schedule) due(first, last, decided time.Time) time.Time {
	if first.Sub(decided) >= s.Calm {
		return first
	}
	due, most := last.Add(s.Quiet), first.Add(s.Longest)
	if most.Before(due) {
		return most
	}
	return due
}
