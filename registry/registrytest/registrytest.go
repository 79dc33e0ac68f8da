// Package registrytest tests registries against their contract: the first published set is complete, and so is each
// later one; what can't be read is never published; deregistered and unusable instances are distinguished; nothing
// outlives Watch.
//
// It does not know how a registry is read. Each brings a [Harness] that can register instances and break the
// connection.
package registrytest

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"swallowkeeper/internal/suite"
	"swallowkeeper/registry"
)

// Instance is a registered instance, identified by its service and address.
type Instance struct {
	Service string
	Addr    netip.AddrPort
	Healthy bool
}

// Harness is an empty registry. Its methods fail the test themselves, and return once the registry has accepted the
// change.
type Harness struct {
	// Registry runs one Watch at a time, several in sequence.
	Registry registry.Registry
	// Origin is the origin that each of its servers must have.
	Origin string
	// Register adds an instance, or changes the state of an existing one.
	Register func(t *testing.T, i Instance)
	// Deregister removes an instance.
	Deregister func(t *testing.T, i Instance)
	// Break makes the registry unreadable. It returns once a running watch has had time to notice, as far as possible.
	// Mend ends it.
	Break, Mend func(t *testing.T)
	// UsableOnly reports that the registry only lists usable instances: one that is not Healthy is missing without a
	// reason, but its service stays registered.
	UsableOnly bool
	// Patience is how long any change may take, also after Mend.
	Patience time.Duration
}

// Part is what the suite runs against.
type Part = suite.Part

// Parts. A kind with a double, in a folder of its name with suffix test, passes the suite with both.
const (
	Double = suite.Double
	Real   = suite.Real
)

// Main is [suite.Main] for a package of a registry.
func Main(m *testing.M, parts ...Part) int { return suite.Main(m, "registrytest", parts...) }

// Run runs the suite. Each test starts with its own harness.
func Run(t *testing.T, against Part, start func(t *testing.T) Harness) {
	t.Helper()
	suite.Run(t, against, start, []suite.Test[Harness]{
		{Name: "the first set is complete", Run: firstIsComplete},
		{Name: "an empty registry is an empty set", Run: emptyIsPublished},
		{Name: "each change is published complete", Run: changesAreComplete},
		{Name: "deregistered is not unusable", Run: deregisteredIsNotUnusable},
		{Name: "what changes nothing publishes nothing", Run: noChangePublishesNothing},
		{Name: "unreadable is not empty", Run: unreadableIsNotEmpty},
		{Name: "unreadable from the start", Run: unreadableFromTheStart},
		{Name: "the end is clean and Watch can begin again", Run: endIsClean},
	})
}

func instance(service, addr string) Instance {
	return Instance{Service: service, Addr: netip.MustParseAddrPort(addr), Healthy: true}
}

func (i Instance) unhealthy() Instance {
	i.Healthy = false
	return i
}

func register(t *testing.T, h Harness, all ...Instance) {
	t.Helper()
	for _, i := range all {
		h.Register(t, i)
	}
}

var (
	web1 = instance("web", "10.1.0.1:8001")
	web2 = instance("web", "10.1.0.2:8001")
	web3 = instance("web", "[2001:db8::3]:8001")
	api1 = instance("api", "10.1.0.4:9000")
	job1 = instance("job", "10.1.0.5:7000")
)

func firstIsComplete(t *testing.T, h Harness) {
	register(t, h, web1, web2, web3.unhealthy(), api1, job1.unhealthy())
	w := watch(t, h)
	first := w.next()
	w.expect(first, web1, web2, api1, none("job"))
	for _, i := range []Instance{web3, job1} {
		w.expectOut(first, i)
	}
}

func emptyIsPublished(t *testing.T, h Harness) {
	w := watch(t, h)
	w.expect(w.next())
	h.Register(t, web1)
	w.until(web1)
}

func changesAreComplete(t *testing.T, h Harness) {
	register(t, h, web1, api1)
	w := watch(t, h)
	w.expect(w.next(), web1, api1)

	h.Register(t, web2)
	w.until(web1, web2, api1)
	h.Register(t, job1)
	w.until(web1, web2, api1, job1)
	h.Register(t, web2.unhealthy())
	w.expectOut(w.until(web1, api1, job1), web2)
	h.Register(t, web2)
	w.until(web1, web2, api1, job1)
	h.Deregister(t, web1)
	w.until(web2, api1, job1)
	h.Deregister(t, job1)
	w.until(web2, api1)
}

func deregisteredIsNotUnusable(t *testing.T, h Harness) {
	register(t, h, web1, web2, api1)
	w := watch(t, h)
	w.expect(w.next(), web1, web2, api1)

	register(t, h, web1.unhealthy(), web2.unhealthy())
	w.until(none("web"), api1)
	h.Deregister(t, web1)
	h.Deregister(t, web2)
	w.until(api1)
	register(t, h, web1.unhealthy())
	w.until(none("web"), api1)
	register(t, h, web1)
	w.until(web1, api1)
}

func noChangePublishesNothing(t *testing.T, h Harness) {
	register(t, h, web1, web2, api1.unhealthy())
	w := watch(t, h)
	w.expect(w.next(), web1, web2, none("api"))

	// Register the same again; the next change shows when it was processed. All tests check that consecutive sets
	// differ.
	register(t, h, web1, web2, api1.unhealthy())
	register(t, h, job1)
	w.until(web1, web2, none("api"), job1)
}

func unreadableIsNotEmpty(t *testing.T, h Harness) {
	register(t, h, web1, web2, api1)
	w := watch(t, h)
	w.expect(w.next(), web1, web2, api1)

	h.Break(t)
	w.expectQuiet()
	h.Mend(t)
	h.Register(t, job1)
	w.until(web1, web2, api1, job1)
	for _, set := range w.all() {
		for _, name := range []string{"web", "api"} {
			if u, ok := set.Get(name); !ok || len(u.Servers) == 0 {
				t.Errorf("%s lost its servers while the registry could not be read: %s", name, show(set))
			}
		}
	}
}

func unreadableFromTheStart(t *testing.T, h Harness) {
	register(t, h, web1, api1)
	h.Break(t)
	w := watch(t, h)
	w.expectQuiet()
	h.Mend(t)
	w.expect(w.next(), web1, api1)
}

func endIsClean(t *testing.T, h Harness) {
	register(t, h, web1, api1)
	for range 2 {
		before := goleak.IgnoreCurrent()
		w := watch(t, h)
		w.expect(w.next(), web1, api1)
		w.stop()
		h.Register(t, job1)
		h.Deregister(t, job1)
		w.expectNothingAfterTheEnd()
		if err := goleak.Find(before); err != nil {
			t.Errorf("something outlived Watch: %v", err)
		}
	}
}
