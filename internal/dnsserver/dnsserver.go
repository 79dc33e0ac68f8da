// Package dnsserver answers address queries of one program on this machine. It speaks DNS over TCP only, so answers are
// never truncated and it can't be used to flood others. It forwards no query.
package dnsserver

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// idle is how long a connection may wait for its next question.
const idle = 10 * time.Second

// Server answers for the names that it was given. It is for concurrent use.
type Server struct {
	server *dns.Server
	ended  chan struct{}

	mu    sync.Mutex
	names map[string]*entry
}

type entry struct {
	addrs []netip.Addr
	told  chan struct{} // closed when somebody has them
	once  sync.Once
}

// Listen begins to answer at an address. A name that nobody has set is not known, which is not that it has no addresses.
func Listen(ctx context.Context, addr netip.AddrPort) (*Server, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	s := &Server{names: map[string]*entry{}, ended: make(chan struct{})}
	s.server = &dns.Server{
		Listener: l, Handler: dns.HandlerFunc(s.answer), ReadTimeout: idle, WriteTimeout: idle,
		IdleTimeout: func() time.Duration { return idle }, MsgAcceptFunc: accept,
	}
	started := make(chan struct{})
	s.server.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(s.ended)
		_ = s.server.ActivateAndServe() // until Close
	}()
	select {
	case <-started:
	case <-s.ended:
	}
	return s, nil
}

// accept takes what has one question.
func accept(h dns.Header) dns.MsgAcceptAction {
	if h.Bits&(1<<15) != 0 {
		return dns.MsgIgnore
	}
	if h.Qdcount != 1 || h.Ancount+h.Nscount > 0 || h.Arcount > 2 {
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// Addr is where it answers.
func (s *Server) Addr() net.Addr { return s.server.Listener.Addr() }

// Close ends it. What is asked meanwhile gets no answer.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.server.ShutdownContext(ctx)
	<-s.ended
}

// Set has a name answered by these addresses. The channel is closed when the first question was.
func (s *Server) Set(name string, addrs []netip.Addr) (told <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &entry{addrs: slices.Clone(addrs), told: make(chan struct{})}
	s.names[dns.CanonicalName(name)] = e
	return e.told
}

// Unset has a name not known any more.
func (s *Server) Unset(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, dns.CanonicalName(name))
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	question := q.Question[0]
	s.mu.Lock()
	e, known := s.names[dns.CanonicalName(question.Name)]
	if known && question.Qclass == dns.ClassINET {
		m.Answer = records(question, e.addrs)
		if len(m.Answer) > 0 {
			e.once.Do(func() { close(e.told) })
		}
	}
	s.mu.Unlock()
	if !known {
		m.Rcode = dns.RcodeServerFailure
	}
	_ = w.WriteMsg(m) // whoever has gone asks again
}

// records are the addresses of the kind that is asked for.
func records(q dns.Question, addrs []netip.Addr) []dns.RR {
	var all []dns.RR
	for _, a := range addrs {
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			all = append(all, &dns.A{Hdr: header, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			all = append(all, &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
		}
	}
	return all
}
