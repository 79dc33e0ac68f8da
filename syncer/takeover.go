package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"swallowkeeper/generation"
)

// takeOver makes the conf file the baseline again if err means that another process wrote it after us, and reports
// whether it did. What was decided was based on an older state and must not replace it.
func (s *Syncer) takeOver(err error) bool {
	if !isNewer(err) {
		return false
	}
	s.parts.Log.WithError(err).Error("another process writes the conf file: its state is the baseline now, and is judged anew")
	before, account, fresh := s.gen, s.history, s.fresh
	for _, d := range s.deliveries { // before reading it: after that, the store considers our state current
		d.hold()
	}
	gen, err := s.baseline()
	if err != nil {
		for _, d := range s.deliveries {
			d.release()
		}
		s.parts.Log.WithError(err).Error("the conf file can't be read")
		return false
	}
	if slices.Equal(gen.Guard, before.Guard) {
		s.history, s.fresh = account, fresh // their state equals ours as last written, and ours has more recent observations
	}
	// What only we had may have reached a gateway after the other process removed it.
	for _, name := range next(before, gen.Set).Leaving {
		if !slices.Contains(gen.Leaving, name) {
			gen.Leaving, s.unwritten = append(gen.Leaving, name), true
		}
	}
	s.mu.Lock()
	s.gen = gen
	s.mu.Unlock()
	same := gen.Number == before.Number && gen.Set.Equal(before.Set) // only the header differs
	if !same {
		s.intake.outdate(gen.Time)
	}
	left := orphans(before, gen)
	for _, d := range s.deliveries {
		if same && len(left) == 0 {
			d.release()
			d.to(gen, Timing{})
		} else {
			d.doubt(left)
			d.replace(gen)
		}
	}
	s.changed()
	return true
}

// orphans returns the names that are leaving now and were neither present nor leaving before, so that nothing is
// known about them on the gateways.
func orphans(before, now generation.Generation) []string {
	var list []string
	for _, name := range now.Leaving {
		if _, there := before.Set.Get(name); !there && !slices.Contains(before.Leaving, name) {
			list = append(list, name)
		}
	}
	return list
}

// newer returns an error if another process wrote a newer generation than ours, or if that can't be determined.
func (s *Syncer) newer() error {
	if o, ok := s.parts.Store.(Overtaken); ok {
		return o.Overtaken()
	}
	return nil
}

// isNewer reports whether a store's error means that another process wrote a newer generation than ours.
func isNewer(err error) bool {
	var newer interface{ Newer() bool }
	return errors.As(err, &newer) && newer.Newer()
}

// mayPush returns errOvertaken if our generation is outdated; the loop then takes over the newer one. If that can't
// be determined, it returns an error that says why.
func (s *Syncer) mayPush() error {
	err := s.newer()
	if err == nil {
		return nil
	}
	signal(s.overtaken)
	if isNewer(err) {
		return errOvertaken
	}
	return fmt.Errorf("it differs from the conf file as it was, and nothing is pushed: %w", err)
}

// makeSure takes over what another process wrote. If there is nothing to take over, it restores the conf file.
func (s *Syncer) makeSure(ctx context.Context) {
	switch {
	case s.takeOver(s.newer()):
		signal(s.intake.changed)
	case s.verifyErr == nil: // otherwise verify is tried at its own interval
		s.verify(ctx)
	}
}

// heardAgain reports whether a registry was heard since another process's generation was taken over. Its last set is
// valid again then, as it would have told of changes.
func (s *Syncer) heardAgain() bool {
	again := false
	for _, src := range s.parts.Sources {
		if !s.intake.isOld(src.Name) {
			continue
		}
		if c := src.Registry.Condition(); c.Trouble == nil && s.intake.counts(src.Name, c.Heard) {
			again = true
		}
	}
	return again
}
