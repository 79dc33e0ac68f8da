package dns

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/registry"
	"swallowkeeper/registry/dns/dnstest"
	"swallowkeeper/registry/registrytest"
	"swallowkeeper/upstream"
)

var (
	_ registry.Registry  = (*Registry)(nil)
	_ registry.Explainer = (*Registry)(nil)
	_ registry.Examiner  = (*Registry)(nil)
	_ registry.Located   = (*Registry)(nil)
	_ registry.Noticer   = (*Registry)(nil)
	_ registry.Waiter    = (*Config)(nil)
)

func TestMain(m *testing.M) { os.Exit(registrytest.Main(m, registrytest.Double, registrytest.Real)) }

const patience = 20 * time.Second

// startDouble is a name server in the process that ends with the test.
func startDouble(t testing.TB) *dnstest.Server {
	t.Helper()
	d, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

// open makes a registry that asks often.
func open(t testing.TB, server string, change func(*Config)) (*Registry, *test.Hook) {
	t.Helper()
	c := DefaultConfig()
	c.Server, c.Interval, c.Timeout, c.Service = server, 20*time.Millisecond, 150*time.Millisecond, map[string]*Service{}
	if change != nil {
		change(&c)
	}
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	made, err := c.New(registry.Deps{Name: "dc", Log: log, Defaults: upstream.Defaults{All: upstream.DefaultTemplate()}})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := made.(*Registry)
	return r, hook
}

// set gives a name of the double its records.
func set(t testing.TB, d *dnstest.Server, name string, records ...string) {
	t.Helper()
	if err := d.Set(name, records...); err != nil {
		t.Fatal(err)
	}
}

// started is a watch whose last set can be looked at.
type started struct {
	t    testing.TB
	r    *Registry
	mu   sync.Mutex
	last *upstream.Set
	n    int
	at   time.Time
}

func watch(t testing.TB, r *Registry) *started {
	t.Helper()
	s := &started{t: t, r: r}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Watch(ctx, func(set upstream.Set) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.last, s.n, s.at = &set, s.n+1, time.Now()
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func (s *started) set() (upstream.Set, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return upstream.Set{}, false
	}
	return *s.last, true
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// until waits for an upstream to have these servers.
func (s *started) until(name string, addrs ...string) {
	s.t.Helper()
	addrs = slices.Sorted(slices.Values(addrs))
	var got []string
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		if got = s.servers(name); got != nil && slices.Equal(got, addrs) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("%s has %q, want %q; trouble: %v", name, got, addrs, s.r.Condition().Trouble)
		}
	}
}

// servers are those of an upstream, nil where there is no such one.
func (s *started) servers(name string) []string {
	set, _ := s.set()
	u, is := set.Get(name)
	if !is {
		return nil
	}
	addrs := []string{}
	for _, server := range u.Servers {
		addrs = append(addrs, server.Addr.String())
	}
	slices.Sort(addrs)
	return addrs
}

// ports of the suite's services.
var ports = map[string]int{"web": 8001, "api": 9000, "job": 7000}

func suiteNames(c *Config) {
	c.NXDomain = nxGone
	for name, port := range ports {
		c.Service[name] = &Service{Query: name + ".sk.test", Record: recordBoth, Port: port}
	}
}

// board is what is registered: the healthy ones of a service are its records.
type board map[string]map[netip.AddrPort]bool

func (b board) register(i registrytest.Instance) {
	if b[i.Service] == nil {
		b[i.Service] = map[netip.AddrPort]bool{}
	}
	b[i.Service][i.Addr] = i.Healthy
}

func (b board) deregister(i registrytest.Instance) {
	if delete(b[i.Service], i.Addr); len(b[i.Service]) == 0 {
		delete(b, i.Service)
	}
}

// records are those of a service, and whether its name exists.
func (b board) records(service string) (records []string, exists bool) {
	for at, healthy := range b[service] {
		kind := map[bool]string{true: "A ", false: "AAAA "}[at.Addr().Is4()]
		if healthy {
			records = append(records, kind+at.Addr().String())
		}
	}
	slices.Sort(records)
	return records, b[service] != nil
}

// awaitTrouble waits until a watch that is under way has noticed that nothing can be read.
func awaitTrouble(t *testing.T, r *Registry) {
	t.Helper()
	r.mu.Lock()
	watched := r.entries != nil
	r.mu.Unlock()
	if watched {
		eventually(t, "it notices that nothing can be read", func() bool { return !r.Condition().Lapsed.IsZero() })
	}
}

func TestContractOnDouble(t *testing.T) {
	fail := func(how dnstest.Fault) [2]func(t *testing.T, d *dnstest.Server) {
		return [2]func(t *testing.T, d *dnstest.Server){
			func(_ *testing.T, d *dnstest.Server) { d.Fail(how) },
			func(_ *testing.T, d *dnstest.Server) { d.Fail(dnstest.None) },
		}
	}
	for name, breaks := range map[string][2]func(t *testing.T, d *dnstest.Server){
		"SERVFAIL": fail(dnstest.ServFail), "REFUSED": fail(dnstest.Refused), "it is silent": fail(dnstest.Drop), "answers are cut": fail(dnstest.Cut),
		"half a message": fail(dnstest.Half), "another ID": fail(dnstest.WrongID), "another question": fail(dnstest.WrongName), "it refers": fail(dnstest.Refer),
		"stopped": {
			func(_ *testing.T, d *dnstest.Server) { d.Stop() },
			func(t *testing.T, d *dnstest.Server) {
				if err := d.Restart(); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Double, func(t *testing.T) registrytest.Harness {
				d := startDouble(t)
				r, _ := open(t, d.Addr, suiteNames)
				b := board{}
				write := func(t *testing.T, service string) {
					records, exists := b.records(service)
					if !exists {
						d.Remove(service + ".sk.test")
						return
					}
					set(t, d, service+".sk.test", records...)
				}
				return registrytest.Harness{
					Registry: r, Origin: "dc", Patience: patience, UsableOnly: true,
					Register:   func(t *testing.T, i registrytest.Instance) { b.register(i); write(t, i.Service) },
					Deregister: func(t *testing.T, i registrytest.Instance) { b.deregister(i); write(t, i.Service) },
					Break:      func(t *testing.T) { breaks[0](t, d); awaitTrouble(t, r) },
					Mend:       func(t *testing.T) { breaks[1](t, d) },
				}
			})
		})
	}
}

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
