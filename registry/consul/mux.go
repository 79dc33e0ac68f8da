package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// streams is how many queries a connection carries before the agent has told its limit.
	streams = 100
	// lookEvery is how often unanswered queries are looked for.
	lookEvery = 5 * time.Second
	// window is the number of bytes after which the peer's window is extended.
	window = 16 << 10
	// writeLimit is how long a write may block.
	writeLimit = 10 * time.Second
)

// mux carries any number of waiting queries over HTTP/2. Go's client needs two goroutines and 20 kB for each; here each
// takes some hundred bytes. It only reads the status and index of an answer.
type mux struct {
	dial func(context.Context) (net.Conn, error)
	host string
	most int // connections; 0 means any number
	need note

	mu      sync.Mutex
	conns   map[*muxConn]bool
	waiting []*muxQuery // for a connection
}

// answer is what is read of an answer.
type answer struct {
	status int
	index  uint64
	err    error
}

// muxQuery is a query.
type muxQuery struct {
	path, token string
	until       time.Time
	done        func(answer) // called once, without a lock

	muxConn *muxConn // guarded by the mux's mutex from here on
	id      uint32   // 0 until it is sent
	dead    bool     // cancelled
	got     answer
}

// muxConn is a connection. The mux's mutex guards its first part.
type muxConn struct {
	mux     *mux
	queries map[uint32]*muxQuery
	taken   int // includes those about to be sent
	most    int
	full    bool // accepts no more
	ended   bool

	conn   net.Conn
	unread uint32 // bytes since the last window update; only used by the reader
	write  sync.Mutex
	next   uint32
	framer *http2.Framer
	packed bytes.Buffer
	packer *hpack.Encoder
}

var (
	errSilent = errors.New("no answer in time")
	errCut    = errors.New("the connection was closed")
)

func newMux(dial func(context.Context) (net.Conn, error), host string, most int) *mux {
	return &mux{dial: dial, host: host, most: most, need: make(note, 1), conns: map[*muxConn]bool{}}
}

// run opens connections as needed, one after another, as many at once would drown an agent in handshakes. It returns
// once the context has ended and all connections are closed.
func (t *mux) run(ctx context.Context) {
	var conns sync.WaitGroup
	defer conns.Wait()
	conns.Go(func() { t.look(ctx) })
	for t.need.heard(ctx) {
		t.fill()
		for t.lacks() && ctx.Err() == nil {
			f, err := t.open(ctx)
			if err != nil {
				t.mu.Lock()
				lost := t.waiting
				t.waiting = nil
				t.mu.Unlock()
				finish(lost, err)
				continue
			}
			conns.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = f.conn.Close() })()
				f.end(f.read())
			})
			t.fill()
		}
	}
}

// lacks reports whether another connection is needed.
func (t *mux) lacks() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) > 0 && (t.most == 0 || len(t.conns) < t.most)
}

func finish(queries []*muxQuery, err error) {
	for _, p := range queries {
		p.done(answer{err: err})
	}
}

// open opens a connection and assigns waiting queries to it.
func (t *mux) open(ctx context.Context) (*muxConn, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	f := &muxConn{mux: t, conn: conn, queries: map[uint32]*muxQuery{}, next: 1, most: streams, framer: http2.NewFramer(conn, conn)}
	f.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.framer.MaxHeaderListSize = 64 << 10
	f.packer = hpack.NewEncoder(&f.packed)
	_, err = conn.Write([]byte(http2.ClientPreface))
	if err == nil {
		err = f.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("begin HTTP/2: %w", err)
	}
	t.mu.Lock()
	t.conns[f] = true
	t.mu.Unlock()
	return f, nil
}

// start sends a query as soon as there is a connection for it.
func (t *mux) start(p *muxQuery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, p)
	t.need.say()
}

// fill sends waiting queries over connections with room.
func (t *mux) fill() {
	var send []*muxQuery
	t.mu.Lock()
	for f := range t.conns {
		for len(t.waiting) > 0 && !f.full && f.taken < f.most {
			p := t.waiting[0]
			t.waiting = t.waiting[1:]
			p.muxConn = f
			f.taken++
			send = append(send, p)
		}
	}
	t.mu.Unlock()
	for _, p := range send {
		p.muxConn.send(p)
	}
}

// writing writes to a connection. If that fails, the connection's reader will end it.
func (f *muxConn) writing(do func() error) {
	f.write.Lock()
	defer f.write.Unlock()
	_ = f.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	if err := do(); err != nil {
		_ = f.conn.Close()
	}
}

// send writes a query. Stream IDs must be in order.
func (f *muxConn) send(p *muxQuery) {
	gone := false
	f.writing(func() error {
		t := f.mux
		t.mu.Lock()
		if gone = f.ended; gone || p.dead {
			f.taken--
			t.mu.Unlock()
			return nil
		}
		p.id = f.next
		f.queries[p.id] = p
		f.next += 2
		f.full = f.full || f.next >= 1<<31-1
		t.mu.Unlock()
		f.packed.Reset()
		fields := []hpack.HeaderField{
			{Name: ":method", Value: "GET"},
			{Name: ":scheme", Value: "https"},
			{Name: ":authority", Value: t.host},
			{Name: ":path", Value: p.path},
		}
		if p.token != "" {
			fields = append(fields, hpack.HeaderField{Name: "x-consul-token", Value: p.token, Sensitive: true})
		}
		for _, field := range fields {
			if err := f.packer.WriteField(field); err != nil {
				return err
			}
		}
		return f.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: p.id, BlockFragment: f.packed.Bytes(), EndStream: true, EndHeaders: true,
		})
	})
	if gone {
		p.done(answer{err: errCut})
	}
}

// cut cancels a query.
func (t *mux) cut(p *muxQuery) {
	t.mu.Lock()
	p.dead = true
	t.waiting = slices.DeleteFunc(t.waiting, func(other *muxQuery) bool { return other == p })
	f := p.muxConn
	sent := f != nil && p.id != 0 && f.drop(p.id) != nil
	t.mu.Unlock()
	if sent {
		f.writing(func() error { return f.framer.WriteRSTStream(p.id, http2.ErrCodeCancel) })
		t.more()
	}
}

// drop removes a query from the connection. The mutex is held.
func (f *muxConn) drop(id uint32) *muxQuery {
	p := f.queries[id]
	if p != nil {
		delete(f.queries, id)
		f.taken--
	}
	return p
}

// look finds unanswered queries.
func (t *mux) look(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		var late []*muxQuery
		t.mu.Lock()
		for f := range t.conns {
			for _, p := range f.queries {
				if now.After(p.until) {
					late = append(late, p)
				}
			}
		}
		t.mu.Unlock()
		for _, p := range late {
			t.cut(p)
		}
		finish(late, errSilent)
	}
}

// end closes a connection and ends all of its queries.
func (f *muxConn) end(err error) {
	_ = f.conn.Close()
	f.mux.mu.Lock()
	delete(f.mux.conns, f)
	f.ended = true
	var lost []*muxQuery
	for _, p := range f.queries {
		lost = append(lost, p)
	}
	clear(f.queries)
	f.mux.mu.Unlock()
	finish(lost, err)
	f.mux.more()
}

// read processes frames until the connection ends.
func (f *muxConn) read() error {
	for {
		frame, err := f.framer.ReadFrame()
		var stream http2.StreamError
		switch {
		case errors.As(err, &stream):
			f.answered(stream.StreamID, answer{err: err})
			continue
		case err != nil:
			return fmt.Errorf("%w: %w", errCut, err)
		}
		if err := f.take(frame); err != nil {
			return err
		}
	}
}

func (f *muxConn) take(frame http2.Frame) error {
	id := frame.Header().StreamID
	switch frame := frame.(type) {
	case *http2.MetaHeadersFrame:
		a := answer{}
		a.status, _ = strconv.Atoi(frame.PseudoValue("status"))
		for _, field := range frame.RegularFields() {
			if field.Name == "x-consul-index" {
				a.index, _ = strconv.ParseUint(field.Value, 10, 64)
			}
		}
		f.mux.mu.Lock()
		if p := f.queries[id]; p != nil && p.got.status == 0 && a.status >= 200 {
			p.got = a
		}
		f.mux.mu.Unlock()
		if frame.StreamEnded() {
			f.answered(id, answer{})
		}
	case *http2.DataFrame:
		if f.unread += frame.Length; f.unread >= window {
			f.writing(func() error { return f.framer.WriteWindowUpdate(0, f.unread) })
			f.unread = 0
		}
		if frame.StreamEnded() {
			f.answered(id, answer{})
		}
	case *http2.RSTStreamFrame:
		f.answered(id, answer{err: http2.StreamError{StreamID: id, Code: frame.ErrCode}})
	case *http2.SettingsFrame:
		if frame.IsAck() {
			return nil
		}
		if most, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
			f.mux.mu.Lock()
			f.most = int(min(most, 1000))
			f.mux.mu.Unlock()
		}
		f.writing(func() error {
			if size, ok := frame.Value(http2.SettingHeaderTableSize); ok {
				f.packer.SetMaxDynamicTableSizeLimit(min(size, 4096))
			}
			return f.framer.WriteSettingsAck()
		})
		f.mux.more()
	case *http2.PingFrame:
		if !frame.IsAck() {
			f.writing(func() error { return f.framer.WritePing(true, frame.Data) })
		}
	case *http2.GoAwayFrame:
		f.mux.mu.Lock()
		f.full = true
		var lost []*muxQuery
		for id := range f.queries {
			if id > frame.LastStreamID {
				lost = append(lost, f.drop(id))
			}
		}
		none := len(f.queries) == 0
		f.mux.mu.Unlock()
		finish(lost, errCut)
		if none {
			return errCut
		}
	}
	return nil
}

// answered ends a query. Its status and index have arrived unless err is set.
func (f *muxConn) answered(id uint32, a answer) {
	f.mux.mu.Lock()
	p := f.drop(id)
	f.mux.mu.Unlock()
	if p == nil {
		return
	}
	if a.err == nil {
		a = p.got
	}
	p.done(a)
	f.mux.more()
}

// more sends waiting queries after room was made.
func (t *mux) more() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) > 0 {
		t.need.say()
	}
}
