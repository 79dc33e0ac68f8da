package dyups_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/dyups"
)

// limitedNginx is an interface of four workers behind a limit_req: so many calls a second, and as many at once.
type limitedNginx struct {
	*httptest.Server
	rate, burst  float64
	always       bool // a refusal names its worker too
	status       int
	conns, calls atomic.Int64

	free   chan struct{} // whoever has its one element may touch the rest
	tokens float64
	last   time.Time
}

type connKey struct{}

func (l *limitedNginx) start(t *testing.T) {
	t.Helper()
	l.tokens, l.last, l.free = l.burst, time.Now(), make(chan struct{}, 1)
	l.free <- struct{}{}
	l.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.calls.Add(1)
		let := l.let()
		if let || l.always {
			w.Header().Set("X-Dyups-Worker", r.Context().Value(connKey{}).(string))
		}
		switch {
		case !let:
			w.WriteHeader(l.status)
		case r.URL.Path == "/list":
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	l.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, strconv.FormatInt(100+l.conns.Add(1)%4, 10))
	}
	l.Start()
	t.Cleanup(l.Close)
}

func (l *limitedNginx) let() bool {
	<-l.free
	defer func() { l.free <- struct{}{} }()
	now := time.Now()
	l.tokens = min(l.burst, l.tokens+now.Sub(l.last).Seconds()*l.rate)
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// With limit_req at http level nothing was ever in sync, and hundreds of connections looked for workers.
func TestALimitOfRequestsIsKeptTo(t *testing.T) {
	for name, l := range map[string]*limitedNginx{
		"limit_req":                             {rate: 50, burst: 20, always: true, status: http.StatusServiceUnavailable},
		"a small one":                           {rate: 20, burst: 3, always: true, status: http.StatusServiceUnavailable},
		"another status":                        {rate: 50, burst: 10, always: true, status: http.StatusTooManyRequests},
		"a refusal that does not say from whom": {rate: 50, burst: 10, status: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l.start(t)
			var said bytes.Buffer
			log := logrus.New()
			log.SetOutput(&said)
			config := dyups.DefaultConfig()
			config.Address = l.URL
			g := dyups.New(config, log)
			defer g.Close()
			for range 5 {
				if _, err := g.Live(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(g.Workers()); n != 4 {
				t.Errorf("%d workers are known", n)
			}
			if n := l.conns.Load(); n > 80 {
				t.Errorf("%d connections were made", n)
			}
			if n := l.calls.Load(); n > 160 {
				t.Errorf("%d calls were made", n)
			}
			if n := strings.Count(said.String(), "limit_req"); n != 1 {
				t.Errorf("the log names limit_req %d times: %s", n, &said)
			}
		})
	}
}

// One that refuses for ever is told of, and ends.
func TestALimitThatLetsNothingThrough(t *testing.T) {
	l := &limitedNginx{status: http.StatusServiceUnavailable}
	l.start(t)
	config := dyups.DefaultConfig()
	config.Address = l.URL
	g := dyups.New(config, quiet())
	defer g.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := g.Live(ctx); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
	if n := l.calls.Load(); n > 40 {
		t.Errorf("%d calls were made", n)
	}
}
