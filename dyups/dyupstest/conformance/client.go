package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// workerHeader is set by the interface's location to the pid that answers.
const workerHeader = "X-Dyups-Worker"

// limit is how long anything may take before it counts as broken.
const limit = 20 * time.Second

// conn is one keep-alive connection, and so one worker. It sends each request in one
// write: the module cuts bodies that arrive in more than two pieces.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// reply is an answer, whole.
type reply struct {
	status int
	body   string
	header http.Header
}

func (r reply) String() string { return fmt.Sprintf("%d %q", r.status, r.body) }

func (r reply) pid() string { return r.header.Get(workerHeader) }

func dial(t *testing.T, addr string) *conn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	d := net.Dialer{Timeout: limit}
	c, err := d.DialContext(t.Context(), network, strings.TrimPrefix(addr, "http://"))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &conn{c, bufio.NewReader(c)}
}

// try sends one request as it stands and reads the answer.
func (c *conn) try(method string, parts ...string) (reply, error) {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return reply{}, err
	}
	for i, p := range parts {
		if i > 0 {
			time.Sleep(30 * time.Millisecond) //nolint:forbidigo // nothing shows that a piece was read
		}
		if _, err := io.WriteString(c, p); err != nil {
			return reply{}, err
		}
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(body), resp.Header}, err
}

// request spells a request with a body, which may be empty.
func request(method, path, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
}

// bare spells a request that says nothing of a body.
func bare(method, path, host string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, path, host)
}

func (c *conn) must(t *testing.T, method string, parts ...string) reply {
	t.Helper()
	r, err := c.try(method, parts...)
	if err != nil {
		t.Fatalf("%.200q: %v", parts[0], err)
	}
	return r
}

func (c *conn) get(t *testing.T, path string) reply {
	t.Helper()
	return c.must(t, "GET", bare("GET", path, "x"))
}

func (c *conn) post(t *testing.T, name, body string) reply {
	t.Helper()
	return c.must(t, "POST", request("POST", "/upstream/"+name, body))
}

func (c *conn) del(t *testing.T, name string) reply {
	t.Helper()
	return c.must(t, "DELETE", bare("DELETE", "/upstream/"+name, "x"))
}

// wantClosed wants the other side to have ended the connection.
func (c *conn) wantClosed(t *testing.T) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := c.in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}

func (r reply) want(t *testing.T, status int, body string) {
	t.Helper()
	if r.status != status || r.body != body {
		t.Errorf("answer %v, want %d %q", r, status, body)
	}
}

// workers opens a connection to each worker of the interface, by pid.
func (g Target) workers(t *testing.T) map[string]*conn {
	t.Helper()
	return g.each(t, g.API, workerHeader, "x")
}

// proxies opens a connection to each worker of the traffic, by pid. The upstream that
// it asks for has to be there.
func (g Target) proxies(t *testing.T, upstream string) map[string]*conn {
	t.Helper()
	return g.each(t, g.Proxy, proxyHeader, upstream)
}

// each opens connections in bursts: one at a time may all land on one worker.
func (g Target) each(t *testing.T, addr, header, host string) map[string]*conn {
	t.Helper()
	const burst = 8
	found := map[string]*conn{}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		conns := make([]*conn, burst)
		for i := range conns {
			conns[i] = dial(t, addr)
			if _, err := io.WriteString(conns[i], bare("GET", "/list", host)); err != nil {
				t.Fatalf("ask for the worker: %v", err)
			}
		}
		for _, c := range conns {
			r, err := c.try("GET")
			if err != nil {
				t.Fatalf("ask for the worker: %v", err)
			}
			pid := r.header.Get(header)
			if _, ok := found[pid]; ok || pid == "" {
				_ = c.Close()
				continue
			}
			found[pid] = c
		}
		if len(found) == g.Workers {
			return found
		}
	}
	t.Fatalf("found %d of %d workers", len(found), g.Workers)
	return nil
}
