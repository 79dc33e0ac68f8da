package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"swallowkeeper/internal/safetext"
)

// answer is the answer of a server to a question.
type answer struct {
	server string
	nx     bool // no such name
	ttl    uint32
	addrs  []netip.Addr
	srv    []target
	// beside are addresses of targets included in the answer.
	beside map[string][]netip.Addr
}

// target is an SRV record.
type target struct {
	host                   string
	port, priority, weight uint16
}

// interpret parses an answer; it is pure. next is the name to query instead, if the answer only leads there.
func interpret(m *dns.Msg, q question, server string) (a answer, next string, err error) {
	a.server = server
	switch m.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeNameError:
		a.nx = true
		return a, "", nil
	case dns.RcodeServerFailure:
		return a, "", &failure{"servfail", servfail.With(server)}
	case dns.RcodeRefused:
		return a, "", &failure{"refused", refused.With(server)}
	default:
		return a, "", &failure{rcode(m.Rcode), otherCode.With(server, strings.ToUpper(rcode(m.Rcode)))}
	}
	at := q.name
	for n := 0; ; n++ {
		alias := a.take(m.Answer, question{at, q.kind})
		if len(a.addrs)+len(a.srv) > 0 {
			a.aside(m.Extra)
			return a, "", nil
		}
		if alias == "" {
			break
		}
		if at = alias; n == mostAliases || at == q.name {
			return a, "", &failure{"alias", aliases.With(shown(q.name))}
		}
	}
	switch {
	case at != q.name && !final(m):
		return a, at, nil
	case at == q.name && !final(m) && !m.Authoritative && refers(m):
		return a, "", &failure{"referral", referral.With(server)}
	}
	return a, "", nil
}

// take adds the records of a name, or returns its alias.
func (a *answer) take(records []dns.RR, q question) (alias string) {
	for _, rr := range records {
		h := rr.Header()
		if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, q.name) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.CNAME:
			alias = strings.ToLower(rr.Target)
			continue
		case *dns.SRV:
			if q.kind != dns.TypeSRV {
				continue
			}
			a.srv = append(a.srv, target{strings.ToLower(rr.Target), rr.Port, rr.Priority, rr.Weight})
		default:
			ip, is := address(rr)
			if !is || h.Rrtype != q.kind {
				continue
			}
			a.addrs = append(a.addrs, ip)
		}
		if len(a.addrs)+len(a.srv) == 1 || h.Ttl < a.ttl {
			a.ttl = h.Ttl
		}
	}
	return alias
}

// aside adds the addresses of the targets.
func (a *answer) aside(records []dns.RR) {
	a.beside = map[string][]netip.Addr{}
	for _, rr := range records {
		if ip, is := address(rr); is && rr.Header().Class == dns.ClassINET {
			host := strings.ToLower(rr.Header().Name)
			a.beside[host] = append(a.beside[host], ip)
		}
	}
}

func address(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		ip, is := netip.AddrFromSlice(rr.A.To4())
		return ip, is
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	}
	return netip.Addr{}, false
}

// final reports whether the answer's authority section says that there is no more.
func final(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return true
		}
	}
	return false
}

// refers reports whether the answer refers to other servers.
func refers(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeNS {
			return true
		}
	}
	return false
}

// shown returns a name without the trailing dot.
func shown(name string) string {
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	return safetext.Cut(safetext.Line(name), 253)
}
