package status

import (
	"net"
	"net/http"
	"sync"
)

// crowd is a listener with a limit of connections. When it is reached, the newest takes the place of
// the one that has waited longest for a request to arrive: whoever opens connections and sends nothing,
// or a header byte by byte, keeps nobody out. Where all are being answered the newest waits.
type crowd struct {
	net.Listener
	most   int
	freed  chan struct{} // has room for one: there may be a place now
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	turn    uint64
	members map[*member]struct{}
}

// member is a connection of the crowd.
type member struct {
	net.Conn
	crowd *crowd
	// since orders those that wait for a request; 0 is one that is being answered. crowd.mu guards it.
	since uint64
}

func newCrowd(l net.Listener, most int) *crowd {
	return &crowd{
		Listener: l, most: most, freed: make(chan struct{}, 1), closed: make(chan struct{}), members: map[*member]struct{}{},
	}
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m := &member{Conn: conn, crowd: c}
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
func (c *crowd) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Listener.Close()
}

// admit makes room for a newcomer and reports whether there was any.
func (c *crowd) admit(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.members) >= c.most {
		var oldest *member
		for o := range c.members {
			if o.since > 0 && (oldest == nil || o.since < oldest.since) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		delete(c.members, oldest)
		_ = oldest.Conn.Close() // its server sees that and lets go of it
	}
	c.turn++
	m.since = c.turn
	c.members[m] = struct{}{}
	return true
}

// moved is for http.Server.ConnState.
func (c *crowd) moved(conn net.Conn, state http.ConnState) {
	m, ok := conn.(*member)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateActive: // the header of a request was read
		m.since = 0
	case http.StateIdle:
		c.turn++
		m.since = c.turn
		c.signal()
	}
}

func (c *crowd) signal() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// Close implements net.Conn.
func (m *member) Close() error {
	m.crowd.mu.Lock()
	delete(m.crowd.members, m)
	m.crowd.signal()
	m.crowd.mu.Unlock()
	return m.Conn.Close()
}
