// Package registrytest holds registries to their contract: what is published first is
// complete, and so is what follows each change; what can't be read is never published;
// deregistered and unusable are told apart; nothing outlives Watch.
//
// It knows nothing of how a registry is asked. Each brings a [Harness] that can register
// instances there and cut it off.
package registrytest

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"swallowkeeper/internal/suite"
	"swallowkeeper/registry"
)

// Instance is one that is registered: its service and address tell it from others.
type Instance struct {
	Service string
	Addr    netip.AddrPort
	Healthy bool
}

// Harness is one registry with nothing registered in it. Its methods fail the test
// themselves, and return when the registry has taken them in.
type Harness struct {
	// Registry is asked to watch once at a time, and again after it has ended.
	Registry registry.Registry
	// Origin is what each of its servers must have.
	Origin string
	// Register adds an instance, or changes the state of one that is there.
	Register func(t *testing.T, i Instance)
	// Deregister removes an instance.
	Deregister func(t *testing.T, i Instance)
	// Break makes the registry unreadable, and returns when a watch that is under way
	// has had the time to notice, as far as that can be told. Mend ends that.
	Break, Mend func(t *testing.T)
	// Patience is how long any change may take, also after Mend.
	Patience time.Duration
}

// Part says what the suite runs against.
type Part = suite.Part

// The parts. A kind that has a double, in a folder of its name with test behind it, passes the suite with both.
const (
	Double = suite.Double
	Real   = suite.Real
)

// Main is [suite.Main] for a package of a registry.
func Main(m *testing.M, parts ...Part) int { return suite.Main(m, "registrytest", parts...) }

// Run runs the suite. Each test starts with a harness of its own.
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

	// The same again; what comes after it shows when it has been taken in. That two sets
	// in a row differ is checked of all.
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
