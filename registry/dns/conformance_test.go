package dns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// interview asks a server for what it was given, and writes down what it answers.
func interview(t *testing.T, addr string) (said []string) {
	t.Helper()
	ask := func(network, name, kind string, edns uint16) {
		m := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
		if edns > 0 {
			m.SetEdns0(edns, false)
		}
		c := &dns.Client{Net: network, Timeout: patience}
		var got *dns.Msg
		var err error
		for range 3 { // a packet may be lost on a machine that is busy
			if got, _, err = c.Exchange(m, addr); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s %s %s: %v", network, kind, name, err)
		}
		line := fmt.Sprintf("%s %s %s %d: %s", network, kind, name, edns, dns.RcodeToString[got.Rcode])
		if got.Truncated {
			// How much of it is there differs, and nobody may use it.
			said = append(said, line+" cut")
			return
		}
		var records []string
		for _, section := range [][]dns.RR{got.Answer, got.Extra} {
			for _, rr := range section {
				if rr.Header().Rrtype != dns.TypeOPT && rr.Header().Rrtype != dns.TypeTXT {
					records = append(records, strings.ReplaceAll(strings.ToLower(rr.String()), "\t", " "))
				}
			}
		}
		slices.Sort(records)
		said = append(said, fmt.Sprintf("%s id %t response %t question %v: %q", line, got.Id == m.Id, got.Response, sameQuestion(got, question{m.Question[0].Name, m.Question[0].Qtype}), records))
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, kind := range []string{"A", "AAAA", "SRV"} {
			for _, name := range []string{"one.sk.test", "ONE.sk.TEST", "both.sk.test", "none.sk.test", "no-such.sk.test", "alias.sk.test", "_http._tcp.srv.sk.test"} {
				ask(network, name, kind, 0)
			}
		}
		for _, edns := range []uint16{0, 512, 1232, 4096} {
			ask(network, "many.sk.test", "A", edns)
		}
	}
	return said
}

// The double answers what the real one answers.
func TestConformance(t *testing.T) {
	m, d := startDnsmasq(t), startDouble(t)
	zone := map[string][]string{
		"one.sk.test": {"A 10.0.0.1"}, "both.sk.test": {"A 10.0.0.2", "A 10.0.0.3", "AAAA 2001:db8::2"}, "none.sk.test": nil,
		"alias.sk.test": {"CNAME one.sk.test"}, "x.sk.test": {"A 10.0.0.9"}, "_http._tcp.srv.sk.test": {"SRV 10 5 8080 x.sk.test", "SRV 20 0 8081 one.sk.test"},
	}
	for i := range 40 {
		zone["many.sk.test"] = append(zone["many.sk.test"], fmt.Sprintf("A 10.1.0.%d", i+1))
	}
	for name, records := range zone {
		m.names[name] = records
		var absolute []string
		for _, r := range records {
			if strings.HasSuffix(r, "sk.test") {
				r += "."
			}
			absolute = append(absolute, r)
		}
		set(t, d, name, absolute...)
	}
	m.restart()
	began := time.Now()
	genuine, double := interview(t, m.addr), interview(t, d.Addr)
	if diff := cmp.Diff(genuine, double); diff != "" {
		t.Errorf("after %s the real one (-) and the double (+) say:\n%s", time.Since(began), diff)
	}
	if text := strings.Join(double, "\n"); !strings.Contains(text, "many.sk.test 512: NOERROR cut") || !strings.Contains(text, "NXDOMAIN") {
		t.Error("nothing was cut, or each name is there")
	}
}
