package consul

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"swallowkeeper/registry/consul/consultest"
	"swallowkeeper/upstream"
)

// patience is generous: test machines are busy.
const patience = 20 * time.Second

// double is a Consul inside the test.
type double struct {
	*consultest.Server
	addr string
}

func startDouble(t testing.TB, opts consultest.Options) *double {
	t.Helper()
	s := consultest.New(opts)
	h := httptest.NewUnstartedServer(s)
	h.Listener = s.Listener(h.Listener)
	h.Start()
	t.Cleanup(func() {
		s.Close()
		h.Close()
	})
	return &double{Server: s, addr: h.Listener.Addr().String()}
}

// silent is a logger for tests that do not look at it.
func silent() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

func testConfig(addr string) Config {
	cfg := DefaultConfig()
	cfg.Address = addr
	cfg.Defaults = upstream.Defaults{All: upstream.DefaultTemplate()}
	return cfg
}

// newTestRegistry retries quickly, so that recoveries do not take tests long.
func newTestRegistry(t testing.TB, cfg Config, logger logrus.FieldLogger) *Registry {
	t.Helper()
	r, err := New(cfg, logger)
	if err != nil {
		t.Fatal(err)
	}
	r.retry.First, r.retry.Longest = 5*time.Millisecond, 50*time.Millisecond
	return r
}

// running is a Watch under way and what it publishes.
type running struct {
	t    testing.TB
	r    *Registry
	stop func()

	mu   sync.Mutex
	sets []upstream.Set
	more chan struct{}
}

func run(t testing.TB, r *Registry) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &running{t: t, r: r, more: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Watch(ctx, w.publish); err != nil {
			t.Errorf("Watch: %v", err)
		}
	}()
	w.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(w.stop)
	return w
}

func (w *running) publish(s upstream.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets = append(w.sets, s)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *running) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sets)
}

func (w *running) last() upstream.Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sets) == 0 {
		return upstream.Set{}
	}
	return w.sets[len(w.sets)-1]
}

// until waits until the newest set is as wanted.
func (w *running) until(what string, ok func(upstream.Set) bool) upstream.Set {
	w.t.Helper()
	limit := time.After(patience)
	for {
		if w.count() > 0 {
			if s := w.last(); ok(s) {
				return s
			}
		}
		select {
		case <-w.more:
		case <-limit:
			last := fmt.Sprint(w.last().Names(), w.last().Out())
			w.t.Fatalf("never came: %s; last was %.500s, trouble: %v", what, last, w.r.Condition().Trouble)
		}
	}
}

// servers waits until the upstream has so many servers; -1 is no upstream.
func (w *running) servers(name string, n int) upstream.Set {
	w.t.Helper()
	return w.until(name, func(s upstream.Set) bool { return serversOf(s, name) == n })
}

func serversOf(s upstream.Set, name string) int {
	u, ok := s.Get(name)
	if !ok {
		return -1
	}
	return len(u.Servers)
}

// eventually waits for a condition that no publication tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !ok(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// registration is one instance on a node, with one check of its own in the given state.
func registration(node, service, id, addr string, port int, status string) *api.CatalogRegistration {
	reg := &api.CatalogRegistration{
		Node: node, Address: "10.255.0.1",
		Service: &api.AgentService{ID: id, Service: service, Address: addr, Port: port},
	}
	if status != "" {
		reg.Checks = api.HealthChecks{{
			Node: node, CheckID: "service:" + id, Name: "own", Status: status, ServiceID: id, ServiceName: service,
		}}
	}
	return reg
}

func (d *double) register(t testing.TB, reg *api.CatalogRegistration) {
	t.Helper()
	if err := d.Register(*reg); err != nil {
		t.Fatal(err)
	}
}

// answering is a stub whose answers the test writes itself.
func answering(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Listener = mustListen(t)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

func mustListen(t testing.TB) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type (
	upstreamSet = upstream.Set
	upstreamOut = upstream.Out
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func testOptions() consultest.Options { return consultest.Options{} }

// logTo is a logger that writes warnings and errors there; read it when what logs has ended.
func logTo(w io.Writer) logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(w)
	l.SetLevel(logrus.WarnLevel)
	return l
}

// discard is a logger for servers that have much to say.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
