package main

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/persist"
	"swallowkeeper/registry/consul/consultest"
	"swallowkeeper/status"
)

// A cold start with far more than the queue between the workers holds: every worker is
// right at the end, and no upstream is forgotten. Not parallel: it is measured.
func TestColdStart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const services, instances = coldServices, 10
	registry := consultest.New(consultest.Options{})
	server := httptest.NewUnstartedServer(registry)
	server.Listener = registry.Listener(server.Listener)
	server.Start()
	t.Cleanup(func() {
		registry.Close()
		server.Close()
	})
	for i := range services {
		for j := range instances {
			err := registry.Register(api.CatalogRegistration{
				Node: fmt.Sprintf("node%d", j), Address: fmt.Sprintf("10.255.0.%d", j+1),
				Service: &api.AgentService{
					ID: fmt.Sprintf("service-%04d-%d", i, j), Service: fmt.Sprintf("service-%04d", i),
					Address: fmt.Sprintf("10.%d.%d.%d", i>>8, i&255, j+1), Port: 8080,
				},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	r := bareRig(t, server.Listener.Addr().String())
	r.nginx[0].Close()
	s, err := dyupstest.New(dyupstest.Options{Workers: 4, QueueBytes: 2 << 20, WorkerHeader: true, MaxConns: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r.nginx[0] = s
	r.registries = fmt.Sprintf("[[registry]]\naddress = %q\n", r.consul)
	r.configure()

	const limit = time.Minute
	began := time.Now()
	d := r.daemon("--log-level", "info")
	until(t, limit, func() string {
		if n := s.Posts(); n < services { // cheap to ask: looking must not slow down what is measured
			return fmt.Sprintf("%d of %d upstreams are posted", n, services)
		}
		gen, _, err := persist.Read(r.conf)
		if err != nil || gen.Set.Len() < services || gen.Set.Servers() < services*instances {
			return fmt.Sprintf("the file has %d upstreams with %d servers, %v", gen.Set.Len(), gen.Set.Servers(), err)
		}
		for _, w := range s.Workers() {
			if len(w.Upstreams) < services {
				return fmt.Sprintf("worker %d has %d upstreams", w.PID, len(w.Upstreams))
			}
		}
		return r.differs(s, gen.Set)
	})
	t.Logf("%d upstreams of %d servers in every worker after %s; %d posts, %d gets", services, instances,
		time.Since(began).Round(time.Millisecond), s.Posts(), s.Gets())
	if n := s.Posts(); n > services*11/10 {
		t.Errorf("%d posts for %d upstreams: the queue was overrun", n, services)
	}

	// A change is quick all the same.
	began = time.Now()
	posts := s.Posts()
	if err := registry.Register(api.CatalogRegistration{Node: "node0", Service: &api.AgentService{
		ID: "late", Service: "service-1234", Address: "10.200.0.1", Port: 8080,
	}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, limit, "it is posted", func() bool { return s.Posts() > posts })
	took := time.Since(began)
	until(t, limit, func() string {
		gen, _, err := persist.Read(r.conf)
		if err != nil || gen.Set.Servers() != services*instances+1 {
			return fmt.Sprintf("the file has %d servers, %v", gen.Set.Servers(), err)
		}
		return r.differs(s, gen.Set)
	})
	t.Logf("one change more is posted after %s", took.Round(time.Millisecond))
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
}
