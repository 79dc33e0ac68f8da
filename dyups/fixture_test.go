package dyups_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
	contract "swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

var (
	_ contract.Gateway  = (*dyups.Gateway)(nil)
	_ contract.Examiner = (*dyups.Gateway)(nil)
)

// server starts a dyups server whose workers read the queue seldom by themselves: what
// reaches them in time is the gateway's doing.
func server(t *testing.T, o dyupstest.Options) *dyupstest.Server {
	t.Helper()
	s, err := dyupstest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func gateway(t *testing.T, s *dyupstest.Server, o dyupstest.Options, log logrus.FieldLogger) *dyups.Gateway {
	t.Helper()
	c := dyups.DefaultConfig()
	c.Address = s.API()
	c.Timeout = 2 * time.Second
	if o.ReadMsgTimeout > 0 {
		c.ReadMsgTimeout = o.ReadMsgTimeout
	}
	if o.QueueBytes > 0 {
		c.QueueBytes = o.QueueBytes
	}
	g := dyups.New(c, log)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func web(name string, ports ...uint16) upstream.Upstream {
	u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
	for _, p := range ports {
		u.Servers = append(u.Servers, upstream.Server{
			Addr:   netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), p),
			Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second,
		})
	}
	return u
}

func set(list ...upstream.Upstream) upstream.Set { return upstream.NewSet(list) }

func many(n, servers int) upstream.Set {
	list := make([]upstream.Upstream, n)
	for i := range list {
		list[i] = upstream.Upstream{Name: fmt.Sprintf("service-%04d", i), Options: upstream.Options{Keepalive: 20}}
		for j := range servers {
			list[i].Servers = append(list[i].Servers, upstream.Server{
				Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j + 1)}), 8080),
				Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second,
			})
		}
	}
	return upstream.NewSet(list)
}

// sync does what the syncer does once, and returns what there was to change.
func sync(ctx context.Context, g *dyups.Gateway, want upstream.Set) (upstream.Changes, error) {
	live, err := g.Live(ctx)
	if err != nil {
		return upstream.Changes{}, err
	}
	c := upstream.Diff(live.Set, want)
	if c.Empty() {
		return c, nil
	}
	_, err = g.Apply(ctx, c)
	return c, err
}

func mustSync(t *testing.T, g *dyups.Gateway, want upstream.Set) upstream.Changes {
	t.Helper()
	c, err := sync(t.Context(), g, want)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// alike checks that every worker's whole copy, hidden options and all, is that of a
// server which was given the set from the start.
func alike(t *testing.T, s *dyupstest.Server, want upstream.Set) {
	t.Helper()
	model := map[string]string{}
	for u := range want.All() {
		text := ""
		if u.Options.Method != "" {
			text += u.Options.Method + ";\n"
		}
		if u.Options.Keepalive > 0 {
			text += fmt.Sprintf("keepalive %d;\n", u.Options.Keepalive)
		}
		for _, s := range u.Servers {
			b := map[bool]int{true: 1}
			text += fmt.Sprintf("server %s weight=%d max_conns=%d max_fails=%d fail_timeout=%d backup=%d down=%d\n", s.Addr,
				s.Weight, s.MaxConns, s.MaxFails, int(s.FailTimeout.Seconds()), b[s.Backup], b[s.Down])
		}
		model[u.Name] = text
	}
	for _, w := range s.Workers() {
		if diff := cmp.Diff(model, w.Upstreams); diff != "" {
			t.Fatalf("worker %d differs (-want +got):\n%.2000s", w.PID, diff)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func mustSyncChange(t *testing.T, g *dyups.Gateway, before, after upstream.Set) {
	t.Helper()
	if _, err := g.Apply(t.Context(), upstream.Diff(before, after)); err != nil {
		t.Fatal(err)
	}
}
