package consul

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swallowkeeper/registry/consul/consultest"
)

func TestWaits(t *testing.T) {
	const most = 3 * time.Minute
	began := time.Now()
	type cut struct{ at, waited time.Duration }
	for _, test := range []struct {
		name string
		cuts []cut
		at   time.Duration
		want time.Duration
	}{
		{"never cut", nil, 0, most},
		{"an agent that ended", []cut{{10 * time.Second, 10 * time.Second}, {10 * time.Second, 10 * time.Second}}, time.Minute, most},
		{"a proxy", []cut{{10 * time.Second, 10 * time.Second}, {20 * time.Second, 10 * time.Second}}, time.Minute, 7500 * time.Millisecond},
		{
			"a proxy, many queries",
			[]cut{{10 * time.Second, 10 * time.Second}, {10 * time.Second, 9 * time.Second}, {20 * time.Second, 10 * time.Second}, {20 * time.Second, 10 * time.Second}},
			time.Minute, 7500 * time.Millisecond,
		},
		{"a proxy after an agent that ended", []cut{{40 * time.Second, 40 * time.Second}, {101 * time.Second, time.Minute}, {161 * time.Second, time.Minute}}, 3 * time.Minute, 45 * time.Second},
		{"whenever it likes", []cut{{10 * time.Second, 10 * time.Second}, {40 * time.Second, 30 * time.Second}, {time.Minute, 20 * time.Second}}, 2 * time.Minute, most},
		{"longer than what is wanted", []cut{{5 * time.Minute, 5 * time.Minute}, {10 * time.Minute, 5 * time.Minute}}, 11 * time.Minute, most},
		{"long ago", []cut{{10 * time.Second, 10 * time.Second}, {20 * time.Second, 10 * time.Second}}, 2 * time.Hour, most},
	} {
		w := &waits{most: most}
		for _, c := range test.cuts {
			w.ended(began.Add(c.at), c.waited)
		}
		if got := w.next(began.Add(test.at)); got != test.want {
			t.Errorf("%s: waits for %s, want %s", test.name, got, test.want)
		}
	}
}

// impatientProxy stands before the double and ends queries that are quiet for longer than patience.
type impatientProxy struct {
	addr string
	cuts atomic.Int64
	wait atomic.Value // what the last query of web asked for
}

func startImpatient(t *testing.T, d *double, patience time.Duration, end http.HandlerFunc) *impatientProxy {
	t.Helper()
	p := &impatientProxy{}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	p.addr = answering(t, func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if r.URL.Path == "/v1/health/service/web" && r.URL.Query().Has("index") {
			p.wait.Store(r.URL.Query().Get("wait"))
		}
		out := r.Clone(ctx)
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", d.addr
		type outcome struct {
			resp *http.Response
			err  error
		}
		done := make(chan outcome, 1)
		go func() {
			resp, err := transport.RoundTrip(out)
			done <- outcome{resp, err}
		}()
		select {
		case o := <-done:
			if o.err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer o.resp.Body.Close()
			for k, v := range o.resp.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(o.resp.StatusCode)
			_, _ = io.Copy(w, o.resp.Body)
		case <-time.After(patience):
			p.cuts.Add(1)
			end(w, r)
		}
	})
	return p
}

var impatience = []struct {
	name string
	end  http.HandlerFunc
}{
	{"504", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) }},
	{"502", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }},
	{"504 with a page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = io.WriteString(w, "<html><body><h1>504 Gateway Time-out</h1></body></html>")
	}},
	{"EOF", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{"reset", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_ = conn.(interface{ SetLinger(int) error }).SetLinger(0)
		_ = conn.Close()
	}},
}

// TestProxyEndsWaits takes the end of a wait by a proxy for no trouble, asks again at once, and after two rounds
// waits for less than the proxy does.
func TestProxyEndsWaits(t *testing.T) {
	for _, test := range impatience {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := startDouble(t, testOptions())
			d.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
			p := startImpatient(t, d, 1500*time.Millisecond, test.end)
			w := run(t, newTestRegistry(t, testConfig(p.addr), silent()))
			w.servers("web", 1)
			well := func() {
				t.Helper()
				if err := w.r.Condition().Trouble; err != nil {
					t.Fatalf("a cut is told as trouble: %v", err)
				}
			}
			eventually(t, "it waits for less", func() bool {
				well()
				asked, _ := p.wait.Load().(string)
				wait, err := time.ParseDuration(asked)
				return err == nil && wait < 1500*time.Millisecond
			})
			cuts := p.cuts.Load()
			if cuts > 6 {
				t.Errorf("%d cuts until it waited for less", cuts)
			}
			asked := d.Requests()["/v1/catalog/services"]
			eventually(t, "more rounds", func() bool { well(); return d.Requests()["/v1/catalog/services"] >= asked+3 })
			if n := p.cuts.Load(); n > cuts+2 {
				t.Errorf("%d more cuts", n-cuts)
			}
			d.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
			w.servers("web", 2)
			well()
		})
	}
}

// TestAgentHangsBehindProxy must not take an agent that does not answer for a proxy that is tired of waiting.
func TestAgentHangsBehindProxy(t *testing.T) {
	d := startDouble(t, testOptions())
	d.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	p := startImpatient(t, d, 1500*time.Millisecond, impatience[0].end)
	w := run(t, newTestRegistry(t, testConfig(p.addr), silent()))
	w.servers("web", 1)
	d.Hang(true)
	expectTrouble(t, w.r, "504")
	d.Hang(false)
	eventually(t, "no trouble", func() bool { return w.r.Condition().Trouble == nil })
	if n := w.count(); n != 1 {
		t.Errorf("%d sets published, want 1", n)
	}
}

// TestTokenRenewed tells no trouble of a query that waited with a token that was taken back after its file was renewed.
func TestTokenRenewed(t *testing.T) {
	d := startDouble(t, consultest.Options{})
	d.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	var refuse atomic.Value
	refuse.Store("")
	revoked := make(chan struct{})
	addr := answering(t, func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("X-Consul-Token")
		answer := make(chan *httptest.ResponseRecorder, 1)
		ctx := r.Context()
		go func() {
			a := httptest.NewRecorder()
			d.ServeHTTP(a, r.WithContext(ctx))
			answer <- a
		}()
		gone := revoked
		if token != "old" {
			gone = nil
		}
		select {
		case a := <-answer:
			for k, v := range a.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(a.Code)
			_, _ = w.Write(a.Body.Bytes())
		case <-gone:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "ACL not found")
		}
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	cfg := testConfig(addr)
	cfg.TokenFile = file
	logged := &strings.Builder{}
	w := run(t, newTestRegistry(t, cfg, logTo(logged)))
	w.servers("web", 1)
	eventually(t, "both wait", func() bool { return d.Waiting() == 2 })
	write("new")
	close(revoked)
	d.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
	w.servers("web", 2)
	w.stop()
	if logged.String() != "" {
		t.Errorf("said: %s", logged)
	}
}
