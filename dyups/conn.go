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

// workerHeader is the response header by which nginx identifies the worker that answers:
//
// add_header X-Dyups-Worker $pid always;
const workerHeader = "X-Dyups-Worker"

// staticHeader is the response header in which the Lua API lists the names in nginx's own configuration, in lower case:
// of upstreams, and of hosts that it proxies to. "?" means that they are unknown.
const staticHeader = "X-Dyups-Static"

// maxHeader limits the header of an answer.
const maxHeader = 64 << 10

var errGone = errors.New("the connection to the worker is gone")

// endpoint splits an address into a base URL and a function that dials it.
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

// link is an [http.RoundTripper] over one keep-alive connection. Requests reach the worker that gave the last answer. A
// link starts no goroutine and is not safe for concurrent use. It sends each request in a single write, because the
// module drops anything after the second buffer.
type link struct {
	dial func(context.Context) (net.Conn, error)
	// pinned links are not dialed again: a new connection might reach another worker.
	pinned bool
	// worker is the pid in the last answer, or "".
	worker string
	// static is the static header of the last answer, or "".
	static string

	conn   net.Conn // nil: none, or unusable
	limit  io.LimitedReader
	reader *bufio.Reader
}

// usable reports whether a request would reach the worker, as far as this can be told without sending one. nginx closes
// the connections of a worker that is replaced.
func (l *link) usable() bool {
	if l.conn != nil && l.closed() {
		l.close()
	}
	return l.conn != nil || !l.pinned
}

// closed reports whether the kept connection has ended, or has unexpected data.
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

// RoundTrip sends a request and reads the header of its answer. If a kept connection turns out to be closed, a link
// that is not pinned dials again: every dyups call may be repeated.
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	var message bytes.Buffer
	if err := req.Write(&message); err != nil { // also closes the request's body
		return nil, err
	}
	kept := l.conn != nil
	resp, err := l.exchange(req, message.Bytes())
	if err != nil && kept && !l.pinned && closedByPeer(err) && req.Context().Err() == nil {
		resp, err = l.exchange(req, message.Bytes())
	}
	return resp, ended(req.Context(), err)
}

// ended returns the context's cause if the context ended the call. Only contexts set deadlines here, and the
// connection's deadline may pass a moment before the context's.
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
		l.close() // unexpected data would be taken for the next answer
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
	l.limit.N = math.MaxInt64 // the client limits the body
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

// pidOf returns s if it looks like a pid, else "".
func pidOf(s string) string {
	if len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return ""
	}
	return s
}

// answerBody tells the link whether the whole body was read.
type answerBody struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the call that the body answers
	whole bool
	end   func(whole bool)
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { // io.Reader requires the bare EOF
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
