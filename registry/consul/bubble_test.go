package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/registry/consul/consultest"
)

// pipes is a network inside a test whose time is not the machine's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (pipes) Close() error { return nil }

func (pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8500} }

func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p <- there:
		return piped{here}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// piped fails to write as a socket does.
type piped struct{ net.Conn }

func (p piped) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	if errors.Is(err, io.ErrClosedPipe) {
		err = syscall.EPIPE
	}
	return n, err
}

// bubble is a double with services of some instances each, a registry that watches it, and time of their own.
type bubble struct {
	*double
	*testing.T
	services, instances, nodes int
	ports                      map[string]int // of the first instance of each service
	rng                        *rand.Rand
	r                          *Registry
	last                       atomic.Pointer[upstreamSet]
	logged                     *test.Hook
}

func inBubble(t *testing.T, opts consultest.Options, services, instances, nodes int, only *plan, f func(b *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New(opts)
		network := make(pipes)
		web := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: discard()}
		served := make(chan struct{})
		go func() { defer close(served); _ = web.Serve(s.Listener(network)) }()
		b := &bubble{
			double: &double{Server: s, addr: "127.0.0.1:8500"}, T: t, services: services, instances: instances, nodes: nodes,
			ports: map[string]int{}, rng: rand.New(rand.NewPCG(1, 2)),
		}
		for i := range services {
			b.add(i)
		}
		log, logged := test.NewNullLogger()
		b.logged = logged
		b.r = newTestRegistry(t, testConfig(b.addr), log)
		b.r.endpoint.dial, b.r.only = network.dial, only
		ctx, cancel := context.WithCancel(t.Context())
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			if err := b.r.Watch(ctx, func(s upstreamSet) { b.last.Store(&s) }); err != nil {
				t.Error(err)
			}
		}()
		defer func() {
			cancel()
			<-watched
			s.Close()
			close(network)
			_ = web.Close()
			<-served
		}()
		b.right("at first", time.Minute)
		f(b)
	})
}

func (b *bubble) name(i int) string { return fmt.Sprintf("svc-%04d", i) }

// put registers an instance of a service, the first one at a new port.
func (b *bubble) put(i, j, port int) {
	b.register(b, registration(fmt.Sprintf("n%d", (i+j)%b.nodes), b.name(i), fmt.Sprintf("%s-%d", b.name(i), j), "10.0.0.1",
		port, "passing"))
	if j == 0 {
		b.ports[b.name(i)] = port
	}
}

func (b *bubble) add(i int) {
	for j := range b.instances {
		b.put(i, j, 1000+j)
	}
}

// change moves an instance of any service.
func (b *bubble) change() { b.put(b.rng.IntN(b.services), 0, 2000+b.rng.IntN(60_000)) }

// wrong names a service that is not published as it is registered, "" where there is none.
func (b *bubble) wrong() string {
	s := b.last.Load()
	if s == nil || s.Len() != len(b.ports) {
		return "the number of services"
	}
	for name, port := range b.ports {
		u, _ := s.Get(name)
		found := false
		for _, server := range u.Servers {
			found = found || int(server.Addr.Port()) == port
		}
		if !found || len(u.Servers) != b.instances {
			return name
		}
	}
	return ""
}

// right waits until all is published as it is registered.
func (b *bubble) right(when string, limit time.Duration) {
	b.Helper()
	for began := time.Now(); b.wrong() != ""; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // the bubble's time
		if time.Since(began) > limit {
			for _, e := range b.logged.AllEntries() {
				b.Logf("%s %s %v", e.Time.Format(time.TimeOnly), e.Message, e.Data)
			}
			b.Fatalf("%s: after %s %s is not right; trouble: %v", when, limit, b.wrong(), b.r.Condition().Trouble)
		}
	}
}

func (b *bubble) requests() (all int) {
	for _, n := range b.Requests() {
		all += n
	}
	return all
}

// TestRequestsOverTime bounds what is asked while nothing happens, and for 100 changes at 10 a second, in each way.
func TestRequestsOverTime(t *testing.T) {
	for _, test := range []struct {
		name          string
		nodes         int
		only          *plan
		idle, changes int
		searched      int // requests a second of a search, which goes on until all is right
		behind        time.Duration
	}{
		// A watch is asked again each three minutes, and each service's index each twelve.
		{name: "one node", nodes: 1, idle: 1600, changes: 1000, behind: 2 * time.Second},
		{name: "ten nodes", nodes: 10, idle: 1600, changes: 1000, behind: 2 * time.Second},
		{
			name: "search", nodes: 10, only: &plan{way: bySearch, watches: 150, readers: 8}, idle: 1600,
			changes: searchBurst + 700, searched: searchRate, behind: 3 * time.Second,
		},
		{name: "a watch each", nodes: 1, only: &plan{way: each, watches: tooMany}, idle: 4000, changes: 500, behind: time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			opts := consultest.Options{}
			if test.only != nil && test.only.way == each {
				opts.MaxConns = 2000
			}
			inBubble(t, opts, tooMany, 2, test.nodes, test.only, func(b *bubble) {
				time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's time
				before := b.requests()
				time.Sleep(10 * time.Minute) //nolint:forbidigo // the bubble's time
				if n := b.requests() - before; n > test.idle {
					t.Errorf("%d requests in 10 minutes of nothing, want at most %d: %v", n, test.idle, b.Requests())
				}
				before = b.requests()
				began := time.Now()
				for range 100 {
					b.change()
					time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's time
				}
				b.right("after 100 changes", test.behind)
				took := time.Since(began)
				n, most := b.requests()-before, test.changes+int(took.Seconds()*float64(test.searched))
				t.Logf("%d requests for 100 changes in %s: %v", n, took, b.Requests())
				if n > most {
					t.Errorf("%d requests for 100 changes, want at most %d: %v", n, most, b.Requests())
				}
			})
		})
	}
}

// TestWatchedChangesCostNoSearch changes a service that has a watch, again and again, among a thousand that have none.
func TestWatchedChangesCostNoSearch(t *testing.T) {
	for _, way := range []way{byNode, bySearch} {
		t.Run(way.String(), func(t *testing.T) {
			inBubble(t, consultest.Options{}, tooMany, 2, 1, &plan{way: way, watches: 100, readers: 8}, func(b *bubble) {
				b.put(0, 0, 5000)
				b.right("the first change", 5*time.Second)
				time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's time
				before := b.requests()
				for i := range 100 {
					b.put(0, 0, 6000+i)
					time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's time
				}
				b.right("after 100 changes", time.Second)
				// The list, the service, the index watch; the node's list now and then.
				if n := b.requests() - before; n > 350 {
					t.Errorf("%d requests for 100 changes that are watched: %v", n, b.Requests())
				}
			})
		})
	}
}

// TestCrossing lets services grow over the limit and back, nodes come and go, and the limit fall.
func TestCrossing(t *testing.T) {
	ways := func(b *bubble) (told string) {
		for _, e := range b.logged.AllEntries() {
			if w, ok := e.Data["way"].(string); ok {
				told += w + " "
			}
		}
		return strings.TrimSpace(told)
	}
	inBubble(t, consultest.Options{MaxConns: 60}, 30, 2, 3, nil, func(b *bubble) {
		grow := func(to int) {
			for ; b.services < to; b.services++ {
				b.add(b.services)
			}
			b.right(fmt.Sprintf("%d services", to), 10*time.Second)
			for range 20 {
				b.change()
			}
			b.right(fmt.Sprintf("%d services, and changes", to), 10*time.Second)
		}
		grow(100) // beyond 47, on three nodes and the agent's
		for i := range 40 {
			b.register(b, &api.CatalogRegistration{Node: fmt.Sprintf("other-%d", i), Address: "10.0.1.1"})
		}
		grow(101)
		b.LimitConns(30)            // 24 of them
		time.Sleep(3 * time.Minute) //nolint:forbidigo // the bubble's time
		grow(110)
		if r, err := b.r.room(b.Context()); err != nil || r.watches != 22 {
			t.Errorf("room %+v, %v", r, err)
		}
		if got := ways(b); !strings.HasPrefix(got, "node search") {
			t.Errorf("ways: %s", got)
		}
	})
}

// TestCrowd has two daemons at one address, which the agent takes for one client.
func TestCrowd(t *testing.T) {
	inBubble(t, consultest.Options{MaxConns: 30}, 60, 1, 2, nil, func(b *bubble) {
		other := newTestRegistry(t, testConfig(b.addr), silent())
		other.endpoint.dial = b.r.endpoint.dial
		ctx, cancel := context.WithCancel(b.Context())
		var last atomic.Pointer[upstreamSet]
		ended := make(chan struct{})
		go func() { defer close(ended); _ = other.Watch(ctx, func(s upstreamSet) { last.Store(&s) }) }()
		time.Sleep(3 * time.Minute) //nolint:forbidigo // the bubble's time
		for range 10 {
			b.change()
			b.right("the first daemon", time.Minute)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's time
		cancel()
		<-ended
		b.last.Store(last.Load())
		if name := b.wrong(); name != "" {
			t.Errorf("the second daemon lacks %s: %v", name, other.Condition().Trouble)
		}
	})
}
