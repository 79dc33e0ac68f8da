package consultest

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Listener limits how many connections one client, which is one IP address, may hold: Options.MaxConns of them.
// One beyond that gets a 429 and is closed, before it has said anything, just as by Consul.
func (s *Server) Listener(l net.Listener) net.Listener {
	return &limitListener{Listener: l, limit: s.maxConns, open: make(map[string]int)}
}

// LimitConns sets another limit, as a reload of the agent's configuration does: those that are there stay.
func (s *Server) LimitConns(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.MaxConns = n
}

func (s *Server) maxConns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts.MaxConns
}

type limitListener struct {
	net.Listener
	limit func() int

	mu   sync.Mutex
	open map[string]int // connections by client IP
}

// Accept returns the next connection that is within the limit.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := clientIP(conn)
		if l.take(ip) {
			return &limitedConn{Conn: conn, free: sync.OnceFunc(func() { l.release(ip) })}, nil
		}
		refuse(conn)
	}
}

func (l *limitListener) take(ip string) bool {
	limit := l.limit()
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit > 0 && l.open[ip] >= limit {
		return false
	}
	l.open[ip]++
	return true
}

func (l *limitListener) release(ip string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[ip]--; l.open[ip] <= 0 {
		delete(l.open, ip)
	}
}

func clientIP(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

// refuse answers a connection before it has asked. The client may see a reset instead: Consul has that race too.
func refuse(conn net.Conn) {
	const text = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
	_ = conn.SetDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = io.WriteString(conn, fmt.Sprintf("HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text))
	_ = conn.Close()
}

type limitedConn struct {
	net.Conn
	free func()
}

// Close closes the connection and gives its place back.
func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
