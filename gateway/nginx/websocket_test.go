package nginx_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/internal/nginxtest"
)

// echoes is a server that becomes a WebSocket where it is asked to, and then sends back what it gets. Else it answers with the
// headers that ask for that.
func echoes(t *testing.T) string {
	t.Helper()
	at, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "upgrade" {
			fmt.Fprintf(w, "plain %q %q", req.Header["Upgrade"], req.Header["Connection"])
			return
		}
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(conn, both)
	}))
	t.Cleanup(func() { stop(t.Context()) })
	return at
}

// socket is a connection that was asked to become a WebSocket.
type socket struct {
	net.Conn
	from *bufio.Reader
	resp *http.Response
}

func dialSocket(t *testing.T, addr, path, upgrade string) *socket {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "+upgrade+
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	must(t, err)
	s := &socket{Conn: conn, from: bufio.NewReader(conn)}
	s.resp, err = http.ReadResponse(s.from, nil)
	must(t, err)
	return s
}

// lives has a line go there and back.
func (s *socket) lives(line string) error {
	if _, err := io.WriteString(s, line+"\n"); err != nil {
		return err
	}
	got, err := s.from.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("it got %q, sent %q", got, line)
	}
	return err
}

// TestWebSockets: a route makes them possible unless it says otherwise, nothing else can be upgraded to, and one that is open
// lives on over reloads, also when its route has gone, until it is closed.
func TestWebSockets(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		t.Skip("no nginx is installed here")
	}
	r := debian(t)
	g := r.gateway(t)
	echo := echoes(t)
	must(t, change(t, g, set(with(t, "live", echo, "/live/*", "/feed"), with(t, "plain", echo, "/plain/* websocket=false"))))

	s := dialSocket(t, r.addr, "/live/a", "websocket")
	if s.resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("it became no WebSocket: %s", s.resp.Status)
	}
	must(t, s.lives("one"))
	for path, upgrade := range map[string]string{"/plain/a": "websocket", "/feed": "h2c", "/live/a": "websocket2"} {
		no := dialSocket(t, r.addr, path, upgrade)
		body, err := io.ReadAll(no.resp.Body)
		if no.resp.StatusCode != http.StatusOK || err != nil || strings.Contains(string(body), "pgrade") || strings.Contains(string(body), upgrade) {
			t.Errorf("%s to %s: %s %q, %v", path, upgrade, no.resp.Status, body, err)
		}
	}

	for i := range 3 { // a reload each, the last without the route
		live := with(t, "live", echo, "/live/*")
		if i == 2 {
			live.Routes = nil
		}
		want := set(live, with(t, "api", fmt.Sprintf("127.0.0.1:%d", 1+i)))
		must(t, change(t, g, want))
		has(t, g, want)
		if err := s.lives(fmt.Sprint("after ", i)); err != nil {
			t.Fatalf("after %d reloads: %v", i+1, err)
		}
	}
	leaving := func() (n int) {
		workers, err := nginxproc.System().Workers(r.master(t))
		must(t, err)
		for _, w := range workers {
			if w.Leaving {
				n++
			}
		}
		return n
	}
	until(t, "only the worker with the socket is left of before", func() bool { return leaving() == 1 })
	must(t, s.lives("still"))
	s.Close()
	until(t, "it ends with its socket", func() bool { return leaving() == 0 })
}
