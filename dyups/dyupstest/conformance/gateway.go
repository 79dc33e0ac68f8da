package conformance

import (
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/dyups"
	"swallowkeeper/gateway"
	"swallowkeeper/gateway/gatewaytest"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// Gateway is what package gatewaytest needs to hold swallowkeeper's gateway to its contract on what start starts.
func Gateway(start Starter) func(t *testing.T) gatewaytest.Harness {
	const readMsgTimeout = 200 * time.Millisecond
	return func(t *testing.T) gatewaytest.Harness {
		t.Helper()
		on := start(t, Config{ReadMsgTimeout: readMsgTimeout})
		f := newFaults(t, on.API)
		log := logrus.New()
		log.SetOutput(io.Discard)
		return gatewaytest.Harness{
			Workers: on.Workers, Patience: 30 * time.Second,
			New: func(t *testing.T, written upstream.Set) gateway.Gateway {
				c := dyups.DefaultConfig()
				c.Address, c.Timeout, c.ReadMsgTimeout = "http://"+f.l.Addr().String(), time.Second, readMsgTimeout
				w := &gateway.Written{}
				w.Set(written)
				g := dyups.New(c, log, dyups.WithWritten(w))
				t.Cleanup(func() { _ = g.Close() })
				return g
			},
			Shown:    func(t *testing.T) []upstream.Set { return on.shown(t) },
			Sent:     f.names,
			Lie:      func(upstream string) { f.tell(func() { f.lie = upstream }) },
			Refuse:   func(upstream string) { f.tell(func() { f.refuse = upstream }) },
			OnChange: func(do func()) { f.tell(func() { f.onChange = do }) },
			Hang:     func() func() { return f.hold("") },
			Stall:    f.hold,
			Kill:     on.Kill,
			Reload: func(t *testing.T, written upstream.Set) {
				var text []byte
				for u := range written.All() {
					text = nginxconf.AppendBlock(text, u)
				}
				on.Reload(t, string(text))
			},
		}
	}
}

// shown is what each worker has by its own word.
func (g Target) shown(t *testing.T) []upstream.Set {
	t.Helper()
	var texts []string
	if g.Details != nil {
		texts = g.Details()
	} else {
		for _, c := range g.workers(t) {
			texts = append(texts, c.get(t, "/detail").body)
		}
	}
	sets := make([]upstream.Set, len(texts))
	for i, text := range texts {
		sets[i] = readDetail(t, text)
	}
	return sets
}

// readDetail reads what /detail answers. It shares no code with package dyups, which it tests.
func readDetail(t *testing.T, text string) upstream.Set {
	t.Helper()
	var list []upstream.Upstream
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		name, servers, _ := strings.Cut(block, "\n")
		u := upstream.Upstream{Name: name}
		for line := range strings.Lines(servers) {
			var s upstream.Server
			words := strings.Fields(line)
			addr, err := netip.ParseAddrPort(words[1])
			if s.Addr = addr; err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			for _, word := range words[2:] {
				key, value, _ := strings.Cut(word, "=")
				n, err := strconv.Atoi(value)
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				switch key {
				case "weight":
					s.Weight = n
				case "max_conns":
					s.MaxConns = n
				case "max_fails":
					s.MaxFails = n
				case "fail_timeout":
					s.FailTimeout = time.Duration(n) * time.Second
				case "backup":
					s.Backup = n == 1
				case "down":
					s.Down = n == 1
				}
			}
			u.Servers = append(u.Servers, s)
		}
		if name != "" {
			list = append(list, u)
		}
	}
	return upstream.NewSet(list)
}
