package conformance

import (
	"io"
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
