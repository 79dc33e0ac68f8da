package etcd

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/internal/retry"
	"swallowkeeper/registry"
	"swallowkeeper/registry/etcd/etcdtest"
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

// startDouble is an etcd in the process that ends with the test.
func startDouble(t testing.TB) *etcdtest.Server {
	t.Helper()
	d, err := etcdtest.Start(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

// open makes a registry that is quick to try again.
func open(t testing.TB, url string, change func(*Config)) (*Registry, *test.Hook) {
	t.Helper()
	c := DefaultConfig()
	c.Address = []string{url}
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	made, err := c.New(registry.Deps{Name: "dc", Log: log, Defaults: upstream.Defaults{All: upstream.DefaultTemplate()}})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := made.(*Registry)
	r.retry = retry.Policy{First: 20 * time.Millisecond, Longest: 200 * time.Millisecond, Healthy: 30 * time.Second}
	return r, hook
}

// dial is a client of the real one.
func dial(t testing.TB, url string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// written is how each layout writes an instance of the suite.
var written = map[string]func(i registrytest.Instance) (key, value string){
	"swallowkeeper": func(i registrytest.Instance) (string, string) {
		return "/swallowkeeper/services/" + i.Service + "/" + i.Addr.String(), fmt.Sprintf(`{"address":%q,"healthy":%t}`, i.Addr, i.Healthy)
	},
}

func TestContractOnDouble(t *testing.T) {
	for name, breaks := range map[string]struct {
		spoil, mend func(t *testing.T, d *etcdtest.Server)
	}{
		"no leader": {
			func(_ *testing.T, d *etcdtest.Server) { d.NoLeader(true) },
			func(_ *testing.T, d *etcdtest.Server) { d.NoLeader(false) },
		},
		"hangs": {
			func(_ *testing.T, d *etcdtest.Server) { d.Hang(true) },
			func(_ *testing.T, d *etcdtest.Server) { d.Hang(false); d.CutWatches() },
		},
		"stopped": {
			func(_ *testing.T, d *etcdtest.Server) { d.Stop() },
			func(t *testing.T, d *etcdtest.Server) {
				if err := d.Restart(); err != nil {
					t.Fatal(err)
				}
			},
		},
		"its lists are cut": {
			func(_ *testing.T, d *etcdtest.Server) { d.CutLists(true); d.CutWatches() },
			func(_ *testing.T, d *etcdtest.Server) { d.CutLists(false) },
		},
		"it is silent": {
			func(_ *testing.T, d *etcdtest.Server) { d.Hang(true) },
			func(_ *testing.T, d *etcdtest.Server) { d.Hang(false) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Double, func(t *testing.T) registrytest.Harness {
				d := startDouble(t)
				r, _ := open(t, d.URL, nil)
				return registrytest.Harness{
					Registry: r, Origin: "dc", Patience: patience,
					Register: func(_ *testing.T, i registrytest.Instance) { d.Put(written["swallowkeeper"](i)) },
					Deregister: func(_ *testing.T, i registrytest.Instance) {
						key, _ := written["swallowkeeper"](i)
						d.Delete(key)
					},
					Break: func(t *testing.T) { breaks.spoil(t, d) },
					Mend:  func(t *testing.T) { breaks.mend(t, d) },
				}
			})
		})
	}
}

func TestContractOnEtcd(t *testing.T) {
	server := etcdtestserver.Start(t)
	client := dial(t, server.URL)
	do := func(t *testing.T, op clientv3.Op) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := client.Do(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	for name, breaks := range map[string]struct{ spoil, mend func() }{
		"killed": {server.Stop, server.Restart},
		"paused": {server.Pause, server.Continue},
	} {
		t.Run(name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Real, func(t *testing.T) registrytest.Harness {
				do(t, clientv3.OpDelete("/", clientv3.WithPrefix()))
				r, _ := open(t, server.URL, nil)
				return registrytest.Harness{
					Registry: r, Origin: "dc", Patience: patience,
					Register: func(t *testing.T, i registrytest.Instance) {
						key, value := written["swallowkeeper"](i)
						do(t, clientv3.OpPut(key, value))
					},
					Deregister: func(t *testing.T, i registrytest.Instance) {
						key, _ := written["swallowkeeper"](i)
						do(t, clientv3.OpDelete(key))
					},
					Break: func(*testing.T) { breaks.spoil() },
					Mend:  func(*testing.T) { breaks.mend() },
				}
			})
		})
	}
}
