package dyupstest

import (
	"context"
	"errors"
	"io"
	"log" //nolint:depguard // http.Server takes no other, and it is silenced
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"

	"swallowkeeper/upstream"
)

// Headers that the proxy adds to what it passes on.
const (
	// HeaderProxyWorker has the pid of the worker that served a request.
	HeaderProxyWorker = "X-Proxy-Worker"
	// HeaderReason says why a request got 502.
	HeaderReason = "X-Proxy-Reason"
)

type workerKey struct{}

// errCrash is a request that the worker dies of.
var errCrash = errors.New("the upstream was never set up")

// newProxy makes the server of the traffic: the Host header, without its port, names
// the upstream.
func (s *Server) newProxy() *http.Server {
	passOn := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", hostOf(r.In)
			r.Out.Host = hostOf(r.In)
		},
		Transport:    passing{},
		ErrorHandler: refuse,
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.running.Add(1) // a connection that a handler took over is its own
		defer s.running.Done()
		w, ok := r.Context().Value(workerKey{}).(*worker)
		if !ok || !w.serving() {
			panic(http.ErrAbortHandler)
		}
		rw.Header().Set(HeaderProxyWorker, strconv.Itoa(w.pid))
		if w.leaving() {
			rw.Header().Set("Connection", "close")
		}
		passOn.ServeHTTP(rw, r)
	})
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			w := s.choose(0)
			s.running.Add(1)
			w.hold(c, true) // a reload lets it make its first request
			s.holders.Store(c, w)
			return context.WithValue(ctx, workerKey{}, w)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			held, ok := s.holders.Load(c)
			if !ok {
				return
			}
			w := held.(*worker)
			switch state {
			case http.StateActive:
				w.hold(c, true)
			case http.StateIdle:
				w.hold(c, false)
			case http.StateClosed, http.StateHijacked:
				if state == http.StateClosed {
					w.drop(c)
				}
				s.holders.Delete(c)
				s.running.Done()
			default:
			}
		},
	}
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host
	}
	return host
}

// refuse answers a request that no server could be found for.
func refuse(rw http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, errCrash) {
		panic(http.ErrAbortHandler)
	}
	rw.Header().Set(HeaderReason, err.Error())
	http.Error(rw, "502 Bad Gateway", http.StatusBadGateway)
}

// passing passes requests on by the copy of the worker that has the connection.
type passing struct{}

func (passing) RoundTrip(r *http.Request) (*http.Response, error) {
	w, ok := r.Context().Value(workerKey{}).(*worker)
	if !ok {
		return nil, errors.New("no worker has the connection")
	}
	b, err := w.balancer(r.URL.Host)
	if errors.Is(err, errCrash) {
		w.server.replace(w)
	}
	if err != nil {
		return nil, err
	}
	return b.RoundTrip(r)
}

// balancer finds the servers of an upstream.
func (w *worker) balancer(name string) (*balancer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.serve(name)
	switch {
	case s == nil:
		// nginx would ask DNS for it.
		return nil, errors.New("no such upstream")
	case s.broken:
		return nil, errCrash
	}
	if s.peers == nil {
		s.peers = newBalancer(s.block, w.leaving())
	}
	return s.peers, nil
}

// balancer spreads requests over the servers of an upstream as nginx's smooth weighted
// round robin does, with its passive health checks.
type balancer struct {
	transport *http.Transport

	mu              sync.Mutex
	primary, backup []*peer
}

type peer struct {
	server             upstream.Server
	effective, current int
	fails, conns       int
	accessed, checked  time.Time
}

func newBalancer(b *block, leaving bool) *balancer {
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		DisableCompression:    true,
		DisableKeepAlives:     leaving || b.options.Keepalive == 0,
		MaxIdleConns:          b.options.Keepalive,
		MaxIdleConnsPerHost:   b.options.Keepalive,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: time.Minute,
	}
	l := &balancer{transport: t}
	for _, s := range b.servers {
		p := &peer{server: s, effective: s.Weight}
		if s.Backup {
			l.backup = append(l.backup, p)
		} else {
			l.primary = append(l.primary, p)
		}
	}
	return l
}

func (l *balancer) close() { l.transport.CloseIdleConnections() }

var errNoLive = errors.New("no live server in the upstream")

// RoundTrip tries one server after the other until one answers.
func (l *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	tried := map[*peer]bool{}
	for {
		p := l.pick(tried, time.Now())
		if p == nil {
			return nil, errNoLive
		}
		tried[p] = true
		out := r.Clone(r.Context())
		out.URL.Host = address(p.server)
		if out.Body != nil {
			out.Body = io.NopCloser(r.Body) // a failed try closes it
		}
		resp, err := l.transport.RoundTrip(out)
		if r.Context().Err() == nil || err == nil {
			l.done(p, err, time.Now())
		} else {
			l.free(p)
		}
		switch {
		case err == nil && resp.StatusCode == http.StatusSwitchingProtocols:
			l.free(p)
			return resp, nil
		case err == nil:
			resp.Body = &counted{ReadCloser: resp.Body, free: sync.OnceFunc(func() { l.free(p) })}
			return resp, nil
		case r.Context().Err() != nil || !repeatable(r, err):
			return nil, err
		}
	}
}

// counted ends a connection's count with the end of its response.
type counted struct {
	io.ReadCloser
	free func()
}

func (c *counted) Close() error {
	c.free()
	return c.ReadCloser.Close()
}

// repeatable reports whether another server may get the request: always where the
// failed one never saw it, else where that can do no harm.
func repeatable(r *http.Request, err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	switch r.Method {
	case http.MethodPost, http.MethodPatch, "LOCK":
		return false
	}
	return r.Body == nil || r.Body == http.NoBody
}

func (l *balancer) pick(tried map[*peer]bool, now time.Time) *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	single := len(l.primary) == 1 && len(l.backup) == 0
	p := pickOf(l.primary, tried, now, single)
	if p == nil {
		p = pickOf(l.backup, tried, now, false)
	}
	if p != nil {
		p.conns++
	}
	return p
}

func pickOf(peers []*peer, tried map[*peer]bool, now time.Time, single bool) *peer {
	var best *peer
	total := 0
	for _, p := range peers {
		if tried[p] || !p.usable(now, single) {
			continue
		}
		p.current += p.effective
		total += p.effective
		if p.effective < p.server.Weight {
			p.effective++
		}
		if best == nil || p.current > best.current {
			best = p
		}
	}
	if best == nil {
		return nil
	}
	best.current -= total
	if now.Sub(best.checked) > best.server.FailTimeout {
		best.checked = now
	}
	return best
}

// usable reports whether a server may be tried. Failures do not take out the only one.
func (p *peer) usable(now time.Time, single bool) bool {
	s := p.server
	switch {
	case s.Down:
		return false
	case s.MaxConns > 0 && p.conns >= s.MaxConns:
		return false
	}
	return single || s.MaxFails == 0 || p.fails < s.MaxFails || now.Sub(p.checked) > s.FailTimeout
}

// done notes how a try ended. A good one ends the connection's count with its body.
func (l *balancer) done(p *peer, err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if p.accessed.Before(p.checked) {
			p.fails = 0
		}
		return
	}
	p.conns--
	p.fails++
	p.accessed, p.checked = now, now
	if p.server.MaxFails > 0 {
		p.effective = max(0, p.effective-p.server.Weight/p.server.MaxFails)
	}
}

func (l *balancer) free(p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.conns--
}
