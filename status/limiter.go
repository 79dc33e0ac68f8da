package status

import (
	"net"
	"net/http"
	"sync"
)

// connLimiter is a listener with a limit on connections. At the limit, a new connection replaces the one that has waited
// longest for its request to arrive. So clients that open connections and send nothing, or send a header byte by byte,
// can't keep others out. If all connections are being answered, the new one waits.
type connLimiter struct {
	net.Listener
	most   int
	freed  chan struct{} // capacity 1: there may be room now
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	turn    uint64
	members map[*limitedConn]struct{}
}

// limitedConn is a connection of a connLimiter.
type limitedConn struct {
	net.Conn
	limiter *connLimiter
	// since orders the connections that wait for a request; 0 means that one is being answered. Guarded by limiter.mu.
	since uint64
}

func newConnLimiter(l net.Listener, most int) *connLimiter {
	return &connLimiter{
		Listener: l, most: most, freed: make(chan struct{}, 1), closed: make(chan struct{}), members: map[*limitedConn]struct{}{},
	}
}

// Accept implements net.Listener.
func (c *connLimiter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m := &limitedConn{Conn: conn, limiter: c}
	for !c.admit(m) {
		select {
		case <-c.freed:
		case <-c.closed:
			_ = conn.Close()
			return nil, net.ErrClosed
		}
	}
	return m, nil
}

// Close implements net.Listener.
func (c *connLimiter) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Listener.Close()
}

// admit makes room for a connection and reports whether it could.
func (c *connLimiter) admit(m *limitedConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.members) >= c.most {
		var oldest *limitedConn
		for o := range c.members {
			if o.since > 0 && (oldest == nil || o.since < oldest.since) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		delete(c.members, oldest)
		_ = oldest.Conn.Close() // its server notices and drops it
	}
	c.turn++
	m.since = c.turn
	c.members[m] = struct{}{}
	return true
}

// moved is used as http.Server.ConnState.
func (c *connLimiter) moved(conn net.Conn, state http.ConnState) {
	m, ok := conn.(*limitedConn)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateActive: // a request header was read
		m.since = 0
	case http.StateIdle:
		c.turn++
		m.since = c.turn
		c.signal()
	}
}

func (c *connLimiter) signal() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// Close implements net.Conn.
func (m *limitedConn) Close() error {
	m.limiter.mu.Lock()
	delete(m.limiter.members, m)
	m.limiter.signal()
	m.limiter.mu.Unlock()
	return m.Conn.Close()
}
