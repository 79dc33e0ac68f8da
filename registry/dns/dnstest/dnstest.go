// Package dnstest is an in-process name server for tests, over UDP and TCP on a port of 127.0.0.1. It holds names with
// their records, truncates answers that are too long for UDP, distinguishes a name without records from one that does
// not exist, and can be told to fail in each way in which real servers fail.
package dnstest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Fault is a way to fail.
type Fault int

// The faults. Each is the server's, or that of some names.
const (
	// None is no fault.
	None Fault = iota
	// ServFail and Refused are answers that say nothing.
	ServFail
	Refused
	// Drop is no answer.
	Drop
	// Cut says over UDP that the answer is cut, and breaks it off over TCP.
	Cut
	// Half sends the first half of the message.
	Half
	// WrongID and WrongName answer another question.
	WrongID
	WrongName
	// Refer names other servers to ask.
	Refer
	// Empty and NXDomain are answers as to a name without records, and to one that does not exist.
	Empty
	NXDomain
	// NoEDNS refuses questions that come with EDNS.
	NoEDNS
)

// TTL is that of all records: Docker's.
const TTL = 600

// Server is a name server.
type Server struct {
	// Addr is where it answers.
	Addr string

	mu     sync.Mutex
	names  map[string][]dns.RR
	faults map[string]fault
	parts  map[string]int
	turn   int
	delay  time.Duration
	asked  map[string]int
	open   int
	most   int
	end    chan struct{}
	udp    *dns.Server
	tcp    *dns.Server
	ended  sync.WaitGroup
}

// fault is one for some time: left below 0 is for ever.
type fault struct {
	is   Fault
	left int
	kind uint16 // of questions, 0 for all
}

// Start starts one that has no name.
func Start() (*Server, error) {
	s := &Server{names: map[string][]dns.RR{}, faults: map[string]fault{}, parts: map[string]int{}, asked: map[string]int{}}
	var err error
	for range 20 { // the port that is free for TCP may not be for UDP
		if err = s.listen("127.0.0.1:0"); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func (s *Server) listen(at string) error {
	l, err := net.Listen("tcp", at) //nolint:noctx // it lives longer than a call
	if err != nil {
		return err
	}
	p, err := net.ListenPacket("udp", l.Addr().String()) //nolint:noctx // it lives longer than a call
	if err != nil {
		_ = l.Close()
		return err
	}
	s.Addr, s.end = l.Addr().String(), make(chan struct{})
	up := make(chan struct{}, 2)
	started := func() { up <- struct{}{} }
	s.tcp = &dns.Server{Listener: l, Handler: s, NotifyStartedFunc: started}
	s.udp = &dns.Server{PacketConn: p, Handler: s, NotifyStartedFunc: started}
	for _, server := range []*dns.Server{s.tcp, s.udp} {
		s.ended.Go(func() { _ = server.ActivateAndServe() })
	}
	<-up
	<-up
	return nil
}

// Stop ends it: connections are refused.
func (s *Server) Stop() {
	select {
	case <-s.end:
		return
	default:
	}
	close(s.end)
	_ = s.udp.Shutdown()
	_ = s.tcp.Shutdown()
	s.ended.Wait()
}

// Restart starts it again where it was.
func (s *Server) Restart() error { return s.listen(s.Addr) }

// Set gives a name its records, each such as "A 10.0.0.1" or "SRV 10 5 8080 a.example". A name without records exists.
func (s *Server) Set(name string, records ...string) error {
	name = dns.CanonicalName(name)
	all := []dns.RR{}
	for _, text := range records {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s", name, TTL, text))
		if err != nil {
			return err
		}
		all = append(all, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = all
	return nil
}

// Remove forgets a name.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, dns.CanonicalName(name))
}

// Fail has questions for some names, or for all where none is given, go wrong from now on.
func (s *Server) Fail(how Fault, names ...string) { s.FailTimes(-1, how, names...) }

// FailTimes is Fail for so many questions of each name.
func (s *Server) FailTimes(n int, how Fault, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) == 0 {
		clear(s.faults)
		s.faults[""] = fault{is: how, left: n}
	}
	for _, name := range names {
		s.faults[dns.CanonicalName(name)] = fault{is: how, left: n}
	}
}

// FailType is Fail for questions of one type, such as "AAAA".
func (s *Server) FailType(how Fault, kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[dns.CanonicalName(name)] = fault{is: how, left: -1, kind: dns.StringToType[kind]}
}

// Parts has each answer for a name hold n of its records, others each time; 0 is all of them.
func (s *Server) Parts(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[dns.CanonicalName(name)] = n
}

// Delay makes all answers late.
func (s *Server) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Asked is how many questions there were for a name, over "udp" or "tcp".
func (s *Server) Asked(network, name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[network+" "+dns.CanonicalName(name)]
}

// Most is how many questions were open at a time since it was asked last.
func (s *Server) Most() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.most
	s.most = s.open
	return most
}

// ServeDNS answers.
func (s *Server) ServeDNS(w dns.ResponseWriter, ask *dns.Msg) {
	network := w.LocalAddr().Network()
	answer, how, delay := s.answer(network, ask)
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-s.end:
		}
	}
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
	switch {
	case answer == nil || how == Drop:
	case how == Half, how == Cut && network == "tcp":
		packet, err := answer.Pack()
		if err != nil {
			return
		}
		_, _ = w.Write(packet[:len(packet)/2])
		_ = w.Close()
	default:
		_ = w.WriteMsg(answer)
	}
}

// answer makes one.
func (s *Server) answer(network string, ask *dns.Msg) (m *dns.Msg, how Fault, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	s.most = max(s.most, s.open)
	m = new(dns.Msg)
	if ask.Opcode != dns.OpcodeQuery {
		return m.SetRcode(ask, dns.RcodeNotImplemented), None, 0
	}
	if len(ask.Question) != 1 {
		return m.SetRcode(ask, dns.RcodeFormatError), None, 0
	}
	q := ask.Question[0]
	name := dns.CanonicalName(q.Name)
	s.asked[network+" "+name]++
	how, delay = s.fault(name, q.Qtype), s.delay
	m.SetReply(ask)
	m.Authoritative, m.RecursionAvailable = true, true
	edns := ask.IsEdns0()
	size := dns.MinMsgSize
	if edns != nil {
		if how == NoEDNS {
			return m.SetRcode(ask, dns.RcodeFormatError), how, delay
		}
		size = max(size, int(edns.UDPSize()))
		m.SetEdns0(4096, false)
	}
	switch how {
	case ServFail:
		m.Rcode = dns.RcodeServerFailure
		return m, how, delay
	case Refused:
		m.Rcode = dns.RcodeRefused
		return m, how, delay
	case Refer:
		ns, _ := dns.NewRR(name + " 600 IN NS ns.example.")
		m.Authoritative, m.RecursionAvailable, m.Ns = false, false, []dns.RR{ns}
		return m, how, delay
	case WrongID:
		m.Id++
	case WrongName:
		m.Question[0].Name = "other." + strings.TrimPrefix(q.Name, ".")
	case Cut:
		m.Truncated = network == "udp"
	}
	s.fill(m, name, q, how)
	if network == "udp" {
		cut := m.Truncated
		m.Truncate(size)
		m.Truncated = m.Truncated || cut
	}
	return m, how, delay
}

// fill puts in what the name has.
func (s *Server) fill(m *dns.Msg, name string, q dns.Question, how Fault) {
	all, there := s.names[name]
	if how == NXDomain || !there && how != Empty {
		m.Rcode = dns.RcodeNameError
		return
	}
	if q.Qclass != dns.ClassINET || how == Empty {
		return
	}
	for range 8 {
		var alias string
		var records []dns.RR
		for _, rr := range all {
			if c, is := rr.(*dns.CNAME); is && q.Qtype != dns.TypeCNAME {
				m.Answer = append(m.Answer, c)
				alias = c.Target
			} else if rr.Header().Rrtype == q.Qtype {
				records = append(records, rr)
			}
		}
		m.Answer = append(m.Answer, s.some(name, records)...)
		if alias == "" {
			break
		}
		name = dns.CanonicalName(alias)
		if all, there = s.names[name]; !there {
			m.Rcode = dns.RcodeNameError
			break
		}
	}
	for _, rr := range m.Answer {
		if t, is := rr.(*dns.SRV); is {
			for _, beside := range s.names[dns.CanonicalName(t.Target)] {
				if k := beside.Header().Rrtype; (k == dns.TypeA || k == dns.TypeAAAA) && !slices.Contains(m.Extra, beside) {
					m.Extra = append(m.Extra, beside)
				}
			}
		}
	}
}

// some are all records in another order each time, or a part of them.
func (s *Server) some(name string, records []dns.RR) []dns.RR {
	if len(records) == 0 {
		return nil
	}
	s.turn++
	at := s.turn % len(records)
	records = slices.Concat(records[at:], records[:at])
	if n := s.parts[name]; n > 0 && n < len(records) {
		return records[:n]
	}
	return records
}

// fault is what goes wrong for a name, once less from now on.
func (s *Server) fault(name string, kind uint16) Fault {
	for _, of := range []string{name, ""} {
		f, is := s.faults[of]
		if !is || f.left == 0 || f.kind != 0 && f.kind != kind {
			continue
		}
		f.left--
		s.faults[of] = f
		return f.is
	}
	return None
}
