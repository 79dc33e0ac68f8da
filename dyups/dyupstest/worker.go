package dyupstest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"swallowkeeper/internal/balancer"
	"swallowkeeper/upstream"
)

// worker is one nginx worker: its own copy of the upstreams, its own connections.
type worker struct {
	server *Server
	pid    int
	queue  *queue

	ctx      context.Context // ends when the process does
	kill     context.CancelFunc
	quit     chan struct{} // closed at a reload: finish what is under way, then go
	ready    chan struct{} // closed once it serves
	asked    chan struct{} // a call read the queue, so the timer starts again
	stalled  atomic.Bool
	retiring sync.Once

	mu       sync.Mutex     // held while the process does anything: it has one thread
	static   []Static       // as loaded, without those that a call replaced
	slots    []*slot        // nil where an upstream was deleted
	live     map[string]int // places in slots by folded name
	free     []int          // places to use again, in ascending order
	poisoned bool

	connsMu sync.Mutex
	conns   map[net.Conn]bool // whether a request is under way on it
}

// slot is an upstream in a place of the worker's list. Places of deleted upstreams
// are used again, the last first, so the order of names is none to rely on.
type slot struct {
	name  string
	block *block
	peers *balancer.Balancer // made at the first request
	// broken upstreams are listed as if all were well, and kill the worker at the first
	// request: it failed to set them up.
	broken bool
}

func newWorker(s *Server, pid int, q *queue, conf []named) *worker {
	ctx, kill := context.WithCancel(s.ctx)
	w := &worker{
		server: s, pid: pid, queue: q, ctx: ctx, kill: kill,
		quit: make(chan struct{}), ready: make(chan struct{}), asked: make(chan struct{}, 1),
		live: map[string]int{}, conns: map[net.Conn]bool{},
	}
	w.static = slices.Clone(s.options.Static)
	for _, u := range conf {
		w.update(u.name, u.block)
	}
	return w
}

// run is the process's own life: it reads the queue by a timer. One that takes the
// place of a crashed worker sleeps first.
func (w *worker) run(respawned bool) {
	defer w.closePeers()
	timeout := w.server.options.ReadMsgTimeout
	if respawned && w.queue.used() {
		select {
		case <-time.After(2 * timeout):
			w.queue.inherit(w.pid)
		case <-w.ctx.Done():
		case <-w.quit:
		}
	}
	close(w.ready)
	timer := time.NewTimer(rand.N(timeout))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			w.mu.Lock()
			w.tryRead()
			w.mu.Unlock()
		case <-w.asked:
		case <-w.ctx.Done():
			return
		case <-w.quit:
			return
		}
		timer.Reset(timeout)
	}
}

// serving waits until the worker serves, and reports whether it still does.
func (w *worker) serving() bool {
	select {
	case <-w.ready:
		return w.ctx.Err() == nil
	case <-w.ctx.Done():
		return false
	}
}

// tryRead reads the queue unless another worker is at it.
func (w *worker) tryRead() {
	if !w.stalled.Load() && w.queue.mu.TryLock() {
		w.queue.read(w)
		w.queue.mu.Unlock()
	}
}

// read reads the queue, which is locked.
func (w *worker) read() {
	if !w.stalled.Load() {
		w.queue.read(w)
	}
}

// take makes a change that another worker sent.
func (w *worker) take(m *message) {
	if m.block == nil {
		w.remove(m.name)
		return
	}
	w.update(m.name, m.block).broken = w.poisoned
}

// sandbox is the name under which a body is tried out before it is used.
const sandbox = "_dyups_upstream_sandbox_"

// try takes the place in which the module tries a body out, good or bad, and leaves it.
func (w *worker) try() {
	w.update(sandbox, nil)
	w.remove(sandbox)
}

func (w *worker) update(name string, b *block) *slot {
	w.remove(name)
	s := &slot{name: name, block: b}
	at := len(w.slots)
	if last := len(w.free) - 1; last >= 0 {
		at, w.free = w.free[last], w.free[:last]
		w.slots[at] = s
	} else {
		w.slots = append(w.slots, s)
	}
	w.live[fold(name)] = at
	return s
}

// remove reports whether there was anything to remove.
func (w *worker) remove(name string) bool {
	key := fold(name)
	statics := len(w.static)
	w.static = slices.DeleteFunc(w.static, func(s Static) bool { return fold(s.Name) == key })
	at, found := w.live[key]
	if !found {
		return len(w.static) < statics
	}
	if p := w.slots[at].peers; p != nil {
		p.Close()
	}
	w.slots[at] = nil
	delete(w.live, key)
	i, _ := slices.BinarySearch(w.free, at)
	w.free = slices.Insert(w.free, i, at)
	return true
}

// get finds an upstream for the interface, which takes names without regard to case.
func (w *worker) get(name string) *slot {
	if at, found := w.live[fold(name)]; found {
		return w.slots[at]
	}
	return nil
}

// serve finds the upstream that traffic is for: by its exact name, as Tengine does.
func (w *worker) serve(name string) *slot {
	if s := w.get(name); s != nil && s.name == name {
		return s
	}
	return nil
}

func (w *worker) list() string {
	var b strings.Builder
	for _, s := range w.static {
		b.WriteString(s.Name + "\n")
	}
	for _, s := range w.slots {
		if s != nil {
			b.WriteString(s.name + "\n")
		}
	}
	return b.String()
}

func (w *worker) detail() string {
	var b strings.Builder
	for _, s := range w.static {
		b.WriteString(s.Name + "\n")
		for _, srv := range s.Servers {
			b.WriteString("server " + srv + "\n")
		}
		b.WriteString("\n")
	}
	for _, s := range w.slots {
		if s == nil {
			continue
		}
		b.WriteString(s.name + "\n")
		for _, srv := range s.block.servers {
			b.WriteString(detailLine(srv, w.server.options.MaxConns))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func detailLine(s upstream.Server, maxConns bool) string {
	conns := ""
	if maxConns {
		conns = fmt.Sprintf("max_conns=%d ", s.MaxConns)
	}
	return fmt.Sprintf("server %s weight=%d %smax_fails=%d fail_timeout=%d backup=%d down=%d\n", address(s),
		s.Weight, conns, s.MaxFails, int(s.FailTimeout/time.Second), flag(s.Backup), flag(s.Down))
}

// address spells a server's address as nginx does.
func address(s upstream.Server) string {
	if !s.Addr.IsValid() {
		return "unix:"
	}
	return s.Addr.String()
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// text is the slot's upstream as nginx would be given it.
func (s *slot) text() string {
	var b strings.Builder
	if m := s.block.options.Method; m != "" {
		fmt.Fprintf(&b, "%s;\n", m)
	}
	if k := s.block.options.Keepalive; k != 0 {
		fmt.Fprintf(&b, "keepalive %d;\n", k)
	}
	for _, srv := range s.block.servers {
		b.WriteString(detailLine(srv, true))
	}
	return b.String()
}

// show is the whole copy as text, for tests.
func (w *worker) show() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]string{}
	for _, s := range w.slots {
		if s != nil {
			all[s.name] = s.text()
		}
	}
	return all
}

func (w *worker) showOne(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.slots {
		if s != nil && s.name == name {
			return s.text()
		}
	}
	return ""
}

// crash ends the process at once, connections and all.
func (w *worker) crash() {
	w.kill()
	w.connsMu.Lock()
	for c := range w.conns {
		_ = c.Close()
	}
	w.connsMu.Unlock()
}

// retire ends the process as a reload does: requests under way are finished.
func (w *worker) retire() {
	w.retiring.Do(func() { close(w.quit) })
	w.connsMu.Lock()
	for c, busy := range w.conns {
		if !busy {
			_ = c.Close()
		}
	}
	w.connsMu.Unlock()
}

func (w *worker) closePeers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.slots {
		if s != nil && s.peers != nil {
			s.peers.Close()
		}
	}
}

// leaving reports whether a connection must be closed after its request.
func (w *worker) leaving() bool {
	select {
	case <-w.quit:
		return true
	case <-w.ctx.Done():
		return true
	default:
		return false
	}
}

// hold notes a connection of the worker and whether a request is under way on it.
// A connection that the worker can no longer take is closed.
func (w *worker) hold(c net.Conn, busy bool) {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	w.conns[c] = busy
	if w.ctx.Err() != nil || !busy && w.leaving() {
		_ = c.Close()
	}
}

func (w *worker) drop(c net.Conn) {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	delete(w.conns, c)
}

// fold makes equal what nginx takes for one name: it has no regard to the case of
// ASCII letters.
func fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
