package statustest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

var nobody generation.Signature

func TestOrdersChangeWhatIsShown(t *testing.T) {
	f := statustest.New()
	events := f.Subscribe(t.Context())
	told := func(kind string) {
		t.Helper()
		if e := <-events; e.Kind != kind {
			t.Errorf("it tells %+v, want %s", e, kind)
		}
	}
	before := f.Status()
	if !before.Ready || len(before.Holds) != 1 || before.Holds[0].ID != statustest.HoldID {
		t.Fatalf("it begins with %+v", before)
	}
	held := len(before.Holds[0].Servers)
	if err := f.Approve(t.Context(), statustest.HoldID, nobody); err != nil {
		t.Fatal(err)
	}
	told("approved")
	st := f.Status()
	if len(st.Holds) != 0 || st.Servers != before.Servers-held || st.Upstreams != before.Upstreams-2 ||
		st.Generation.Number != before.Generation.Number+1 || !st.InSync {
		t.Errorf("approved: %+v", st)
	}

	if err := f.Freeze(t.Context(), status.FreezeRequest{Name: "login", For: "2h"}, nobody); err != nil {
		t.Fatal(err)
	}
	told("frozen")
	e, err := f.Explain(t.Context(), "login")
	if err != nil || !e.Frozen || e.Servers[0].State != status.Frozen {
		t.Errorf("frozen: %+v %v", e, err)
	}
	if err := f.Unfreeze(t.Context(), "login", nobody); err != nil {
		t.Fatal(err)
	}
	told("unfrozen")
	if e, _ := f.Explain(t.Context(), "login"); e.Frozen || e.Servers[0].State != status.In {
		t.Errorf("not frozen any more: %+v", e)
	}

	result, err := f.Rollback(t.Context(), 10, nobody)
	if err != nil || result.Generation.Number != st.Generation.Number+1 || result.Opinion.IsZero() {
		t.Errorf("rolled back: %+v %v", result, err)
	}
	told("rolled_back")
	if c, err := f.Diff(10, result.Generation.Number); err != nil || len(c.Added)+len(c.Updated)+len(c.Removed) > 0 {
		t.Errorf("it is not generation 10 again: %+v %v", c, err)
	}
	if c, err := f.Diff(7, 12); err != nil || len(c.Updated) != 1 || len(c.Updated[0].In) != 5 {
		t.Errorf("from 7 to 12: %+v %v", c, err)
	}
	if !slices.Contains(f.Status().Freezes, status.Freeze{Name: status.Everything}) {
		t.Error("a rollback freezes everything")
	}
}

func TestWhatCannotBeDone(t *testing.T) {
	f := statustest.New()
	_, unknown := f.Explain(t.Context(), "nobody")
	_, notKept := f.Rollback(t.Context(), 99, nobody)
	_, damaged := f.Diff(7, 8)
	for name, c := range map[string]struct{ got, want error }{
		"an unknown upstream":    {unknown, status.ErrNotFound},
		"an unknown hold":        {f.Approve(t.Context(), "none", nobody), status.ErrNotFound},
		"an unknown freeze":      {f.Unfreeze(t.Context(), "login", nobody), status.ErrNotFound},
		"freezing nobody":        {f.Freeze(t.Context(), status.FreezeRequest{Name: "nobody"}, nobody), status.ErrNotFound},
		"no name":                {f.Freeze(t.Context(), status.FreezeRequest{}, nobody), status.ErrInvalid},
		"no time":                {f.Freeze(t.Context(), status.FreezeRequest{Name: "*", For: "-1h"}, nobody), status.ErrInvalid},
		"a generation not kept":  {notKept, status.ErrNotFound},
		"a damaged generation":   {damaged, status.ErrConflict},
		"a damaged one put back": {func() error { _, err := f.Rollback(t.Context(), 8, nobody); return err }(), status.ErrConflict},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v", name, c.got)
		}
	}
}

// TestEverybodyAtOnce is for the race detector.
func TestEverybodyAtOnce(t *testing.T) {
	f := statustest.Large(50, 10)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			ctx := context.WithoutCancel(t.Context())
			for u := range f.Upstreams() {
				_ = f.Freeze(ctx, status.FreezeRequest{Name: u.Name}, nobody)
				_, _ = f.Explain(ctx, u.Name)
				_ = f.Unfreeze(ctx, u.Name, nobody)
				_ = f.Status()
			}
			f.Hold("h", "service-00001")
			_ = f.Approve(ctx, "h", nobody)
			_, _ = f.Rollback(ctx, 1, nobody)
			_, _ = f.History()
			_ = f.Timeline(100)
		})
	}
	all.Wait()
	if st := statustest.Large(2000, 10).Status(); st.Upstreams != 2000 || st.Servers != 20_000 {
		t.Errorf("the large one has %d upstreams and %d servers", st.Upstreams, st.Servers)
	}
}
