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
	"time"

	"swallowkeeper/internal/balancer"
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
func (w *worker) balancer(name string) (*balancer.Balancer, error) {
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
		s.peers = balancer.New(s.block.options, s.block.servers, !w.leaving())
	}
	return s.peers, nil
}
