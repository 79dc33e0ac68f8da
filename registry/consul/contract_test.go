package consul

import (
	"encoding/pem"
	"os"
	"path/filepath"
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
		only        *plan
	}{
		{"a watch each", 0, nil},
		{"found by search", 4, nil},
		{"found by node", 0, &plan{way: byNode, readers: 2}},
		{"found by index", 0, &plan{way: byIndex, readers: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Double, func(t *testing.T) registrytest.Harness {
				var d *double
				var cfg Config
				if test.only != nil && test.only.way == byIndex {
					d, cfg = startSecureDouble(t)
				} else {
					d = startDouble(t, consultest.Options{})
					cfg = testConfig(d.addr)
				}
				cfg.Connections = test.connections
				r := newTestRegistry(t, cfg, silent())
				r.only = test.only
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
	server := consultestserver.Start(t, consultestserver.WithTLS())
	client := server.Client(t)
	for _, test := range []struct {
		name        string
		connections int
		only        *plan
	}{
		{"a watch each", 0, nil},
		{"found by search", 4, nil},
		{"found by node", 0, &plan{way: byNode, readers: 2}},
		{"found by index", 0, &plan{way: byIndex, readers: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Real, func(t *testing.T) registrytest.Harness {
				cfg := testConfig(server.Addr)
				if test.only != nil && test.only.way == byIndex {
					cfg = testConfig("https://" + server.HTTPSAddr)
					cfg.CAFile = server.CAFile
				}
				cfg.Connections = test.connections
				r := newTestRegistry(t, cfg, silent())
				r.only = test.only
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

// startSecureDouble is a double that speaks HTTP/2 over TLS, and a configuration that trusts it.
func startSecureDouble(t *testing.T) (*double, Config) {
	d, front, _ := crowd(t, 0, consultest.Options{})
	front.EnableHTTP2 = true
	front.StartTLS()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))
	cfg := testConfig("https://" + d.addr)
	cfg.CAFile = ca
	return d, cfg
}

func harnessRegistration(i registrytest.Instance) *api.CatalogRegistration {
	status := api.HealthPassing
	if !i.Healthy {
		status = api.HealthCritical
	}
	return registration("n1", i.Service, i.Service+"-"+i.Addr.String(), i.Addr.Addr().String(), int(i.Addr.Port()), status)
}
