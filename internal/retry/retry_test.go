package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/internal/retry"
)

var errFails = errors.New("it fails")

func policy() retry.Policy {
	return retry.Policy{First: time.Second, Longest: 10 * time.Second, Healthy: time.Minute}
}

func TestRunWaitsLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		began := time.Now()
		err := policy().Run(t.Context(), func(context.Context) error {
			if len(waits) == 8 {
				return nil
			}
			return errFails
		}, func(err error, wait time.Duration) {
			if !errors.Is(err, errFails) {
				t.Errorf("told of %v", err)
			}
			waits = append(waits, wait)
		})
		if err != nil {
			t.Fatal(err)
		}
		var sum time.Duration
		for i, w := range waits {
			middle := min(time.Second<<i, 10*time.Second)
			if w < middle*7/10 || w > middle*13/10 {
				t.Errorf("wait %d is %s, want about %s", i+1, w, middle)
			}
			sum += w
		}
		if got := time.Since(began); got != sum {
			t.Errorf("it took %s, the waits are %s", got, sum)
		}
	})
}

func TestRunStartsSmallAfterAHealthyRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		_ = policy().Run(t.Context(), func(context.Context) error {
			switch len(waits) {
			case 5:
				time.Sleep(2 * time.Minute) // the fake clock's: a run that was healthy for long
			case 6:
				return nil
			}
			return errFails
		}, func(_ error, wait time.Duration) { waits = append(waits, wait) })
		if last := waits[len(waits)-1]; last > 2*time.Second {
			t.Errorf("after a healthy run it waited %s", last)
		}
		if before := waits[len(waits)-2]; before < 5*time.Second {
			t.Errorf("before it, %s: the test shows nothing", before)
		}
	})
}

func TestRunEndsWithTheContext(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"while it waits", func(context.Context) error { return errFails }},
		{"while it runs", func(ctx context.Context) error { <-ctx.Done(); return errFails }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
				defer cancel()
				began := time.Now()
				err := policy().Run(ctx, tt.run, func(error, time.Duration) {})
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 90*time.Minute {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
			})
		})
	}
}
