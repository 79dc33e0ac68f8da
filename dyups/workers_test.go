package dyups

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/upstream"
)

func TestMissedWorkersAreFoundInTime(t *testing.T) {
	s, err := dyupstest.New(dyupstest.Options{WorkerHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := DefaultConfig()
	c.Address = s.API()
	log, _ := test.NewNullLogger()
	g := New(c, log)
	defer g.Close()
	if _, err := g.Live(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(g.workers.list); n != 4 {
		t.Fatalf("%d workers", n)
	}
	for _, w := range g.workers.list[1:] {
		w.link.close()
	}
	g.workers.list = g.workers.list[:1] // as if the search had missed the others
	for try := 0; len(g.workers.list) < 4; try++ {
		if _, err := g.Live(t.Context()); err != nil {
			t.Fatal(err)
		}
		if try == 100 {
			t.Fatalf("%d workers after %d looks", len(g.workers.list), try)
		}
	}
}

func TestLateWorkersAreLookedForAfterAStart(t *testing.T) {
	s, err := dyupstest.New(dyupstest.Options{WorkerHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := DefaultConfig()
	c.Address = s.API()
	log, _ := test.NewNullLogger()
	g := New(c, log)
	defer g.Close()
	// Seen while only some of the old workers have closed their connections, a reload is a crash.
	reload := func() error {
		err := s.Reload()
		usable := func(w *worker) bool { return w.link.usable() }
		for limit := time.Now().Add(20 * time.Second); slices.ContainsFunc(g.workers.list, usable); <-time.After(time.Millisecond) {
			if time.Now().After(limit) {
				return errors.New("the old workers keep their connections")
			}
		}
		return err
	}
	for _, start := range []func() error{func() error { return nil }, reload} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Live(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !g.Incomplete() {
			t.Error("it counts as complete at once")
		}
		g.workers.fresh = g.workers.fresh.Add(-g.workers.patience)
		g.workers.missing = nil // a reload that looks like a crash may leave some
		if g.Incomplete() {
			t.Error("it never counts as complete")
		}
	}
}

func TestANewWorkerIsDoubtedAlsoWhereTheSearchBreaksOff(t *testing.T) {
	s, err := dyupstest.New(dyupstest.Options{WorkerHeader: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := DefaultConfig()
	c.Address = s.API()
	log, _ := test.NewNullLogger()
	posted := upstream.Upstream{Name: "a"}
	for range 20 {
		g := New(c, log)
		g.memory.posted(posted)
		if _, err := g.Live(t.Context()); err != nil {
			t.Fatal(err)
		}
		dial := g.workers.dial
		var dialled atomic.Int32
		g.workers.dial = func(ctx context.Context) (net.Conn, error) {
			if dialled.Add(1) > burst {
				return nil, errors.New("no more connections")
			}
			return dial(ctx)
		}
		s.CrashWorker(1)
		s.CrashWorker(2) // the search goes on for this one
		for g.workers.arrived == 0 {
			dialled.Store(0)
			_, _ = g.Live(t.Context())
		}
		if !g.memory.of["a"].doubted {
			t.Error("the new worker counts as having what was posted")
		}
		_ = g.Close()
	}
}

func TestWhereAChangeShows(t *testing.T) {
	server := func(port uint16, weight int) upstream.Server {
		return upstream.Server{
			Addr: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Weight: weight, FailTimeout: time.Second,
		}
	}
	old := upstream.Upstream{Name: "a", Servers: []upstream.Server{server(1, 1)}}
	tests := []struct {
		name   string
		change func(old, now *upstream.Upstream)
		want   showing
	}{
		{"address", func(_, now *upstream.Upstream) { now.Servers = []upstream.Server{server(2, 1)} }, byAddresses},
		{"one more", func(_, now *upstream.Upstream) { now.Servers = []upstream.Server{server(1, 1), server(2, 1)} }, byAddresses},
		{"weight", func(_, now *upstream.Upstream) { now.Servers = []upstream.Server{server(1, 2)} }, byOptions},
		{"workers differ", func(old, _ *upstream.Upstream) { old.Servers = nil }, byOptions},
		{"spelling", func(_, now *upstream.Upstream) { now.Name = "A" }, byOptions},
		{"keepalive", func(_, now *upstream.Upstream) { now.Options.Keepalive = 9 }, nowhere},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, now := old, old
			tt.change(&before, &now)
			if got := showingOf(upstream.Update{Old: before, New: now}); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}
