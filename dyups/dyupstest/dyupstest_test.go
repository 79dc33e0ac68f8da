package dyupstest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swallowkeeper/dyups/dyupstest"
)

func newServer(t *testing.T, o dyupstest.Options) *dyupstest.Server {
	t.Helper()
	s, err := dyupstest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// call makes a call on a connection of its own.
func call(t *testing.T, s *dyupstest.Server, method, path, body string) (int, string, error) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	base := s.API()
	if socket, ok := strings.CutPrefix(base, "unix:"); ok {
		base = "http://unix"
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
	}
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, in)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func want(t *testing.T, s *dyupstest.Server, method, path, body string, status int, text string) {
	t.Helper()
	gotStatus, got, err := call(t, s, method, path, body)
	if err != nil || gotStatus != status || got != text {
		t.Errorf("%s %s: %d %q, %v; want %d %q", method, path, gotStatus, got, err, status, text)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// everywhere reports whether all workers have the text in the upstream, or not the
// upstream at all where the text is empty.
func everywhere(s *dyupstest.Server, name, text string) bool {
	for _, w := range s.Workers() {
		got, ok := w.Upstreams[name]
		if ok != (text != "") || !strings.Contains(got, text) {
			return false
		}
	}
	return true
}

const quick = 20 * time.Millisecond

func TestWorkersCatchUp(t *testing.T) {
	s := newServer(t, dyupstest.Options{ReadMsgTimeout: quick})
	stall := func(on bool) {
		for i := range s.Workers() {
			s.StallWorker(i, on)
		}
	}
	have := func() (n int) {
		for _, w := range s.Workers() {
			if w.Upstreams["a"] == "least_conn;\nkeepalive 7;\n"+
				"server 127.0.0.1:1 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n" {
				n++
			}
		}
		return n
	}
	stall(true)
	want(t, s, "POST", "/upstream/a", "least_conn; server 127.0.0.1:1; keepalive 7;", 200, "success")
	c := s.Calls()[0]
	if s.Posts() != 1 || s.Deletes() != 0 || s.Gets() != 0 || c.Path != "/upstream/a" || c.Status != 200 {
		t.Errorf("calls: %+v", s.Calls())
	}
	for range 20 {
		_, _, _ = call(t, s, "GET", "/list", "")
		want(t, s, "DELETE", "/upstream/nope", "", 404, "not found uptream")
	}
	<-time.After(3 * quick) // time in which workers that are not stalled would read
	if n := have(); n != 1 {
		t.Errorf("%d workers have it while all are stalled", n)
	}
	stall(false)
	eventually(t, "all have it", func() bool { return have() == 4 })
}

func TestCrashTwiceAtOnce(t *testing.T) {
	s := newServer(t, dyupstest.Options{ReadMsgTimeout: quick})
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 200, "success")
	eventually(t, "all have it", func() bool { return everywhere(s, "a", ":1 ") })
	before := s.Workers()
	s.CrashWorker(0)
	s.CrashWorker(3)
	after := s.Workers()
	for i, w := range after {
		if crashed := i == 0 || i == 3; crashed != (w.PID > before[3].PID) || crashed != (len(w.Upstreams) == 0) {
			t.Errorf("worker %d: %+v, before %+v", i, w, before[i])
		}
	}
	want(t, s, "POST", "/upstream/b", "server 127.0.0.1:2;", 200, "success")
	eventually(t, "all have the new one", func() bool { return everywhere(s, "b", ":2 ") })
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:3;", 200, "success")
	eventually(t, "all have it again", func() bool { return everywhere(s, "a", ":3 ") })
}

func TestTryLock(t *testing.T) {
	s := newServer(t, dyupstest.Options{TryLock: true, ReadMsgTimeout: time.Minute})
	release := s.LockQueue()
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 409, "wait and try again\n")
	if status, text, err := call(t, s, "DELETE", "/upstream/a", ""); err == nil {
		t.Errorf("DELETE is answered with %d %q", status, text)
	}
	want(t, s, "GET", "/list", "", 204, "")
	release()
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 200, "success")
}

func TestLockedQueueIsNotRead(t *testing.T) {
	s := newServer(t, dyupstest.Options{ReadMsgTimeout: time.Minute, Workers: 2})
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 200, "success")
	release := s.LockQueue()
	for range 20 {
		if status, _, err := call(t, s, "GET", "/list", ""); err != nil || status != 200 && status != 204 {
			t.Fatal(status, err)
		}
	}
	if everywhere(s, "a", ":1") {
		t.Error("both workers have it: the locked queue was read")
	}
	release()
	eventually(t, "a GET made both read it", func() bool {
		_, _, _ = call(t, s, "GET", "/list", "")
		return everywhere(s, "a", ":1")
	})
}

func TestUnixSocketAndOldBuild(t *testing.T) {
	dir, err := os.MkdirTemp("", "dyups") //nolint:usetesting // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := newServer(t, dyupstest.Options{APIAddr: "unix:" + dir + "/s", NoDetail: true})
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 200, "success")
	want(t, s, "GET", "/detail", "", 404, "")
}

func TestConfFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "upstreams.conf")
	s := newServer(t, dyupstest.Options{ConfFile: file, ReadMsgTimeout: quick})
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# made by a test\n\nupstream a { # canary x\n\tserver 127.0.0.1:1; # consul\n}\n" +
		"upstream b {server 127.0.0.1:2;}")
	before := s.Workers()
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if !everywhere(s, "a", ":1 ") || !everywhere(s, "b", ":2 ") || s.Workers()[0].PID <= before[3].PID {
		t.Errorf("after the reload: %+v", s.Workers())
	}
	part := filepath.Join(t.TempDir(), "part.conf")
	if err := os.WriteFile(part, []byte("upstream c {server 127.0.0.1:3;}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("# made by a test\n\ninclude " + part + ";\nupstream a {server 127.0.0.1:1;}\n")
	if err := s.Reload(); err != nil || !everywhere(s, "a", ":1 ") || !everywhere(s, "c", ":3 ") {
		t.Errorf("with an include: %v", err)
	}
	for _, bad := range []string{
		"include " + part + ".away;\n", "upstream a {}", "upstream a {server 127.0.0.1:1;} upstream A {server 127.0.0.1:1;}", "server {}",
		"upstream a {server 127.0.0.1:1;",
	} {
		write(bad)
		if err := s.Reload(); err == nil {
			t.Errorf("%q is taken", bad)
		}
		if !everywhere(s, "a", ":1 ") {
			t.Errorf("%q changed something", bad)
		}
		if _, err := dyupstest.New(dyupstest.Options{ConfFile: file}); err == nil {
			t.Errorf("%q is taken at the start", bad)
		}
	}
}

func TestTakenPort(t *testing.T) {
	s := newServer(t, dyupstest.Options{})
	for _, o := range []dyupstest.Options{
		{APIAddr: strings.TrimPrefix(s.API(), "http://")}, {ProxyAddr: strings.TrimPrefix(s.API(), "http://")},
	} {
		if _, err := dyupstest.New(o); err == nil {
			t.Errorf("%+v is taken twice", o)
		}
	}
}

func TestTroubles(t *testing.T) {
	s := newServer(t, dyupstest.Options{})
	s.FailNext(2, 503, "busy", "POST")
	want(t, s, "GET", "/list", "", 204, "")
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 503, "busy")
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 503, "busy")
	want(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;", 200, "success")
	s.FailNext(1, 500, "")
	want(t, s, "DELETE", "/upstream/a", "", 500, "")

	s.CutBodies(true)
	if _, text, err := call(t, s, "POST", "/upstream/a", "server 127.0.0.1:1;"); err == nil {
		t.Errorf("%q is whole", text)
	}
	s.CutBodies(false)

	s.Delay(50 * time.Millisecond)
	began := time.Now()
	want(t, s, "DELETE", "/upstream/a", "", 200, "success")
	if d := time.Since(began); d < 50*time.Millisecond {
		t.Errorf("answered after %s", d)
	}
	s.Delay(0)

	s.Hang(true)
	done := make(chan error, 1)
	go func() {
		_, _, err := call(t, s, "POST", "/upstream/h", "server 127.0.0.1:1;")
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it does not hang: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Hang(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCloseWhileHanging(t *testing.T) {
	s := newServer(t, dyupstest.Options{})
	s.Hang(true)
	done := make(chan error, 1)
	go func() {
		_, _, err := call(t, s, "GET", "/list", "")
		done <- err
	}()
	<-time.After(20 * time.Millisecond) // either way the call must end
	s.Close()
	if err := <-done; err == nil {
		t.Error("the call is answered")
	}
}

// backends are servers that answer their number.
type backends struct {
	servers []*httptest.Server
	open    atomic.Int32 // connections
}

func newBackends(t *testing.T, n int, answer func(i int, w http.ResponseWriter)) *backends {
	t.Helper()
	b := &backends{}
	for i := range n {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if answer != nil {
				answer(i, w)
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%d %s%s from %s", i, r.Method, body, r.RemoteAddr)
		}))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				b.open.Add(1)
			case http.StateClosed:
				b.open.Add(-1)
			default:
			}
		}
		s.Start()
		t.Cleanup(s.Close)
		b.servers = append(b.servers, s)
	}
	return b
}

func (b *backends) directive(i int, params string) string {
	return "server " + strings.TrimPrefix(b.servers[i].URL, "http://") + " " + params + ";"
}

// traffic asks the proxy for an upstream over one connection, and so one worker.
type traffic struct {
	t      *testing.T
	s      *dyupstest.Server
	client *http.Client
}

func newTraffic(t *testing.T, s *dyupstest.Server) *traffic {
	tr := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(tr.CloseIdleConnections)
	return &traffic{t, s, &http.Client{Transport: tr, Timeout: 10 * time.Second}}
}

func (c *traffic) ask(method, host, body string) (status int, text, reason string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.s.Proxy()+"/", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Host = host
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header.Get(dyupstest.HeaderReason)
}

func TestTrafficByWeight(t *testing.T) {
	b := newBackends(t, 3, nil)
	s := newServer(t, dyupstest.Options{Workers: 1})
	want(t, s, "POST", "/upstream/app",
		b.directive(0, "weight=5")+b.directive(1, "")+b.directive(2, "backup"), 200, "success")
	c := newTraffic(t, s)
	got := ""
	for range 12 {
		_, text, _ := c.ask("GET", "app:80", "")
		got += text[:1]
	}
	if got != "000100000100" { // as nginx interleaves 5 to 1
		t.Errorf("served by %s", got)
	}
}

func TestTrafficAvoidsDeadServers(t *testing.T) {
	b := newBackends(t, 3, nil)
	s := newServer(t, dyupstest.Options{Workers: 1})
	want(t, s, "POST", "/upstream/app",
		b.directive(0, "")+b.directive(1, "")+b.directive(2, "backup"), 200, "success")
	want(t, s, "POST", "/upstream/single", b.directive(0, "max_fails=1"), 200, "success")
	c := newTraffic(t, s)
	ask := func(n int, method, body string) string {
		got := ""
		for range n {
			status, text, reason := c.ask(method, "app", body)
			if status != 200 || !strings.Contains(text, method+body) {
				t.Errorf("%d %s %s", status, text, reason)
			}
			got += text[:1]
		}
		return got
	}
	b.servers[0].Close()
	if got := ask(4, "POST", "hello"); got != "1111" {
		t.Errorf("without server 0, served by %s", got)
	}
	b.servers[1].Close()
	if got := ask(3, "GET", ""); got != "222" {
		t.Errorf("without any but the backup, served by %s", got)
	}
	b.servers[2].Close()
	if status, _, reason := c.ask("GET", "app", ""); status != 502 || reason == "" {
		t.Errorf("without any: %d %q", status, reason)
	}
	if status, _, _ := c.ask("GET", "single", ""); status != 502 {
		t.Errorf("a single dead server: %d", status)
	}
	for _, host := range []string{"unknown", "APP"} {
		if status, _, reason := c.ask("GET", host, ""); status != 502 || reason != "no such upstream" {
			t.Errorf("%s: %d %q", host, status, reason)
		}
	}
}

func TestTrafficDoesNotRepeatAPost(t *testing.T) {
	hits := make(chan int, 10)
	b := newBackends(t, 2, func(i int, _ http.ResponseWriter) {
		hits <- i
		panic(http.ErrAbortHandler)
	})
	s := newServer(t, dyupstest.Options{Workers: 1})
	want(t, s, "POST", "/upstream/app", b.directive(0, "")+b.directive(1, ""), 200, "success")
	if status, _, _ := newTraffic(t, s).ask("POST", "app", ""); status != 502 || len(hits) != 1 {
		t.Errorf("a POST: %d after %d tries", status, len(hits))
	}
	<-hits
	want(t, s, "POST", "/upstream/app", b.directive(0, "")+b.directive(1, ""), 200, "success")
	if status, _, _ := newTraffic(t, s).ask("GET", "app", ""); status != 502 || len(hits) != 2 {
		t.Errorf("a GET: %d after %d tries", status, len(hits))
	}
}

func TestTrafficMarksFailingServers(t *testing.T) {
	hits := make(chan int, 100)
	b := newBackends(t, 2, func(i int, _ http.ResponseWriter) {
		if i == 0 {
			hits <- i
			panic(http.ErrAbortHandler)
		}
	})
	s := newServer(t, dyupstest.Options{Workers: 1})
	for params, tries := range map[string]int{"max_fails=1": 1, "max_fails=3": 3, "max_fails=0": 8} {
		want(t, s, "POST", "/upstream/app", b.directive(0, params)+b.directive(1, ""), 200, "success")
		c := newTraffic(t, s)
		for range 16 {
			if status, text, reason := c.ask("GET", "app", ""); status != 200 {
				t.Errorf("%d %s %s", status, text, reason)
			}
		}
		if got := len(hits); got != tries {
			t.Errorf("with %s the failing server was tried %d times, want %d", params, got, tries)
		}
		for len(hits) > 0 {
			<-hits
		}
	}
}

func TestTrafficHeedsDownAndMaxConns(t *testing.T) {
	entered, leave := make(chan int), make(chan int)
	b := newBackends(t, 2, func(i int, _ http.ResponseWriter) {
		if i == 0 {
			entered <- i
			<-leave
		}
	})
	s := newServer(t, dyupstest.Options{Workers: 1})
	want(t, s, "POST", "/upstream/app", b.directive(0, "max_conns=1")+b.directive(1, "down"), 200, "success")
	done := make(chan int)
	go func() {
		status, _, _ := newTraffic(t, s).ask("GET", "app", "")
		done <- status
	}()
	<-entered
	if status, _, reason := newTraffic(t, s).ask("GET", "app", ""); status != 502 {
		t.Errorf("beside one request, at most one allowed: %d %s", status, reason)
	}
	leave <- 0
	if status := <-done; status != 200 {
		t.Errorf("the first request got %d", status)
	}
}

func TestTrafficKeepsConnections(t *testing.T) {
	b := newBackends(t, 1, nil)
	s := newServer(t, dyupstest.Options{Workers: 1})
	c := newTraffic(t, s)
	from := func() string {
		_, text, _ := c.ask("GET", "app", "")
		return text
	}
	want(t, s, "POST", "/upstream/app", b.directive(0, ""), 200, "success")
	if first, second := from(), from(); first == second || b.open.Load() > 2 {
		t.Error("without keepalive the connection was used again")
	}
	want(t, s, "POST", "/upstream/app", "keepalive 2;"+b.directive(0, ""), 200, "success")
	first := from()
	if from() != first {
		t.Error("with keepalive the connection was not used again")
	}
	want(t, s, "POST", "/upstream/app", "keepalive 2;"+b.directive(0, ""), 200, "success")
	eventually(t, "the connection ends with its upstream", func() bool { return b.open.Load() == 0 })
	if from() == first {
		t.Error("the connection outlived its upstream")
	}
}

func TestTrafficThroughReloadAndCrash(t *testing.T) {
	b := newBackends(t, 1, nil)
	file := filepath.Join(t.TempDir(), "upstreams.conf")
	if err := os.WriteFile(file, []byte("upstream app {keepalive 3;"+b.directive(0, "")+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, dyupstest.Options{ConfFile: file, ReadMsgTimeout: quick})
	for i := range 40 {
		switch i {
		case 10, 20:
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
		case 30:
			s.CrashWorker(1)
		}
		if status, text, reason := newTraffic(t, s).ask("GET", "app", ""); status != 200 {
			t.Errorf("request %d: %d %s %s", i, status, text, reason)
		}
	}
}
