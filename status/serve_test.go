package status_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
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

// Whoever can reach the address may open connections without an end: those beyond the limit wait.
func TestConnectionsAtTheAddressAreBounded(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{})
	at := strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first := dial()
	for range status.MostConnections - 1 {
		dial()
	}
	late := dial()
	if _, err := io.WriteString(late, "GET /healthz HTTP/1.1\r\nHost: "+at+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 200 OK"))
	_ = late.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // nothing comes
	if n, err := late.Read(answer); err == nil {
		t.Fatalf("it is answered: %s", answer[:n])
	}
	if code := r.ask(t, r.unix, http.MethodGet, "/healthz", "").StatusCode; code != http.StatusOK {
		t.Errorf("over the socket: %d", code)
	}
	_ = first.Close()
	_ = late.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(late, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
		t.Errorf("once there is room: %q, %v", answer, err)
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
