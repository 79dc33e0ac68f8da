package syncer

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/allocated"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// memory is a store and a gateway that take what they are given.
type memory struct{ gen generation.Generation }

func (m *memory) Load() (generation.Generation, error) { return m.gen, nil }

func (m *memory) Save(_ context.Context, g generation.Generation) (generation.Generation, error) {
	g.Number, g.Time = m.gen.Number, m.gen.Time
	if m.gen.Number == 0 || !g.Set.Equal(m.gen.Set) {
		g.Number, g.Time = m.gen.Number+1, time.Now()
	}
	m.gen = g
	return g, nil
}

func (m *memory) Abilities() gateway.Abilities { return gateway.Nginx() }

func (m *memory) Close() error { return nil }

func (m *memory) Live(context.Context) (gateway.Live, error) { return gateway.Live{}, nil }

func (m *memory) Apply(context.Context, upstream.Changes) (gateway.Receipt, error) {
	return gateway.Receipt{Posted: time.Now()}, nil
}

// ten is a service with so many of its ten servers.
func ten(service, servers int) upstream.Upstream {
	u := upstream.Upstream{Name: fmt.Sprintf("service-%05d", service), Options: upstream.Options{Keepalive: 20}}
	u.Routes = []route.Route{{Path: fmt.Sprintf("/%d/*", service), Origin: "r"}}
	for n := range servers {
		addr := netip.AddrFrom4([4]byte{10, byte(service >> 8), byte(service), byte(n)})
		u.Servers = append(u.Servers, upstream.Server{Addr: netip.AddrPortFrom(addr, 80), Weight: 1, MaxFails: 3, FailTimeout: time.Second, Origin: "r"})
	}
	return u
}

// stepper is a syncer whose loops a test turns by hand.
type stepper struct {
	*Syncer
	set upstream.Set
}

// newStepper makes a syncer in sync, of so many services of ten servers.
func newStepper(tb testing.TB, services int) *stepper {
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := &memory{}
	limits := guard.DefaultConfig()
	limits.Damping = false // each step is a change, however often a server goes
	s := New(Parts{
		Sources: []Source{{Name: "r", Registry: newRegistry()}}, Guard: limits, Store: m,
		Targets: []Target{{Name: "A", Gateway: m, Resync: time.Hour}}, Schedule: DefaultSchedule(), Log: log, Event: func(Event) {},
	})
	if err := s.load(); err != nil {
		tb.Fatal(err)
	}
	list := make([]upstream.Upstream, services)
	for i := range list {
		list[i] = ten(i, 10)
	}
	st := &stepper{Syncer: s, set: upstream.NewSet(list)}
	st.deliver(tb)
	st.step(tb, nil)
	st.step(tb, nil) // what is judged by what is written is judged again
	return st
}

// step brings changes of the registry to the gateway.
func (s *stepper) step(tb testing.TB, put []upstream.Upstream) {
	s.set = s.set.With(put, nil)
	s.intake.publish("r", s.set)
	s.decide(tb.Context(), "")
	s.deliver(tb)
	s.settle(tb.Context())
}

func (s *stepper) deliver(tb testing.TB) {
	d := s.deliveries[0]
	g, epoch, _ := d.wanted()
	if s.gen.Number > g.Number {
		d.to(s.gen, Timing{})
		g, epoch, _ = d.wanted()
	}
	changes, err := d.deliver(tb.Context(), g, epoch)
	if err != nil {
		tb.Fatal(err)
	}
	d.report(g, epoch, changes, err, true)
}

// flapping has an instance of one service after the other come and go.
func (s *stepper) flapping(services int) func(tb testing.TB) {
	n := 0
	return func(tb testing.TB) {
		s.step(tb, []upstream.Upstream{ten(n/2%services, 9+n%2)})
		n++
	}
}

// One change allocates as much of many services as of few, from the registry's set to a gateway that is in sync.
func TestAStepCostsWhatChanged(t *testing.T) {
	cost := func(services int) allocated.Memory {
		step := newStepper(t, services).flapping(services)
		step(t)
		return allocated.By(20, func() { step(t) })
	}
	allocated.Flat(t, "a step", cost(50), cost(5000))
}

// One change, from the registry's set to a gateway that is in sync.
func BenchmarkFlat(b *testing.B) {
	for _, services := range []int{50, 5000} {
		b.Run(fmt.Sprintf("Step/services=%d", services), func(b *testing.B) {
			step := newStepper(b, services).flapping(7)
			b.ReportAllocs()
			for b.Loop() {
				step(b)
			}
		})
	}
}
