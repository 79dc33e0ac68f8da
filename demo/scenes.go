package demo

import (
	"context"
	"errors"
	"slices"
	"time"

	"swallowkeeper/guard"
)

// grow adds three instances to web.
func (s *stage) grow(ctx context.Context) error {
	s.line("web grows from 2 instances to 5.")
	for range 3 {
		s.pause(ctx, 1200*time.Millisecond)
		i, took, err := s.join(ctx)
		if err != nil {
			return err
		}
		s.line("%s %s, and served its first request %s later.", i.name, s.taking, ms(took))
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	return s.allServe(ctx, web)
}

// held waits until the guard holds the removal of everything, and checks that the gateway is unchanged.
func (s *stage) held(ctx context.Context) error {
	isHeld := func() bool {
		return slices.ContainsFunc(s.status().Holds, func(h guard.Hold) bool { return h.Rule == guard.RuleMinServices })
	}
	if err := s.await(ctx, "the guard holds the empty answer", isHeld); err != nil {
		return err
	}
	s.line("%s %s.", s.view.warn("held:"), guard.Reasons(s.status().Holds))
	s.pause(ctx, 2*time.Second)
	if err := s.goesOn(ctx, isHeld); err != nil {
		return err
	}
	return s.allServe(ctx, web, search)
}

// goesOn checks that a hundred requests are answered while the condition holds, without a push.
func (s *stage) goesOn(ctx context.Context, holds func() bool) error {
	const more = 100
	before := sum(s.client.count().requests)
	if err := s.await(ctx, "traffic goes on", func() bool { return sum(s.client.count().requests) >= before+more }); err != nil {
		return err
	}
	if !holds() || !s.everyWorkerHasAll() || s.pushed() != s.before {
		return errors.New("something was pushed to the gateway although nothing should change")
	}
	s.line("All servers are still in the gateway, and %d requests since were answered.", more)
	return nil
}

// mended waits until the hold has ended by itself, without a push.
func (s *stage) mended(ctx context.Context, began time.Time) error {
	if err := s.await(ctx, "the hold ends", func() bool { return len(s.status().Holds) == 0 }); err != nil {
		return err
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	if s.pushed() != s.before {
		return errors.New("the end of the hold was not the end of it: something was pushed to the gateway")
	}
	s.line("The hold ended by itself after %s. Nothing was pushed in between, so there is nothing to repair.",
		ms(time.Since(began)))
	return nil
}

// replaced replaces a lost instance of web by a new one.
func (s *stage) replaced(ctx context.Context) error {
	s.pause(ctx, 1200*time.Millisecond)
	i, took, err := s.join(ctx)
	if err != nil {
		return err
	}
	s.line("%s takes the crashed one's place: first request after %s.", i.name, ms(took))
	if err := s.inSync(ctx); err != nil {
		return err
	}
	return s.allServe(ctx, web, search)
}
