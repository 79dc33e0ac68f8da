package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"swallowkeeper/guard"
	"swallowkeeper/internal/loopback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = fmt.Errorf("connect: %w", syscall.ECONNREFUSED)

// servers are a dialer without a network: each address does what it is told, after a while.
type servers struct {
	mu    sync.Mutex
	does  map[netip.AddrPort]error
	takes time.Duration
	tried map[netip.AddrPort][]time.Time
	all   []time.Time
	now   int
	most  int
}

func (s *servers) try(ctx context.Context, addr netip.AddrPort) error {
	s.mu.Lock()
	s.tried[addr] = append(s.tried[addr], time.Now())
	s.all = append(s.all, time.Now())
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	late := time.NewTimer(s.takes)
	defer late.Stop()
	select {
	case <-late.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	return s.does[addr]
}

func (s *servers) do(err error, all ...netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range all {
		s.does[addr] = err
	}
}

// rig is a pool at work under a fake clock.
type rig struct {
	*Pool
	servers  *servers
	heard    []time.Time
	measured *prometheus.Registry
}

func begin(t *testing.T, atOnce int) *rig {
	t.Helper()
	r := &rig{servers: &servers{does: map[netip.AddrPort]error{}, tried: map[netip.AddrPort][]time.Time{}, takes: time.Millisecond}}
	r.measured = prometheus.NewPedanticRegistry()
	m, err := NewMetrics(r.measured)
	if err != nil {
		t.Fatal(err)
	}
	r.Pool = New(Config{AtOnce: atOnce, Metrics: m, Forbids: func(a netip.AddrPort) string {
		if a.Addr().IsLoopback() {
			return "loopback"
		}
		return ""
	}})
	r.try = r.servers.try
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func() { r.heard = append(r.heard, time.Now()) })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

func (r *rig) pass(d time.Duration) {
	time.Sleep(d) // the fake clock's
	synctest.Wait()
}

func many(n int) []netip.AddrPort {
	list := make([]netip.AddrPort, n)
	for i := range list {
		list[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)
	}
	return list
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, MostAtOnce)
		a := many(3)
		r.servers.do(errRefused, a[1])
		r.servers.do(fmt.Errorf("connect: %w", syscall.ENETUNREACH), a[2])
		if !r.Ask(a) {
			t.Error("nothing is to come")
		}
		r.pass(300 * time.Millisecond)
		if got := []guard.Answer{r.Answer(a[0]), r.Answer(a[1]), r.Answer(a[2])}; !slices.Equal(got, []guard.Answer{guard.Answered, guard.Untried, guard.Untried}) {
			t.Errorf("after one try %v", got)
		}
		if !r.Ask(a) {
			t.Error("the second try is not to come")
		}
		r.pass(secondTry + 2*pace)
		if got := []guard.Answer{r.Answer(a[0]), r.Answer(a[1]), r.Answer(a[2])}; !slices.Equal(got, []guard.Answer{guard.Answered, guard.Refused, guard.Untried}) {
			t.Errorf("after two tries %v", got)
		}
		if r.Ask(a) {
			t.Error("more is to come")
		}
		if n := len(r.heard); n != 2 {
			t.Errorf("it was heard %d times", n)
		}
		r.servers.do(nil, a[1])
		r.servers.do(errRefused, a[0])
		r.pass(again - secondTry)
		if r.Answer(a[0]) != guard.Answered {
			t.Errorf("after one more try %v", r.Answer(a[0]))
		}
		r.pass(2 * (secondTry + 2*pace))
		if r.Answer(a[0]) != guard.Refused || r.Answer(a[1]) != guard.Answered {
			t.Errorf("after another one %v, %v", r.Answer(a[0]), r.Answer(a[1]))
		}
		for result, n := range map[string]float64{resultAnswered: 2, resultUnknown: 2, resultRefused: 5} {
			if got := testutil.ToFloat64(r.Metrics.tries.WithLabelValues(result)); got != n {
				t.Errorf("%g tries are counted as %s, want %g", got, result, n)
			}
		}
		if got := testutil.ToFloat64(r.Metrics.servers); got != 3 {
			t.Errorf("%g servers are asked for", got)
		}
	})
}

// What nobody asks for any more is not tried and soon forgotten, and it is tried no sooner because it is asked for
// again.
func TestAnswersAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, MostAtOnce)
		a := many(2)
		r.servers.do(errRefused, a[1])
		for range 50 { // asked for and not, ten times a second
			r.Ask(a)
			r.pass(67 * time.Millisecond)
			r.Ask(nil)
			r.pass(30 * time.Millisecond)
		}
		if n := len(r.servers.tried[a[0]]); n != 1 {
			t.Errorf("it was tried %d times within 5 s", n)
		}
		if n := len(r.servers.tried[a[1]]); n < 2 || n > 5 {
			t.Errorf("one that is dead was tried %d times within 5 s", n)
		}
		if r.Answer(a[0]) != guard.Answered {
			t.Error("its answer is forgotten")
		}
		r.pass(memory)
		if r.Answer(a[0]) != guard.Untried {
			t.Error("its answer is too old")
		}
		if n := len(r.servers.tried[a[0]]); n != 1 {
			t.Errorf("it was tried %d times although nobody asks for it", n)
		}
		r.Ask(nil)
		r.mu.Lock()
		if len(r.Pool.servers) != 0 {
			t.Errorf("%d servers are remembered", len(r.Pool.servers))
		}
		r.mu.Unlock()
	})
}

// However much is asked for, and however long each takes: so many at a time, so many a second, none more than once
// a second.
func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		takes  time.Duration
		atOnce int
	}{{time.Millisecond, 40}, {connectLimit, 40}, {time.Millisecond, MostAtOnce}, {connectLimit, MostAtOnce}} {
		synctest.Test(t, func(t *testing.T) {
			takes, atOnce := tt.takes, tt.atOnce
			r := begin(t, atOnce)
			r.servers.takes = takes
			a := many(500)
			r.servers.do(errRefused, a...)
			for range 60 {
				r.Ask(a)
				r.pass(300 * time.Millisecond)
			}
			if r.servers.most > atOnce {
				t.Errorf("%d tries at a time", r.servers.most)
			}
			if atOnce < perBatch && r.servers.most < atOnce {
				t.Errorf("only %d tries at a time", r.servers.most)
			}
			for i, at := range r.servers.all {
				if j := i + 300; j < len(r.servers.all) && r.servers.all[j].Sub(at) < time.Second {
					t.Fatalf("300 tries within %s", r.servers.all[j].Sub(at))
				}
			}
			if n := len(r.servers.all); n < 500 {
				t.Errorf("%d tries in 18 s", n)
			}
			for addr, at := range r.servers.tried {
				for i := range at[1:] {
					if d := at[i+1].Sub(at[i]); d < secondTry {
						t.Fatalf("%s is tried again after %s", addr, d)
					}
				}
			}
			for i := range r.heard[1:] {
				if d := r.heard[i+1].Sub(r.heard[i]); d < pace || d < 500*time.Millisecond && i < 3 {
					t.Fatalf("it is heard again after %s", d)
				}
			}
		})
	}
}

// The last answer is heard of at once, however much is asked for.
func TestAllIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, MostAtOnce)
		a := many(525)
		r.Ask(a)
		r.pass(5 * time.Second)
		last := r.servers.all[len(r.servers.all)-1]
		if d := r.heard[len(r.heard)-1].Sub(last); len(r.servers.all) != len(a) || d > pace {
			t.Errorf("%d tries, and the last one is heard of after %s", len(r.servers.all), d)
		}
		if n := len(r.heard); n > 6 {
			t.Errorf("it is heard %d times", n)
		}
	})
}

func TestForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, MostAtOnce)
		a := netip.MustParseAddrPort("127.0.0.1:80")
		if r.Ask([]netip.AddrPort{a}) {
			t.Error("an answer is to come")
		}
		r.pass(time.Minute)
		if len(r.servers.all) != 0 || r.Answer(a) != guard.Untried {
			t.Error("it was tried")
		}
		b := many(1)[0]
		r.Ask([]netip.AddrPort{b})
		r.pass(time.Second)
		forbidden := func(netip.AddrPort) string { return "it is ours now" }
		r.mu.Lock()
		r.Forbids = forbidden
		r.mu.Unlock()
		r.pass(time.Minute)
		if n := len(r.servers.all); n != 1 {
			t.Errorf("%d tries", n)
		}
	})
}

// The end cuts the tries short, and says nothing of those servers.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		p := New(Config{AtOnce: 10, Metrics: m, Forbids: func(netip.AddrPort) string { return "" }})
		hung := &servers{does: map[netip.AddrPort]error{}, tried: map[netip.AddrPort][]time.Time{}, takes: time.Hour}
		p.try = hung.try
		a := many(1)
		hung.do(context.Canceled, a...)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			p.Ask(a)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				p.Run(ctx, func() { t.Error("it was heard") })
			}()
			time.Sleep(2 * time.Second)
			began := time.Now()
			cancel()
			<-ended
			if d := time.Since(began); d != 0 {
				t.Errorf("the end took %s", d)
			}
			if p.Answer(a[0]) != guard.Untried || !p.Ask(a) {
				t.Error("it is known what the server does")
			}
		}
		if n := len(hung.all); n != 3 {
			t.Errorf("%d tries", n)
		}
		if n := testutil.ToFloat64(m.tries.WithLabelValues(resultRefused)); n != 0 {
			t.Errorf("%g are counted as refused", n)
		}
		if n := testutil.ToFloat64(m.inFlight); n != 0 {
			t.Errorf("%g are under way", n)
		}
	})
}

// Nothing of a try by HTTP goes on behind the end.
func TestEndByHTTP(t *testing.T) {
	// Nobody accepts: the system does, and there is no answer.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 20 {
		m, err := NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		p := New(Config{Path: "/", AtOnce: 10, Metrics: m, Forbids: func(netip.AddrPort) string { return "" }})
		ctx, cancel := context.WithCancel(t.Context())
		p.Ask([]netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.Run(ctx, func() { t.Error("it was heard") })
		}()
		for testutil.ToFloat64(m.inFlight) == 0 {
			runtime.Gosched()
		}
		began := time.Now()
		cancel()
		<-ended
		if d := time.Since(began); d > answerLimit/2 {
			t.Errorf("the end took %s", d)
		}
		stacks := make([]byte, 1<<20)
		if stacks = stacks[:runtime.Stack(stacks, true)]; strings.Contains(string(stacks), "net/http.") || strings.Contains(string(stacks), "net.(*Dialer)") {
			t.Fatalf("a try goes on:\n%s", stacks)
		}
	}
}

func TestJudge(t *testing.T) {
	for err, want := range map[error]guard.Answer{
		nil:                      guard.Answered,
		syscall.ECONNREFUSED:     guard.Refused,
		syscall.EHOSTUNREACH:     guard.Refused,
		syscall.ECONNRESET:       guard.Refused,
		context.DeadlineExceeded: guard.Refused,
		errors.New("it answers 503 Service Unavailable"):                            guard.Refused,
		&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}: guard.Untried,
		syscall.ENETUNREACH:   guard.Untried,
		syscall.EADDRNOTAVAIL: guard.Untried,
		syscall.EPERM:         guard.Untried,
	} {
		if got := judge(err); got != want {
			t.Errorf("%v is %d, want %d", err, got, want)
		}
	}
}

func TestConnect(t *testing.T) {
	l := loopback.Listen(t)
	addr := netip.MustParseAddrPort(l.Addr().String())
	if err := connect(t.Context(), addr); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := connect(t.Context(), addr); judge(err) != guard.Refused {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestGet(t *testing.T) {
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.RequestURI+" "+r.UserAgent())
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "/healthz", http.StatusFound)
		case "/draining":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/healthz":
			fmt.Fprint(w, strings.Repeat("fine", 1<<20))
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	for path, want := range map[string]guard.Answer{
		"/healthz?full=1": guard.Answered, "/missing": guard.Answered, "/away": guard.Answered, "/draining": guard.Refused, "/early": guard.Refused,
	} {
		got = nil
		if err := getter(path)(t.Context(), addr); judge(err) != want {
			t.Errorf("%s: %v", path, err)
		}
		if want := []string{"GET " + path + " swallowkeeper"}; !slices.Equal(got, want) {
			t.Errorf("it was asked %q", got)
		}
	}
	s.Close()
	if err := getter("/healthz")(t.Context(), addr); judge(err) != guard.Refused {
		t.Errorf("nobody listens: %v", err)
	}
}
