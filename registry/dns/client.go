package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
)

const (
	// tries is how often a silent server is asked, as a packet may get lost.
	tries = 2
	// udpSize is the maximum size of an answer over UDP.
	udpSize = 4096
	// mostAliases is the maximum length of a chain of aliases.
	mostAliases = 8
	// mostAtOnce is the maximum number of open questions.
	mostAtOnce = 64
)

// question is a question: a fully qualified name in lower case, with its dot.
type question struct {
	name string
	kind uint16
}

// failure means that there was no usable answer.
type failure struct {
	outcome string // label for metrics
	why     reason.Reason
}

func (f *failure) Error() string         { return f.why.String() }
func (f *failure) Reason() reason.Reason { return f.why }

// client queries name servers. It keeps no connections.
type client struct {
	servers []string
	timeout time.Duration
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	slots   chan struct{}
	told    func(network, outcome string)
}

// ask returns the answer of the first server that knows one. It follows aliases.
func (c *client) ask(ctx context.Context, q question) (answer, error) {
	at := q
	for range mostAliases {
		a, next, err := c.one(ctx, at)
		if err != nil || next == "" {
			return a, err
		}
		at.name = next
	}
	return answer{}, &failure{"alias", aliases.With(shown(q.name))}
}

// one queries one name. If a server gives no usable answer, it asks the next.
func (c *client) one(ctx context.Context, q question) (a answer, next string, err error) {
	for range tries {
		again := false
		for _, server := range c.servers {
			var m *dns.Msg
			if m, err = c.exchange(ctx, server, q); err == nil {
				if a, next, err = interpret(m, q, server); err == nil {
					return a, next, nil
				}
			}
			if ctx.Err() != nil {
				return answer{}, "", ctx.Err()
			}
			var f *failure
			again = again || errors.As(err, &f) && (f.outcome == "timeout" || f.outcome == "stranger" || f.outcome == "malformed")
		}
		if !again {
			break
		}
	}
	return answer{}, "", err
}

// exchange queries one server over UDP, and over TCP if the answer is truncated.
func (c *client) exchange(ctx context.Context, server string, q question) (*dns.Msg, error) {
	edns := true
	m, err := c.send(ctx, "udp", server, q, edns)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers) {
		edns = false // it does not support EDNS
		m, err = c.send(ctx, "udp", server, q, edns)
	}
	if err != nil || !m.Truncated {
		return m, err
	}
	m, err = c.send(ctx, "tcp", server, q, edns)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &failure{"cut", isCut.With(server, reason.Of(err))}
	case m.Truncated:
		return nil, &failure{"cut", isCut.With(server, stillCut.With())}
	}
	return m, nil
}

// send sends a question once. It ignores answers to other questions.
func (c *client) send(ctx context.Context, network, server string, q question, edns bool) (m *dns.Msg, err error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() {
		if ctx.Err() == nil {
			c.told(network, outcomeOf(m, err))
		}
	}()
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	raw, err := c.dial(limited, network, server)
	if err != nil {
		return nil, c.failed(server, err, false)
	}
	conn := &dns.Conn{Conn: raw, UDPSize: udpSize}
	defer conn.Close()
	defer context.AfterFunc(limited, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	ask := new(dns.Msg)
	ask.SetQuestion(q.name, q.kind)
	if edns {
		ask.SetEdns0(udpSize, false)
	}
	if err := conn.WriteMsg(ask); err != nil {
		return nil, c.failed(server, err, false)
	}
	strange := false
	for {
		packet, err := conn.ReadMsgHeader(nil)
		if errors.Is(err, dns.ErrShortRead) {
			return nil, broken(server, err)
		}
		if err != nil {
			return nil, c.failed(server, err, strange)
		}
		got := new(dns.Msg)
		if err := got.Unpack(packet); err != nil {
			if network == "udp" && (uint16(packet[0])<<8|uint16(packet[1])) != ask.Id {
				strange = true
				continue
			}
			return nil, broken(server, err)
		}
		if got.Id == ask.Id && got.Response && sameQuestion(got, q) {
			return got, nil
		}
		if strange = true; network == "tcp" {
			return nil, &failure{"stranger", stranger.With(server)}
		}
	}
}

// sameQuestion reports whether an answer repeats the question, or is an error that omits it.
func sameQuestion(m *dns.Msg, q question) bool {
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	is := m.Question[0]
	return len(m.Question) == 1 && is.Qtype == q.kind && is.Qclass == dns.ClassINET && strings.EqualFold(is.Name, q.name)
}

func broken(server string, err error) error {
	return &failure{"malformed", malformed.With(server, safetext.Quote(strings.TrimPrefix(err.Error(), "dns: ")))}
}

// failed returns why there is no answer. strange reports that there were answers to other questions.
func (c *client) failed(server string, err error, strange bool) error {
	var timeout net.Error
	switch {
	case strange:
		return &failure{"stranger", stranger.With(server)}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &failure{"timeout", silent.With(server, c.timeout)}
	}
	why := err
	if code := syscall.Errno(0); errors.As(err, &code) {
		why = code
	}
	return &failure{"unreachable", unreachable.With(server, safetext.Line(why.Error()))}
}

// outcomeOf returns the label of an answer for metrics.
func outcomeOf(m *dns.Msg, err error) string {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f.outcome
	case err != nil || m == nil:
		return "failed"
	case m.Truncated:
		return "cut"
	case m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0:
		return "empty"
	case m.Rcode == dns.RcodeSuccess:
		return "records"
	}
	return rcode(m.Rcode)
}

func rcode(code int) string {
	if name, known := dns.RcodeToString[code]; known {
		return strings.ToLower(name)
	}
	return fmt.Sprint("rcode", code)
}

// resolvConf returns the servers in a file.
func resolvConf(file string) ([]string, error) {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, &failure{"unreachable", noServer.With(err)}
	}
	var servers []string
	for _, s := range c.Servers {
		servers = append(servers, net.JoinHostPort(s, c.Port))
	}
	if len(servers) == 0 {
		return nil, &failure{"unreachable", noServer.With(file + " names none")}
	}
	return servers, nil
}
