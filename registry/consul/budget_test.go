package consul

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/registry/consul/consultest"
)

func TestReserve(t *testing.T) {
	for limit, want := range map[int]int{200: 160, 50: 40, 20: 12, 8: 4, 1: 4, 10000: 8000} {
		if got := withReserve(limit); got != want {
			t.Errorf("withReserve(%d) = %d, want %d", limit, got, want)
		}
	}
}

// TestConnectionLimit asks the agent for its limit, where it tells.
func TestConnectionLimit(t *testing.T) {
	for _, test := range []struct {
		name string
		max  int
		deny bool
		cfg  int
		opts []Option
		want int
	}{
		{"told", 60, false, 0, nil, 48},
		{"not told", 60, true, 0, nil, 160},
		{"set, and one is the heartbeat's", 60, false, 30, nil, 29},
		{"few open files", 60, false, 0, []Option{WithDescriptors(20)}, 20},
		{"many open files", 60, false, 0, []Option{WithDescriptors(1000)}, 48},
		{"set, and few open files", 60, false, 30, []Option{WithDescriptors(20)}, 20},
		{"a command beside a daemon", 200, false, 0, []Option{Beside()}, 20},
		{"a command beside a daemon, of few", 60, false, 0, []Option{Beside()}, 6},
		{"a command beside a daemon, of very few", 10, false, 0, []Option{Beside()}, 4},
		{"a command beside a daemon, of many", 10_000, false, 0, []Option{Beside()}, 20},
		{"a command beside a daemon, set", 60, false, 1000, []Option{Beside()}, 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := startDouble(t, consultest.Options{MaxConns: test.max})
			d.DenySelf(test.deny)
			cfg := testConfig(d.addr)
			cfg.Connections = test.cfg
			r, err := New(cfg, silent(), test.opts...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.room(t.Context())
			if err != nil || got.watches != test.want || got.connections != test.want {
				t.Errorf("room %+v, %v, want %d", got, err, test.want)
			}
			if few := strings.Contains(test.name, "few open files"); got.files != few {
				t.Errorf("open files are what sets it: %v", got.files)
			}
		})
	}
}

// counted counts the connections that are open at the same time.
type counted struct {
	net.Listener
	mu         sync.Mutex
	open, most int
}

type countedConn struct {
	net.Conn
	once sync.Once
	l    *counted
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	l.most = max(l.most, l.open)
	return &countedConn{Conn: c, l: l}, nil
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		c.l.open--
	})
	return c.Conn.Close()
}

// TestMoreServicesThanConnections walks many services through random changes, of which
// few can be watched, and expects every one to arrive.
func TestMoreServicesThanConnections(t *testing.T) {
	const services, nodes = 120, 6
	s := consultest.New(consultest.Options{MaxConns: 40})
	front := httptest.NewUnstartedServer(s)
	count := &counted{Listener: front.Listener}
	front.Listener = s.Listener(count)
	front.Start()
	t.Cleanup(func() {
		s.Close()
		front.Close()
	})
	d := &double{Server: s, addr: count.Addr().String()}
	name := func(i int) string { return fmt.Sprintf("svc-%03d", i) }
	reg := func(i, j int, status string) *api.CatalogRegistration {
		r := registration(fmt.Sprintf("n%d", (i+j)%nodes), name(i), fmt.Sprintf("%s-%d", name(i), j),
			fmt.Sprintf("10.0.%d.%d", i, j+1), 80, status)
		r.Checks = append(r.Checks, &api.HealthCheck{Node: r.Node, CheckID: "serfHealth", Status: "passing"})
		return r
	}
	for i := range services {
		d.register(t, reg(i, 0, "passing"))
		d.register(t, reg(i, 1, "passing"))
	}
	log, logged := test.NewNullLogger()
	r := newTestRegistry(t, testConfig(d.addr), log)
	r.calm = 10 * time.Millisecond
	w := run(t, r)
	want := map[string]int{}
	for i := range services {
		want[name(i)] = 2
	}
	matches := func(s upstreamSet) bool {
		for name, n := range want {
			if serversOf(s, name) != n {
				return false
			}
		}
		return s.Len() == len(want)
	}
	w.until("all", matches)
	if n := w.count(); n != 1 {
		t.Errorf("%d sets until all were known, want 1", n)
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 60 {
		i := rng.IntN(services)
		switch kind := round % 5; kind {
		case 0, 1: // a check flips, and back
			status, n := "critical", 1
			if rng.IntN(2) == 0 {
				status, n = "passing", 2
			}
			if want[name(i)] == -1 || want[name(i)] == 3 {
				continue
			}
			if err := d.SetCheck(reg(i, 0, "").Node, "service:"+name(i)+"-0", status); err != nil {
				t.Fatal(err)
			}
			want[name(i)] = n
		case 2: // one more instance
			if want[name(i)] == 2 {
				d.register(t, reg(i, 2, "passing"))
				want[name(i)] = 3
			}
		case 3: // it leaves
			if want[name(i)] == 3 {
				if err := d.Deregister(api.CatalogDeregistration{Node: reg(i, 2, "").Node, ServiceID: name(i) + "-2"}); err != nil {
					t.Fatal(err)
				}
				want[name(i)] = 2
			}
		case 4: // a node fails and is back, in one breath or two
			node := fmt.Sprintf("n%d", rng.IntN(nodes))
			if err := d.SetCheck(node, "serfHealth", "critical"); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(2) == 0 {
				w.until("node "+node+" fails", func(s upstreamSet) bool { return s.Servers() < 2*services-30 })
			}
			if err := d.SetCheck(node, "serfHealth", "passing"); err != nil {
				t.Fatal(err)
			}
		}
		if round%3 == 0 {
			w.until(fmt.Sprintf("round %d", round), matches)
		}
	}
	w.until("the end", matches)
	for _, e := range logged.AllEntries() {
		if strings.Contains(fmt.Sprint(e.Data["error"]), "too many concurrent connections") {
			t.Errorf("over the limit: %s %v", e.Message, e.Data)
		}
	}
	count.mu.Lock()
	defer count.mu.Unlock()
	if count.most > 40 {
		// A connection that is given up lives on over there for a moment: what the reserve is for.
		t.Errorf("%d connections at once", count.most)
	}
}
