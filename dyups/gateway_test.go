package dyups_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// told is a server whose workers hear of changes by being asked alone.
func told() dyupstest.Options {
	return dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: time.Minute}
}

func TestEveryWorkerHasTheChangeWhenApplyReturns(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	want := set(web("a", 1, 2), web("b", 3))
	mustSync(t, g, want)
	alike(t, s, want)

	for i := range 30 {
		want = set(web("a", uint16(i+10)), web("b", 3, uint16(i+100)))
		mustSync(t, g, want)
		alike(t, s, want)
	}
	want = set(web("b", 1))
	mustSync(t, g, want)
	alike(t, s, want)
}

func TestOneChangeCostsOnePostAndOneGetAWorker(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	before := set(web("a", 1), web("b", 2))
	mustSync(t, g, before)
	gets, posts := s.Gets(), s.Posts()
	after := set(web("a", 1, 2), web("b", 2))
	if _, err := g.Apply(t.Context(), upstream.Diff(before, after)); err != nil {
		t.Fatal(err)
	}
	alike(t, s, after)
	if gets, posts = s.Gets()-gets, s.Posts()-posts; posts != 1 || gets != 4 {
		t.Errorf("%d posts and %d gets, want 1 and 4", posts, gets)
	}
}

func TestOptionsReachEveryWorker(t *testing.T) {
	for _, maxConns := range []bool{true, false} {
		for _, noDetail := range []bool{false, true} {
			o := told()
			o.MaxConns, o.NoDetail = maxConns, noDetail
			s := server(t, o)
			g := gateway(t, s, o, quiet())
			u := web("a", 1, 2, 3)
			mustSync(t, g, set(u))
			for _, change := range []func(){
				func() { u.Options.Keepalive = 40 },
				func() { u.Options.Keepalive = 0 },
				func() { u.Options.Method = "least_conn" },
				func() { u.Servers[1].Weight = 7 },
				func() { u.Servers[1].Down = true },
				func() { u.Servers[0].MaxConns = 5 },
				func() { u.Servers[2].Backup = true },
			} {
				change()
				// The set shares the servers with those before, so a copy has to be made.
				u.Servers = append([]upstream.Server(nil), u.Servers...)
				if c := mustSync(t, g, set(u)); len(c.Updated) != 1 {
					t.Errorf("max_conns %v, no detail %v: %d updates", maxConns, noDetail, len(c.Updated))
				}
				alike(t, s, set(u))
				if c := mustSync(t, g, set(u)); !c.Empty() {
					t.Errorf("max_conns %v, no detail %v: again: %+v", maxConns, noDetail, c)
				}
			}
		}
	}
}

func TestWarmRestartPostsNothing(t *testing.T) {
	tests := []struct {
		name string
		o    dyupstest.Options
	}{
		{"with header", dyupstest.Options{WorkerHeader: true, MaxConns: true}},
		{"without header", dyupstest.Options{MaxConns: true}},
		{"without max_conns", dyupstest.Options{WorkerHeader: true}},
		{"without detail", dyupstest.Options{WorkerHeader: true, NoDetail: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := web("a", 1, 2)
			u.Servers[0].MaxConns = 9
			want := set(u, web("b", 3))
			tt.o.ConfFile = confFile(t, want)
			s := server(t, tt.o)
			g := gateway(t, s, tt.o, quiet())
			g.Assume(want)
			for range 3 {
				if c := mustSync(t, g, want); !c.Empty() {
					t.Fatalf("%+v", c)
				}
			}
			if n := s.Posts() + s.Deletes(); n != 0 {
				t.Errorf("%d calls", n)
			}
			u.Options.Keepalive = 99
			want = set(u, web("b", 3))
			mustSync(t, g, want)
			if s.Posts() != 1 {
				t.Errorf("%d posts for another keepalive", s.Posts())
			}
			eventually(t, "all workers have it", func() bool {
				for _, w := range s.Workers() {
					if !strings.Contains(w.Upstreams["a"], "keepalive 99;") {
						return false
					}
				}
				return true
			})
		})
	}
}

func confFile(t *testing.T, s upstream.Set) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dyups.upstream.conf")
	writeConf(t, path, s)
	return path
}

func writeConf(t *testing.T, path string, s upstream.Set) {
	t.Helper()
	var text []byte
	for u := range s.All() {
		text = nginxconf.AppendBlock(text, u)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestColdStart(t *testing.T) {
	tests := []struct {
		name      string
		upstreams int
		o         dyupstest.Options
	}{
		{"with header", 3000, dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: time.Minute}},
		{"without header", 1000, dyupstest.Options{MaxConns: true, ReadMsgTimeout: 200 * time.Millisecond}},
		{"trylock", 1000, dyupstest.Options{
			WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 50 * time.Millisecond, TryLock: true,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := many(tt.upstreams, 10)
			s := server(t, tt.o)
			g := gateway(t, s, tt.o, quiet())
			mustSync(t, g, want)
			if !tt.o.WorkerHeader {
				eventually(t, "the last changes are read", func() bool {
					for _, w := range s.Workers() {
						if len(w.Upstreams) < tt.upstreams {
							return false
						}
					}
					return true
				})
			}
			alike(t, s, want)
			// Without the header a queue that a busy machine drains late costs a few more.
			if n := s.Posts(); n != tt.upstreams && tt.o.WorkerHeader && !tt.o.TryLock || n > tt.upstreams+100 && !tt.o.TryLock {
				t.Errorf("%d posts", n)
			}
			if c := mustSync(t, g, want); !c.Empty() {
				t.Errorf("again: %d added, %d updated", len(c.Added), len(c.Updated))
			}
		})
	}
}

func TestQueueFullByAStalledWorker(t *testing.T) {
	o := told()
	o.QueueBytes = 64 << 10
	s := server(t, o)
	s.StallWorker(2, true)
	g := gateway(t, s, o, quiet())
	want := many(200, 10)
	// The stalled worker reads nothing, but takes what is posted to it.
	if _, err := sync(t.Context(), g, want); err != nil {
		t.Fatal(err)
	}
	alike(t, s, want)
	s.StallWorker(2, false)
	mustSync(t, g, want)
	alike(t, s, want)
}

func TestHiddenChangesReachTheOthersWhileAWorkerIsStalled(t *testing.T) {
	o := told()
	o.QueueBytes = 64 << 10
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	mustSync(t, g, many(200, 10))
	s.StallWorker(2, true)
	var list []upstream.Upstream
	for u := range many(200, 10).All() {
		u.Options.Keepalive = 40
		list = append(list, u)
	}
	mustSync(t, g, set(list...))
	for i, w := range s.Workers() {
		for name, text := range w.Upstreams {
			if i != 2 && !strings.Contains(text, "keepalive 40;") {
				t.Fatalf("worker %d has the old %s", i, name)
			}
		}
	}
}

func TestWithoutHeaderAFullQueueIsNotForgotten(t *testing.T) {
	o := dyupstest.Options{MaxConns: true, Workers: 2, QueueBytes: 64 << 10, ReadMsgTimeout: 20 * time.Millisecond}
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	before, want := many(200, 9), many(200, 10)
	eventually(t, "in sync", func() bool { _, err := sync(t.Context(), g, before); return err == nil })
	eventually(t, "both workers", func() bool { return len(s.Workers()[0].Upstreams)+len(s.Workers()[1].Upstreams) == 400 })
	live, err := g.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := 0 // than the one that answers
	if calls := s.Calls(); calls[len(calls)-1].PID == s.Workers()[0].PID {
		other = 1
	}
	s.StallWorker(other, true)
	if _, err := g.Apply(t.Context(), upstream.Diff(live.Set, want)); !is(err, (*dyups.Error).PartlyApplied) {
		t.Fatalf("error %v", err)
	}
	for range 20 {
		live, err := g.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if upstream.Diff(live.Set, want).Empty() {
			t.Fatal("it counts as in sync")
		}
	}
	s.StallWorker(other, false)
	eventually(t, "in sync", func() bool { _, err := sync(t.Context(), g, want); return err == nil })
	eventually(t, "both workers", func() bool {
		return maps.Equal(s.Workers()[0].Upstreams, s.Workers()[1].Upstreams)
	})
	alike(t, s, want)
}

func TestQueueFullOfOthersChanges(t *testing.T) {
	for _, header := range []bool{true, false} {
		o := dyupstest.Options{WorkerHeader: header, MaxConns: true, QueueBytes: 64 << 10, ReadMsgTimeout: 300 * time.Millisecond}
		s := server(t, o)
		c := dyups.NewClient(s.API())
		for u := range many(200, 10).All() {
			if err := c.Post(t.Context(), u.Name, nginxconf.AppendBody(nil, u)); err != nil {
				if e := new(dyups.Error); !errors.As(err, &e) || !e.PartlyApplied() {
					t.Fatal(err)
				}
				break
			}
		}
		c.HTTPClient.CloseIdleConnections()
		g := gateway(t, s, o, quiet())
		want := many(60, 10)
		eventually(t, "in sync", func() bool { _, err := sync(t.Context(), g, want); return err == nil })
		eventually(t, "the last changes are read", func() bool {
			for _, w := range s.Workers() {
				if len(w.Upstreams) != 60 {
					return false
				}
			}
			return true
		})
		alike(t, s, want)
	}
}

func TestTryLock(t *testing.T) {
	o := told()
	o.TryLock = true
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	mustSync(t, g, set(web("a", 1)))
	s.FailNext(3, http.StatusConflict, "wait and try again\n", http.MethodPost)
	mustSync(t, g, set(web("a", 2)))
	alike(t, s, set(web("a", 2)))

	release := s.LockQueue()
	defer release()
	if _, err := sync(t.Context(), g, set(web("a", 3))); err == nil {
		t.Fatal("no error although the lock was held all the time")
	} else if e := new(dyups.Error); !errors.As(err, &e) || !e.Temporary() {
		t.Errorf("error %v", err)
	}
	release()
	mustSync(t, g, set(web("a", 3)))
	alike(t, s, set(web("a", 3)))
}

func TestOneRefusedUpstreamDoesNotStopTheOthers(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	bad := web("bad", 2)
	bad.Options.Method = "hash $nobody"
	empty := upstream.Upstream{Name: "empty"}
	c := upstream.Changes{Added: []upstream.Upstream{web("a", 1), empty, web("b", 3)}}
	s.FailNext(1, http.StatusInternalServerError, "add server failed", http.MethodPost)
	_, err := g.Apply(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "upstream a:") || !strings.Contains(err.Error(), "add server failed") ||
		!strings.Contains(err.Error(), "upstream empty") || strings.Contains(err.Error(), "upstream b") {
		t.Errorf("error %v", err)
	}
	alike(t, s, set(web("b", 3)))
	for _, call := range s.Calls() {
		if call.Method == http.MethodPost && strings.TrimSpace(call.Body) == "" {
			t.Error("an empty body was posted")
		}
	}
}

func TestManyErrorsAreNotAllNamed(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	s.FailNext(50, http.StatusInternalServerError, "add server failed", http.MethodPost)
	_, err := sync(t.Context(), g, many(50, 1))
	if err == nil || strings.Count(err.Error(), "add server failed") != 10 || !strings.Contains(err.Error(), "and 40 more") {
		t.Errorf("error %v", err)
	}
}

func TestDeleteWhatOneWorkerAloneHas(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	// A crashed worker comes back without what was posted; the others still have it.
	want = set(web("a", 1))
	s.FailNext(1, http.StatusNotFound, "not found uptream", http.MethodDelete)
	mustSync(t, g, want)
	alike(t, s, want)
}

func TestDisagreementHasNoServers(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	mustSync(t, g, set(web("a", 1), web("b", 2)))
	s.StallWorker(0, true)
	c := dyups.NewClient(s.API())
	defer c.HTTPClient.CloseIdleConnections()
	// Posted until another worker than the stalled one takes it, which alone has it then.
	var alone upstream.Upstream
	for i := range 1000 {
		alone = web(fmt.Sprintf("alone-%d", i), 3)
		for _, u := range []upstream.Upstream{alone, web("a", uint16(10+i))} {
			if err := c.Post(t.Context(), u.Name, nginxconf.AppendBody(nil, u)); err != nil {
				t.Fatal(err)
			}
		}
		c.HTTPClient.CloseIdleConnections()
		if calls := s.Calls(); calls[len(calls)-1].PID != s.Workers()[0].PID {
			break
		}
	}
	live, err := g.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	behind := 0
	for _, w := range g.Workers() {
		if w.Err != nil {
			behind++
		}
	}
	if behind == 0 || behind == len(s.Workers()) {
		t.Errorf("%d of the workers count as behind", behind)
	}
	for name, servers := range map[string]int{"a": 0, "b": 1, alone.Name: 0} {
		if u, ok := live.Set.Get(name); !ok || len(u.Servers) != servers {
			t.Errorf("%s: %v %+v", name, ok, u)
		}
	}
	s.StallWorker(0, false)
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	alike(t, s, want)
	for _, w := range g.Workers() {
		if w.Err != nil {
			t.Errorf("worker %s: %v", w.ID, w.Err)
		}
	}
}

func TestWorkersAreShown(t *testing.T) {
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 50 * time.Millisecond}
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	if w := g.Workers(); len(w) != 0 {
		t.Errorf("before anything was asked there are %v", w)
	}
	want := set(web("a", 1))
	mustSync(t, g, want)
	before := g.Workers()
	if len(before) != len(s.Workers()) {
		t.Fatalf("shown are %v, there are %v", before, s.Workers())
	}
	s.CrashWorker(1)
	eventually(t, "the new worker is shown", func() bool {
		mustSync(t, g, want)
		now := g.Workers()
		return len(now) == len(before) && now[len(now)-1].Since.After(before[0].Since) && now[0] == before[0]
	})

	o.WorkerHeader = false
	s = server(t, o)
	g = gateway(t, s, o, quiet())
	mustSync(t, g, want)
	if w := g.Workers(); len(w) != 0 {
		t.Errorf("where they can't be told apart there are %v", w)
	}
}

func TestAnotherCaseReplacesTheUpstream(t *testing.T) {
	o := told()
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	mustSync(t, g, set(web("Web", 1)))
	for _, want := range []upstream.Set{set(web("web", 1)), set(web("wEb", 2))} {
		mustSync(t, g, want)
		alike(t, s, want)
		if c := mustSync(t, g, want); !c.Empty() {
			t.Errorf("again: %+v", c)
		}
	}
}

func TestTheHeaderIsAskedForOnce(t *testing.T) {
	o := dyupstest.Options{MaxConns: true, ReadMsgTimeout: 20 * time.Millisecond}
	s := server(t, o)
	log, hook := test.NewNullLogger()
	g := gateway(t, s, o, log)
	for i := range 3 {
		mustSync(t, g, set(web("a", uint16(i+1))))
	}
	n := 0
	for _, e := range hook.AllEntries() {
		if strings.Contains(e.Message, "X-Dyups-Worker") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestTrouble(t *testing.T) {
	for _, header := range []bool{true, false} {
		o := dyupstest.Options{WorkerHeader: header, MaxConns: true, ReadMsgTimeout: 50 * time.Millisecond}
		s := server(t, o)
		g := gateway(t, s, o, quiet())
		mustSync(t, g, set(web("a", 1)))

		s.CutBodies(true)
		if _, err := g.Live(t.Context()); err == nil {
			t.Error("cut bodies: no error")
		}
		s.CutBodies(false)

		s.Hang(true)
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := g.Live(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hanging: %v", err)
		}
		cancel()
		s.Hang(false)

		eventually(t, "in sync again", func() bool { _, err := sync(t.Context(), g, set(web("a", 2))); return err == nil })
		eventually(t, "all workers", func() bool {
			for _, w := range s.Workers() {
				if !strings.Contains(w.Upstreams["a"], ":2 ") {
					return false
				}
			}
			return true
		})
	}
}

func TestUnixSocket(t *testing.T) {
	o := told()
	o.APIAddr = "unix:" + filepath.Join(t.TempDir(), "s")
	s := server(t, o)
	g := gateway(t, s, o, quiet())
	mustSync(t, g, set(web("a", 1)))
	alike(t, s, set(web("a", 1)))
}

func TestNginxIsNotThere(t *testing.T) {
	s := server(t, told())
	g := gateway(t, s, told(), quiet())
	mustSync(t, g, set(web("a", 1)))
	s.Close()
	if _, err := g.Live(t.Context()); err == nil {
		t.Error("Live: no error")
	}
	if _, err := g.Apply(t.Context(), upstream.Diff(upstream.Set{}, set(web("a", 2)))); err == nil {
		t.Error("Apply: no error")
	}
}

// An nginx with keepalive_timeout 0 shows its workers' pids, and lets nobody keep them.
func TestConnectionsThatAreNotKept(t *testing.T) {
	o := dyupstest.Options{WorkerHeader: true, MaxConns: true, ReadMsgTimeout: 50 * time.Millisecond}
	s := server(t, o)
	target, err := url.Parse(s.API())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := &http.Transport{DisableKeepAlives: true}
	proxy.Transport = transport
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	c := dyups.DefaultConfig()
	c.Address = front.URL
	c.ReadMsgTimeout = o.ReadMsgTimeout
	log, hook := test.NewNullLogger()
	g := dyups.New(c, log)
	defer g.Close()
	want := set(web("a", 1), web("b", 2))
	mustSync(t, g, want)
	if c := mustSync(t, g, want); !c.Empty() {
		t.Errorf("again: %+v", c)
	}
	if e := hook.LastEntry(); e == nil || !strings.Contains(e.Message, "closes each connection") {
		t.Errorf("log: %+v", e)
	}
	eventually(t, "all workers have it", func() bool {
		for _, w := range s.Workers() {
			if len(w.Upstreams) != 2 {
				return false
			}
		}
		return true
	})
	alike(t, s, want)
}

func BenchmarkOneChange(b *testing.B) {
	s, err := dyupstest.New(told())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := dyups.DefaultConfig()
	c.Address = s.API()
	g := dyups.New(c, quiet())
	defer g.Close()
	states := []upstream.Set{set(web("a", 1)), set(web("a", 2))}
	if _, err := sync(b.Context(), g, states[1]); err != nil {
		b.Fatal(err)
	}
	changes := []upstream.Changes{upstream.Diff(states[1], states[0]), upstream.Diff(states[0], states[1])}
	for i := 0; b.Loop(); i++ {
		if _, err := g.Apply(b.Context(), changes[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLiveWhereNothingChanged(b *testing.B) {
	s, err := dyupstest.New(told())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := dyups.DefaultConfig()
	c.Address = s.API()
	g := dyups.New(c, quiet())
	defer g.Close()
	if _, err := sync(b.Context(), g, many(1000, 10)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := g.Live(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
