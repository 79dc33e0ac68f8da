package dyups_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/upstream"
)

func TestCrashedWorkerIsNoticedAndRepaired(t *testing.T) {
	file := set(web("a", 1), web("b", 2))
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 50 * time.Millisecond, ConfFile: confFile(t, file)}
	s := server(t, o)
	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	g.Assume(file)
	b := web("b", 2)
	b.Options.Keepalive = 50 // nothing shows this one
	want := set(web("a", 7), b, web("c", 8))
	mustSync(t, g, want)
	alike(t, s, want)

	s.CrashWorker(1)
	eventually(t, "the new worker is found", func() bool {
		mustSync(t, g, want)
		return !g.Incomplete()
	})
	mustSync(t, g, want)
	alike(t, s, want)
	said := false
	for _, e := range hook.AllEntries() {
		said = said || strings.Contains(e.Message, "after a crash")
	}
	if !said {
		t.Error("the log does not tell of the new worker")
	}
	posts := s.Posts()
	mustSync(t, g, want)
	if s.Posts() != posts {
		t.Error("posted again")
	}
}

func TestCrashedWorkerWithoutDetailIsRepaired(t *testing.T) {
	file := set(web("a", 1))
	o := dyupstest.Options{WorkerHeader: true, NoDetail: true, ReadMsgTimeout: 50 * time.Millisecond, ConfFile: confFile(t, file)}
	s := server(t, o)
	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	g.Assume(file)
	a := web("a", 1)
	a.Servers[0].Weight = 7 // this build shows addresses alone
	want := set(a)
	mustSync(t, g, want)
	alike(t, s, want)

	s.CrashWorker(1)
	eventually(t, "the new worker is found", func() bool {
		mustSync(t, g, want)
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "after a crash") {
				return true
			}
		}
		return false
	})
	mustSync(t, g, want)
	alike(t, s, want)
}

func TestWhatABrokenPushHasSentIsTakenBack(t *testing.T) {
	file := set(web("a", 1), web("b", 2))
	o := told()
	o.ConfFile = confFile(t, file)
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	g.Assume(file)
	mustSync(t, g, file)
	a, b := web("a", 1), web("b", 2)
	a.Options.Keepalive, b.Options.Keepalive = 50, 50 // nothing shows these
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	s.Delay(20 * time.Millisecond)
	go func() {
		_, err := g.Apply(ctx, upstream.Diff(file, set(a, b)))
		ended <- err
	}()
	eventually(t, "the first is made", func() bool { return s.Posts() > 0 })
	s.Hang(true)
	if err := <-ended; err == nil {
		t.Fatal("the push did not break off")
	}
	s.Hang(false)
	s.Delay(0)
	eventually(t, "in sync", func() bool { _, err := sync(t.Context(), g, file); return err == nil })
	alike(t, s, file)
}

func TestWorkerCrashesBeforeAChange(t *testing.T) {
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 50 * time.Millisecond}
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	before := set(web("a", 1), web("b", 2))
	mustSync(t, g, before)
	for i := range 4 {
		s.CrashWorker(i)
		after := set(web("a", 1), web("b", uint16(10+i)))
		_, _ = g.Apply(t.Context(), upstream.Diff(before, after))
		before = after
		eventually(t, "all workers are in sync", func() bool {
			_, err := sync(t.Context(), g, after)
			return err == nil && !g.Incomplete()
		})
		alike(t, s, after)
	}
}

// The delivery tells the gateway only what differs from what it confirmed last: nothing else
// would have the new worker's other upstreams compared.
func TestAWorkerThatApplyMeetsFirstIsCompared(t *testing.T) {
	file := set(web("a", 1), web("b", 2))
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 20 * time.Millisecond, ConfFile: confFile(t, file)}
	s := server(t, o)
	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	before := set(web("a", 7), web("b", 2))
	mustSync(t, g, before)

	s.CrashWorker(1)
	port := uint16(10)
	eventually(t, "the new worker is met", func() bool {
		after := set(web("a", 7), web("b", port))
		port++
		_, err := g.Apply(t.Context(), upstream.Diff(before, after))
		before = after
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "after a crash") {
				if err == nil || !strings.Contains(err.Error(), "must be compared") {
					t.Fatalf("error %v", err)
				}
				return true
			}
		}
		return false
	})
	mustSync(t, g, before)
	alike(t, s, before)
}

// Nobody knows what was posted before the gateway was made, and so what nginx loaded.
func TestWorkerThatCrashesAfterAWarmRestartIsRepaired(t *testing.T) {
	file := set(web("a", 1), web("b", 2))
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 20 * time.Millisecond, ConfFile: confFile(t, file)}
	s := server(t, o)
	a := web("a", 1)
	a.Options.Keepalive = 50 // nothing shows this one
	want := set(a, web("b", 2))
	before := gateway(t, s, o, quiet())
	before.Assume(file)
	mustSync(t, before, want)
	alike(t, s, want)
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	writeConf(t, o.ConfFile, want)

	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	g.Assume(want)
	posts := s.Posts()
	if c := mustSync(t, g, want); !c.Empty() || s.Posts() != posts {
		t.Fatalf("the warm restart posts: %+v", c)
	}
	s.CrashWorker(1)
	eventually(t, "the new worker is found", func() bool {
		mustSync(t, g, want)
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "after a crash") {
				return true
			}
		}
		return false
	})
	mustSync(t, g, want)
	alike(t, s, want)
	posts = s.Posts()
	if c := mustSync(t, g, want); !c.Empty() || s.Posts() != posts {
		t.Errorf("posted again: %+v", c)
	}
}

func TestReloadAfterAWarmRestartPostsNothing(t *testing.T) {
	want := set(web("a", 1), web("b", 2))
	o := told()
	o.ConfFile = confFile(t, want)
	s := server(t, o)
	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	g.Assume(want)
	mustSync(t, g, want)
	eventually(t, "a reload is seen as one", func() bool { // see TestReloadPostsNothing
		hook.Reset()
		posts := s.Posts()
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		mustSync(t, g, want)
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "after a crash") {
				return false
			}
		}
		if s.Posts() != posts {
			t.Fatal("posted again")
		}
		return true
	})
	alike(t, s, want)
}

func TestWhatAllCrashedWorkersShowIsRepaired(t *testing.T) {
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 20 * time.Millisecond}
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	for i := range 4 {
		s.CrashWorker(i)
	}
	eventually(t, "in sync", func() bool {
		_, err := sync(t.Context(), g, want)
		return err == nil && !g.Incomplete()
	})
	alike(t, s, want)
}

func TestReloadPostsNothing(t *testing.T) {
	want := set(web("a", 1), web("b", 2))
	o := told()
	o.ConfFile = confFile(t, set())
	s := server(t, o)
	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	mustSync(t, g, want)
	writeConf(t, o.ConfFile, want)
	// Asked while old workers are still there, it looks like a crash, and is posted again
	// to be sure. That must be the exception.
	left := 0
	for range 5 {
		posts := s.Posts()
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		mustSync(t, g, want)
		alike(t, s, want)
		if s.Posts() == posts {
			left++
		}
	}
	if left < 3 {
		t.Errorf("posted again after %d of 5 reloads", 5-left)
	}
	said := false
	for _, e := range hook.AllEntries() {
		said = said || strings.Contains(e.Message, "a reload, or a crash of all")
	}
	if !said {
		t.Error("the log does not tell of the reload")
	}
}

func TestReloadOfAnOldFileIsRepaired(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	mustSync(t, g, want)
	alike(t, s, want)
}
