package docker

import (
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/registry"
	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/registry/registrytest"
	"swallowkeeper/upstream"
)

var (
	_ registry.Registry  = (*Registry)(nil)
	_ registry.Explainer = (*Registry)(nil)
	_ registry.Examiner  = (*Registry)(nil)
	_ registry.Located   = (*Registry)(nil)
	_ registry.Waiter    = (*Config)(nil)
)

func TestMain(m *testing.M) {
	os.Exit(registrytest.Main(m, registrytest.Double, registrytest.Real))
}

// open makes a registry of an engine. What hangs is given up soon.
func open(t testing.TB, host string, change func(*Config)) *Registry {
	t.Helper()
	for _, key := range []string{"DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if os.Getenv(key) != "" {
			t.Fatalf("%s is set", key)
		}
	}
	c := DefaultConfig()
	c.Host, c.Resync = host, 500*time.Millisecond
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	log, _ := test.NewNullLogger()
	r, err := c.Open(registry.Deps{Name: "dc", Log: log, Defaults: upstream.Defaults{All: upstream.DefaultTemplate()}})
	if err != nil {
		t.Fatal(err)
	}
	r.limit = time.Second
	return r
}

// yard keeps the instances of the suite as containers.
type yard struct {
	run       func(t *testing.T, i registrytest.Instance) (id string)
	setHealth func(t *testing.T, id string, healthy bool)
	remove    func(t *testing.T, id string)

	mu  sync.Mutex
	ids map[netip.AddrPort]string
}

func (y *yard) register(t *testing.T, i registrytest.Instance) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	id, is := y.ids[i.Addr]
	if !is {
		id = y.run(t, i)
		if y.ids == nil {
			y.ids = map[netip.AddrPort]string{}
		}
		y.ids[i.Addr] = id
	}
	y.setHealth(t, id, i.Healthy)
}

func (y *yard) deregister(t *testing.T, i registrytest.Instance) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	y.remove(t, y.ids[i.Addr])
	delete(y.ids, i.Addr)
}

func health(healthy bool) string {
	if healthy {
		return "healthy"
	}
	return "unhealthy"
}

// faults are the ways in which an engine breaks.
var faults = map[string]dockertest.Fault{
	"refuses": dockertest.Refuses, "hangs": dockertest.Hangs, "fails": dockertest.Fails, "cuts": dockertest.Cuts,
	"answers null": dockertest.Nothing, "redirects": dockertest.Redirects, "answers something": dockertest.Something,
	"answers a part": dockertest.Incomplete,
}

func TestContractOnDouble(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Double, func(t *testing.T) registrytest.Harness {
				e := dockertest.New(t)
				y := &yard{
					run: func(_ *testing.T, i registrytest.Instance) string {
						return e.Run(dockertest.Spec{
							Labels:   map[string]string{"swallowkeeper.name": i.Service, "swallowkeeper.port": strconv.Itoa(int(i.Addr.Port()))},
							Networks: map[string]netip.Addr{"web": i.Addr.Addr()}, Health: health(i.Healthy),
						})
					},
					setHealth: func(_ *testing.T, id string, healthy bool) { e.SetHealth(id, health(healthy)) },
					remove:    func(_ *testing.T, id string) { e.Remove(id) },
				}
				return registrytest.Harness{
					Registry: open(t, e.Host(), nil), Origin: "dc", Patience: 20 * time.Second,
					Register: y.register, Deregister: y.deregister,
					Break: func(*testing.T) { e.Break(fault) }, Mend: func(*testing.T) { e.Mend() },
				}
			})
		})
	}
}
