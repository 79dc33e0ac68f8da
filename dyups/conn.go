package dyups

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// workerHeader is the answer header in which nginx can say which worker it comes from:
// add_header X-Dyups-Worker $pid always;
const workerHeader = "X-Dyups-Worker"

// staticHeader is the answer header in which the API in Lua lists the names that nginx's own
// configuration has, in lower case: of upstreams, and of hosts that it proxies to. "?" is that it
// does not know them.
const staticHeader = "X-Dyups-Static"

// maxHeader is the longest header that is read of an answer.
const maxHeader = 64 << 10

var errGone = errors.New("the connection to the worker is gone")

// endpoint splits an address into what URLs begin with and how it is reached.
func endpoint(address string) (base string, dial func(context.Context) (net.Conn, error)) {
	network, target := "unix", ""
	base = "http://localhost"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		target = path
	} else {
		network, base = "tcp", strings.TrimSuffix(address, "/")
		if u, err := url.Parse(address); err == nil {
			port := u.Port()
			if port == "" {
				port = "80"
			}
			target = net.JoinHostPort(u.Hostname(), port)
		}
	}
	return base, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, target)
	}
}

// link is an [http.RoundTripper] over one keep-alive connection: what is sent over it
// reaches the worker that the last answer came from. It starts no goroutine of its own
// and is not for concurrent use. A request leaves in one write, because the module
// drops what arrives in a third piece.
type link struct {
	dial func(context.Context) (net.Conn, error)
	// pinned links are not dialled again: another connection might reach another worker.
	pinned bool
	// worker is the pid that the last answer named, or "".
	worker string
	// static is what the last answer said in that header, or "".
	static string

	conn   net.Conn // nil: there is none, or it is no good any more
	limit  io.LimitedReader
	reader *bufio.Reader
}

// usable reports whether a request would reach the worker, as far as can be seen
// without sending one: nginx closes the connections of a worker that is replaced.
func (l *link) usable() bool {
	if l.conn != nil && l.closed() {
		l.close()
	}
	return l.conn != nil || !l.pinned
}

// closed reports whether the kept connection has ended, or holds what nobody asked for.
func (l *link) closed() bool {
	sc, ok := l.conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	closed := true
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
		return true // never wait
	})
	return closed || err != nil
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// RoundTrip sends a request and reads the header of its answer. Where a kept connection
// turns out to be closed, a link that is not pinned dials again: every call of dyups may
// be repeated.
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	var message bytes.Buffer
	if err := req.Write(&message); err != nil { // closes the request's body
		return nil, err
	}
	kept := l.conn != nil
	resp, err := l.exchange(req, message.Bytes())
	if err != nil && kept && !l.pinned && closedByPeer(err) && req.Context().Err() == nil {
		resp, err = l.exchange(req, message.Bytes())
	}
	return resp, ended(req.Context(), err)
}

// ended gives the reason where it is the context that ended a call. Only contexts set
// deadlines here, and the connection's may strike a moment before theirs.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		<-ctx.Done()
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (l *link) exchange(req *http.Request, message []byte) (*http.Response, error) {
	ctx := req.Context()
	if l.conn != nil && l.reader.Buffered() > 0 {
		l.close() // more came than was asked for: what follows would answer something else
	}
	if l.conn == nil {
		if l.pinned {
			return nil, errGone
		}
		conn, err := l.dial(ctx)
		if err != nil {
			return nil, err
		}
		l.conn = conn
		l.limit = io.LimitedReader{R: conn}
		l.reader = bufio.NewReaderSize(&l.limit, 16<<10)
	}
	conn := l.conn
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		l.close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	l.limit.N = maxHeader
	resp, err := l.ask(req, message)
	if err != nil {
		stop()
		l.close()
		return nil, err
	}
	l.limit.N = math.MaxInt64 // the client bounds the body
	l.worker = pidOf(resp.Header.Get(workerHeader))
	l.static = resp.Header.Get(staticHeader)
	resp.Body = &answerBody{ReadCloser: resp.Body, ctx: ctx, end: func(whole bool) {
		if !stop() || !whole || resp.Close || conn.SetDeadline(time.Time{}) != nil {
			l.close()
		}
	}}
	return resp, nil
}

func (l *link) ask(req *http.Request, message []byte) (*http.Response, error) {
	if _, err := l.conn.Write(message); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(l.reader, req)
	if err != nil && l.limit.N <= 0 {
		return nil, fmt.Errorf("the answer's header is longer than %d bytes", maxHeader)
	}
	return resp, err
}

// pidOf takes what looks like a pid; anything else is as good as no header.
func pidOf(s string) string {
	if len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return ""
	}
	return s
}

// answerBody tells the link whether the whole answer was read.
type answerBody struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the call that the body answers
	whole bool
	end   func(whole bool)
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { // io.Reader promises EOF itself
		b.whole = true
		return n, err
	}
	return n, ended(b.ctx, err)
}

func (b *answerBody) Close() error {
	if b.end != nil {
		b.end(b.whole)
		b.end = nil
	}
	return nil
}
