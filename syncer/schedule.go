package syncer

import "time"

// Schedule determines when to decide. A change after a calm period is decided at once. Changes soon after a decision
// are batched: until no change has come for the quiet time, but no longer than the longest wait, and never before the
// gap since that decision has passed, so that a busy registry does not keep the disk busy.
type Schedule struct {
	Calm    time.Duration // time without a decision after which a change does not wait
	Quiet   time.Duration // time without a change after which pending ones are decided
	Longest time.Duration // maximum wait of the first pending change
	Gap     time.Duration // minimum time between two decisions, unless there was a calm period
}

// DefaultSchedule batches bursts of changes into at most 20 decisions a second, and does not delay a single change.
func DefaultSchedule() Schedule {
	return Schedule{Calm: 50 * time.Millisecond, Quiet: 5 * time.Millisecond, Longest: 20 * time.Millisecond, Gap: 50 * time.Millisecond}
}

// due returns when to decide. first and last are the arrival times of the oldest and newest pending change, decided
// is the time of the last decision.
func (s Schedule) due(first, last, decided time.Time) time.Time {
	if first.Sub(decided) >= s.Calm {
		return first
	}
	due := last.Add(s.Quiet)
	if most := first.Add(s.Longest); most.Before(due) {
		due = most
	}
	if least := decided.Add(s.Gap); due.Before(least) {
		return least
	}
	return due
}
