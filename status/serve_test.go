package status_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a-secret-of-the-test"

// running is a site that serves at an address and a socket.
type running struct {
	*status.Site
	socket string
	log    *logged
	http   *http.Client // over TCP
	unix   *http.Client // over the socket
	stop   func() error // also done at the end of the test
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newLog() (*logged, logrus.FieldLogger) {
	text := &logged{}
	log := logrus.New()
	log.SetOutput(text)
	return text, log
}

// serve runs a site; the configuration's address and socket are the test's own.
func serve(t *testing.T, d status.Daemon, token string, parts status.Parts) *running {
	t.Helper()
	r := &running{socket: filepath.Join(t.TempDir(), "s.sock")}
	r.log, parts.Log = newLog()
	var err error
	r.Site, err = status.Listen(status.Config{Address: "127.0.0.1:0", Socket: r.socket, Token: token}, d, parts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx) }()
	r.http = &http.Client{Transport: &http.Transport{}}
	r.unix = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
	}}}
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		r.http.CloseIdleConnections()
		r.unix.CloseIdleConnections()
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

// Whoever can reach the address may open connections without an end and send nothing, or byte by byte.
func TestConnectionsThatSendNothingKeepNobodyOut(t *testing.T) {
	half := "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
	for name, c := range map[string]struct{ network, begins string }{
		"nothing, at the address":       {"tcp", ""},
		"half a header, at the address": {"tcp", half},
		"half a body, at the address":   {"tcp", half + "Content-Length: 1000\r\n\r\nx"},
		"a kept one, at the address":    {"tcp", half + "\r\n"},
		"half a header, at the socket":  {"unix", half},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, statustest.New(), "", status.Parts{})
			at := r.socket
			if c.network == "tcp" {
				at = strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/")
			}
			dial := func(text string) net.Conn {
				conn, err := net.Dial(c.network, at)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := io.WriteString(conn, text); err != nil {
					t.Fatal(err)
				}
				return conn
			}
			first := dial(c.begins)
			for range status.MostConnections - 1 {
				dial(c.begins)
			}
			began := time.Now()
			late := dial(half + "\r\n")
			answer := make([]byte, len("HTTP/1.1 200 OK"))
			_ = late.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(late, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
				t.Errorf("got %q, %v", answer, err)
			}
			if took := time.Since(began); took > status.HeaderTimeout/2 {
				t.Errorf("it took %s", took)
			}
			if c.begins == "" || c.begins == half { // the one that has waited longest had to go
				_ = first.SetReadDeadline(time.Now().Add(20 * time.Second))
				if n, err := first.Read(answer); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the first one: %q, %v", answer[:n], err)
				}
			}
		})
	}
}

// While all are being answered a further one waits.
func TestConnectionsAreBounded(t *testing.T) {
	crowd := status.NewCrowd(listener(t), 1)
	release, in := make(chan struct{}), make(chan struct{}, 2)
	server := &http.Server{ConnState: crowd.Moved, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		in <- struct{}{}
		<-release
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(crowd.Listener) }()
	ask := func() chan error {
		answered := make(chan error, 1)
		go func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			a, err := client.Get("http://" + crowd.Listener.Addr().String())
			if err == nil {
				err = a.Body.Close()
			}
			answered <- err
		}()
		return answered
	}
	first := ask()
	<-in
	second := ask()
	select {
	case <-in:
		t.Error("it is answered beyond the limit")
	case <-time.After(100 * time.Millisecond): // nothing comes
	}
	close(release)
	for _, a := range []chan error{first, second} {
		if err := <-a; err != nil {
			t.Error(err)
		}
	}
	server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAHeaderHasATimeLimit(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{})
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	began := time.Now()
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > status.HeaderTimeout+10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// Lines of the standard library's server stood in the log as they are.
func TestTheServersLinesAreInTheLogsForm(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.WriteHeader(http.StatusOK) // the library complains
	})})
	r.ask(t, r.http, http.MethodGet, "/", "")
	late := time.After(20 * time.Second)
	for !strings.Contains(r.log.String(), `level=warning msg="the status server: http: superfluous`) {
		select {
		case <-late:
			t.Fatalf("the log: %s", r.log)
		case <-time.After(time.Millisecond):
		}
	}
}

// answer is what came back.
type answer struct {
	*http.Response
	text string
}

// ask sends a request; headers are name and value by turns, and "Host" is the host.
func (r *running) ask(t *testing.T, c *http.Client, method, path, body string, headers ...string) answer {
	t.Helper()
	return send(t, c, method, strings.TrimSuffix(r.URL(), "/")+path, body, headers...)
}

func send(t *testing.T, c *http.Client, method, url, body string, headers ...string) answer {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			q.Host = headers[i+1]
			continue
		}
		q.Header.Set(headers[i], headers[i+1])
	}
	a, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{a, string(text)}
}
