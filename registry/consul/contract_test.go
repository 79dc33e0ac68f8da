package consul

import (
	"os"
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/registry"
	"swallowkeeper/registry/consul/consultest"
	"swallowkeeper/registry/registrytest"
)

var (
	_ registry.Registry  = (*Registry)(nil)
	_ registry.Explainer = (*Registry)(nil)
	_ registry.Located   = (*Registry)(nil)
	_ registry.Waiter    = (*Config)(nil)
)

func TestMain(m *testing.M) { os.Exit(registrytest.Main(m, registrytest.Double, registrytest.Real)) }

func TestContractOnDouble(t *testing.T) {
	for _, test := range []struct {
		name        string
		connections int
	}{
		{"a watch each", 0},
		{"mostly swept", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Double, func(t *testing.T) registrytest.Harness {
				d := startDouble(t, consultest.Options{})
				cfg := testConfig(d.addr)
				cfg.Connections = test.connections
				r := newTestRegistry(t, cfg, silent())
				return registrytest.Harness{
					Registry: r, Origin: r.Name(), Patience: patience,
					Register: func(t *testing.T, i registrytest.Instance) { d.register(t, harnessRegistration(i)) },
					Deregister: func(t *testing.T, i registrytest.Instance) {
						reg := harnessRegistration(i)
						if err := d.Deregister(api.CatalogDeregistration{Node: reg.Node, ServiceID: reg.Service.ID}); err != nil {
							t.Fatal(err)
						}
					},
					Break: func(*testing.T) { d.NoLeader(true) },
					Mend:  func(*testing.T) { d.NoLeader(false) },
				}
			})
		})
	}
}

func TestContractOnConsul(t *testing.T) {
	server := consultestserver.Start(t)
	client := server.Client(t)
	for _, test := range []struct {
		name        string
		connections int
	}{
		{"a watch each", 0},
		{"mostly swept", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Real, func(t *testing.T) registrytest.Harness {
				cfg := testConfig(server.Addr)
				cfg.Connections = test.connections
				r := newTestRegistry(t, cfg, silent())
				deregister := func(d *api.CatalogDeregistration) {
					if _, err := client.Catalog().Deregister(d, nil); err != nil {
						t.Fatal(err)
					}
				}
				t.Cleanup(func() { deregister(&api.CatalogDeregistration{Node: "n1"}) })
				return registrytest.Harness{
					Registry: r, Origin: r.Name(), Patience: 3 * patience,
					Register: func(t *testing.T, i registrytest.Instance) {
						if _, err := client.Catalog().Register(harnessRegistration(i), nil); err != nil {
							t.Fatal(err)
						}
					},
					Deregister: func(_ *testing.T, i registrytest.Instance) {
						reg := harnessRegistration(i)
						deregister(&api.CatalogDeregistration{Node: reg.Node, ServiceID: reg.Service.ID})
					},
					Break: func(*testing.T) { server.Stop() },
					Mend:  func(*testing.T) { server.Restart() },
				}
			})
		})
	}
}

func harnessRegistration(i registrytest.Instance) *api.CatalogRegistration {
	status := api.HealthPassing
	if !i.Healthy {
		status = api.HealthCritical
	}
	return registration("n1", i.Service, i.Service+"-"+i.Addr.String(), i.Addr.Addr().String(), int(i.Addr.Port()), status)
}
