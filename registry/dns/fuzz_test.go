package dns

import (
	"testing"

	"github.com/miekg/dns"

	"swallowkeeper/upstream"
)

// FuzzAnswer: whatever a server sends, there is no panic, no server that nginx would refuse, and no text that a registry may not
// have.
func FuzzAnswer(f *testing.F) {
	add := func(kind uint16, rcode int, answer, extra, ns []string) {
		m := new(dns.Msg).SetQuestion("b.sk.test.", kind)
		m.Response, m.Rcode = true, rcode
		for _, part := range []struct {
			to   *[]dns.RR
			text []string
		}{{&m.Answer, answer}, {&m.Extra, extra}, {&m.Ns, ns}} {
			for _, text := range part.text {
				rr, err := dns.NewRR(text)
				if err != nil {
					f.Fatal(err)
				}
				*part.to = append(*part.to, rr)
			}
		}
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet, kind)
	}
	add(dns.TypeA, 0, []string{"b.sk.test. 600 IN A 10.0.0.1", "b.sk.test. 600 IN A 0.0.0.0", "other. 1 IN A 10.0.0.2"}, nil, nil)
	add(dns.TypeAAAA, 0, []string{"b.sk.test. 600 IN CNAME C.sk.test.", "c.sk.test. 5 IN AAAA ::ffff:10.0.0.1", "c.sk.test. 5 CH AAAA ::1"}, nil, nil)
	add(dns.TypeA, 0, []string{"b.sk.test. 600 IN CNAME b.sk.test."}, nil, nil)
	add(dns.TypeA, 0, []string{"b.sk.test. 600 IN CNAME c.sk.test."}, nil, nil)
	add(dns.TypeSRV, 0, []string{"b.sk.test. 600 IN SRV 1 2 80 x.", "b.sk.test. 600 IN SRV 0 0 0 x.", "b.sk.test. 600 IN SRV 9 65535 65535 ."}, []string{"x. 1 IN A 10.0.0.1", "x. 1 IN AAAA 2001:db8::1"}, nil)
	add(dns.TypeA, dns.RcodeNameError, nil, nil, []string{"sk.test. 60 IN SOA ns. root. 1 2 3 4 5"})
	add(dns.TypeA, 0, nil, nil, []string{"sk.test. 60 IN NS ns.example."})
	add(dns.TypeA, dns.RcodeServerFailure, nil, nil, nil)
	f.Fuzz(func(t *testing.T, packet []byte, kind uint16) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		q := question{"b.sk.test.", kind}
		_ = sameQuestion(m, q)
		_ = outcomeOf(m, nil)
		a, next, err := interpret(m, q, "127.0.0.1:53")
		if err != nil {
			if err.Error() == "" || next != "" || len(a.addrs)+len(a.srv) > 0 {
				t.Errorf("%v beside %+v, %q", err, a, next)
			}
			return
		}
		if a.nx && (next != "" || len(a.addrs)+len(a.srv) > 0) {
			t.Errorf("there is no such name, and it has %+v, %q", a, next)
		}
		s := &Service{Query: "b.sk.test", Record: recordA, Port: 80}
		var l listed
		for _, ip := range a.addrs {
			l.records = append(l.records, record{kind: recordA, addr: ip, port: 80, ttl: a.ttl})
		}
		for _, target := range a.srv {
			for _, ip := range a.beside[target.host] {
				l.records = append(l.records, record{
					kind: recordSRV, addr: ip, port: int(target.port), target: target.host, priority: target.priority, weight: target.weight,
				})
			}
		}
		for _, method := range []string{"", "ip_hash"} {
			d := upstream.Defaults{All: upstream.DefaultTemplate()}
			d.All.Options.Method = method
			u, out := l.upstream("b", s, d, "dc")
			if err := u.Valid(); err != nil {
				t.Errorf("it is not valid: %v", err)
			}
			if len(u.Servers)+len(out) > len(l.records) {
				t.Errorf("%d servers and %d out of %d records", len(u.Servers), len(out), len(l.records))
			}
			for _, o := range out {
				if o.Reason.IsZero() || o.Addr == "" {
					t.Errorf("out without a reason: %+v", o)
				}
			}
			for _, r := range l.records {
				_ = r.in(s, "1s").In("zh")
			}
			upstream.NewSet([]upstream.Upstream{u}, out...)
		}
	})
}
