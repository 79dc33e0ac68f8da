package dnsserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// resolver asks as Caddy does: Go's own, always over TCP.
func resolver(s *Server) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Addr().String())
	}}
}

func TestAnswers(t *testing.T) {
	s := start(t)
	var many []netip.Addr
	for i := range 1000 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)}))
	}
	s.Set("web.swallowkeeper.", []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")})
	s.Set("My_Web-2.x.swallowkeeper.", []netip.Addr{netip.MustParseAddr("10.0.0.2")})
	s.Set("many.swallowkeeper.", many)
	s.Set("none.swallowkeeper.", nil)
	s.Set("gone.swallowkeeper.", many)
	s.Unset("GONE.swallowkeeper.")
	for _, tt := range []struct {
		name string
		want int
		temp bool
	}{
		{"web.swallowkeeper.", 2, false},
		{"WEB.swallowkeeper.", 2, false},
		{"my_web-2.x.swallowkeeper.", 1, false},
		{"many.swallowkeeper.", 1000, false},
		{"none.swallowkeeper.", 0, false},
		{"gone.swallowkeeper.", 0, true},
		{"other.example.", 0, true},
	} {
		found, err := resolver(s).LookupNetIP(t.Context(), "ip", tt.name)
		var failed *net.DNSError
		if len(found) != tt.want || (err != nil) != (tt.want == 0) || errors.As(err, &failed) && failed.IsTemporary != tt.temp {
			t.Errorf("%s: %d addresses, %v", tt.name, len(found), err)
		}
	}
}

func TestToldWhenSomebodyAsks(t *testing.T) {
	s := start(t)
	told := s.Set("web.swallowkeeper.", []netip.Addr{netip.MustParseAddr("10.0.0.1")})
	again := s.Set("web.swallowkeeper.", []netip.Addr{netip.MustParseAddr("10.0.0.2")})
	for range 2 {
		if found, err := resolver(s).LookupNetIP(t.Context(), "ip", "web.swallowkeeper."); err != nil || !slices.Equal(found, []netip.Addr{netip.MustParseAddr("10.0.0.2")}) {
			t.Errorf("%v, %v", found, err)
		}
	}
	select {
	case <-again:
	case <-time.After(10 * time.Second):
		t.Error("somebody has asked, and nobody heard of it")
	}
	select {
	case <-told:
		t.Error("nobody was told what stood there before")
	default:
	}
}

func TestOddQuestions(t *testing.T) {
	s := start(t)
	s.Set("web.swallowkeeper.", []netip.Addr{netip.MustParseAddr("10.0.0.1")})
	client := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	ask := func(change func(*dns.Msg)) (*dns.Msg, error) {
		m := new(dns.Msg).SetQuestion("web.swallowkeeper.", dns.TypeA)
		change(m)
		r, _, err := client.ExchangeContext(t.Context(), m, s.Addr().String())
		return r, err
	}
	for _, tt := range []struct {
		name    string
		change  func(*dns.Msg)
		rcode   int
		answers int
	}{
		{"plain", func(*dns.Msg) {}, dns.RcodeSuccess, 1},
		{"EDNS", func(m *dns.Msg) { m.SetEdns0(1232, false) }, dns.RcodeSuccess, 1},
		{"another type", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }, dns.RcodeSuccess, 0},
		{"another class", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeSuccess, 0},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, dns.RcodeFormatError, 0},
		{"none", func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError, 0},
	} {
		r, err := ask(tt.change)
		if err != nil || r.Rcode != tt.rcode || len(r.Answer) != tt.answers {
			t.Errorf("%s: %v, %v", tt.name, r, err)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	s := start(t)
	if other, err := Listen(t.Context(), netip.MustParseAddrPort(s.Addr().String())); err == nil {
		other.Close()
		t.Error("two listen at one address")
	}
}
