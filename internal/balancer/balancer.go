// Package balancer proxies requests like nginx: smooth weighted round robin with passive health checks, and retries on
// the next server. The doubles of nginx use it. It always balances by weight, whatever method an upstream has.
package balancer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"swallowkeeper/upstream"
)

// Balancer distributes the requests to one upstream.
type Balancer struct {
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

// New returns a Balancer. Unless keep is set, it closes each connection after its request.
func New(options upstream.Options, servers []upstream.Server, keep bool) *Balancer {
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		DisableCompression:    true,
		DisableKeepAlives:     !keep || options.Keepalive == 0,
		MaxIdleConns:          options.Keepalive,
		MaxIdleConnsPerHost:   options.Keepalive,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: time.Minute,
	}
	l := &Balancer{transport: t}
	for _, s := range servers {
		p := &peer{server: s, effective: s.Weight}
		if s.Backup {
			l.backup = append(l.backup, p)
		} else {
			l.primary = append(l.primary, p)
		}
	}
	return l
}

// Close closes idle connections.
func (l *Balancer) Close() { l.transport.CloseIdleConnections() }

var errNoLive = errors.New("no live server in the upstream")

// RoundTrip tries the servers one after another until one answers.
func (l *Balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	tried := map[*peer]bool{}
	for {
		p := l.pick(tried, time.Now())
		if p == nil {
			return nil, errNoLive
		}
		tried[p] = true
		out := r.Clone(r.Context())
		out.URL.Host = p.server.Addr.String()
		if out.Body != nil {
			out.Body = io.NopCloser(r.Body) // a failed attempt closes it
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

// counted is a response body whose end also ends the connection's count.
type counted struct {
	io.ReadCloser
	free func()
}

func (c *counted) Close() error {
	c.free()
	return c.ReadCloser.Close()
}

// repeatable reports whether a request may be retried: always if the failed server never received it, else if it is
// idempotent.
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

func (l *Balancer) pick(tried map[*peer]bool, now time.Time) *peer {
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

// usable reports whether a server may be tried. A single server is never taken out.
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

// done records the result of an attempt. After a success the connection counts until the body is closed.
func (l *Balancer) done(p *peer, err error, now time.Time) {
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

func (l *Balancer) free(p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.conns--
}
