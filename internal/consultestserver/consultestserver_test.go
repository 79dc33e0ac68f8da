package consultestserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRestarts(t *testing.T) {
	s := Start(t)
	client := s.Client(t)
	register(t, client)
	awaitInstances(t, client, &api.QueryOptions{}, 1)

	t.Run("with state", func(t *testing.T) {
		s.Restart()
		awaitInstances(t, client, &api.QueryOptions{}, 1)
	})
	t.Run("after a kill", func(t *testing.T) {
		s.Kill()
		if _, err := client.Status().Leader(); err == nil {
			t.Error("a killed Consul answers")
		}
		s.Restart()
		awaitInstances(t, client, &api.QueryOptions{}, 1)
	})
	t.Run("after a pause", func(t *testing.T) {
		s.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		query := (&api.QueryOptions{}).WithContext(ctx)
		if _, err := client.Status().LeaderWithQueryOptions(query); err == nil {
			t.Error("a paused Consul answers")
		}
		s.Resume()
		awaitInstances(t, client, &api.QueryOptions{}, 1)
		s.Pause()
		s.Restart()
		awaitInstances(t, client, &api.QueryOptions{}, 1)
	})
	t.Run("leaderless and back", func(t *testing.T) {
		s.LoseLeader()
		meta := awaitInstances(t, client, &api.QueryOptions{AllowStale: true}, 1)
		if meta.KnownLeader {
			t.Error("a leader is known")
		}
		if _, _, err := client.Catalog().Services(&api.QueryOptions{RequireConsistent: true}); err == nil {
			t.Error("a consistent read answers without a leader")
		}
		s.Restart()
		meta = awaitInstances(t, client, &api.QueryOptions{}, 1)
		if !meta.KnownLeader {
			t.Error("no leader is known")
		}
	})
	t.Run("without state", func(t *testing.T) {
		before := awaitInstances(t, client, &api.QueryOptions{}, 1)
		s.RestartEmpty()
		after := awaitInstances(t, client, &api.QueryOptions{}, 0)
		if after.LastIndex >= before.LastIndex {
			t.Errorf("the index went from %d to %d", before.LastIndex, after.LastIndex)
		}
	})
}

func TestACL(t *testing.T) {
	s := Start(t, WithACL())
	if s.Token == "" {
		t.Fatal("no token")
	}
	register(t, s.Client(t))
	awaitInstances(t, s.Client(t), &api.QueryOptions{}, 1)

	services, meta, err := s.Client(t).Catalog().Services(&api.QueryOptions{Token: "anonymous"})
	if err != nil {
		t.Fatal(err)
	}
	if len(services) != 0 || meta.DefaultACLPolicy != "deny" {
		t.Errorf("an anonymous client sees %v under default policy %q", services, meta.DefaultACLPolicy)
	}
}

func TestTLS(t *testing.T) {
	s := Start(t, WithTLS())
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	url := "https://" + s.HTTPSAddr + "/v1/status/leader"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		t.Errorf("got %s over %s", response.Status, response.Proto)
	}
}

func TestExtraConfig(t *testing.T) {
	s := Start(t, WithMaxConnsPerClient(7),
		WithConfig(`{"log_level": "debug"}`), WithConfig(`datacenter = "moon"`))
	self, err := s.Client(t).Agent().Self()
	if err != nil {
		t.Fatal(err)
	}
	if got := self["DebugConfig"]["HTTPMaxConnsPerClient"]; got != float64(7) {
		t.Errorf("connections per client are %v, want 7", got)
	}
	if got := self["Config"]["Datacenter"]; got != "moon" {
		t.Errorf("the datacenter is %v, want moon", got)
	}
}

func TestPortClashIsTriedAgain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tries := 0
	s := Start(t, func(s *settings) {
		s.choosePorts = func() (ports, error) {
			tries++
			p, err := choosePorts()
			if tries == 1 {
				p.http = taken.Addr().(*net.TCPAddr).Port
			}
			return p, err
		}
	})
	if tries != 2 {
		t.Errorf("ports were chosen %d times, want 2", tries)
	}
	if s.Addr == taken.Addr().String() {
		t.Error("the address is the taken one")
	}
}

// A test's failure is not to be seen from within, so it is another test's to look at.
func TestBadConfigFailsWithTheLog(t *testing.T) {
	fake := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Start(fake, WithConfig("no_such_key = 1"))
	}()
	<-done
	fake.cleanUp()
	if !strings.Contains(fake.text.String(), "no_such_key") {
		t.Errorf("the log does not name the bad key:\n%s", fake.text.String())
	}
}

// register registers a passing instance of web with the agent.
func register(t *testing.T, client *api.Client) {
	t.Helper()
	err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		Name: "web", ID: "web-1", Address: "127.0.0.2", Port: 80,
		Check: &api.AgentServiceCheck{CheckID: "web-1", TTL: "1h"},
	})
	if err != nil {
		t.Fatalf("register a service: %v", err)
	}
	if err := client.Agent().UpdateTTL("web-1", "", api.HealthPassing); err != nil {
		t.Fatalf("update a check: %v", err)
	}
}

// awaitInstances waits until web has n passing instances: an agent tells its servers a little later.
func awaitInstances(t *testing.T, client *api.Client, query *api.QueryOptions, n int) *api.QueryMeta {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		entries, meta, err := client.Health().Service("web", "", true, query.WithContext(ctx))
		if err == nil && len(entries) == n {
			return meta
		}
		select {
		case <-ctx.Done():
			t.Fatalf("web has %d passing instances (%v), want %d", len(entries), err, n)
		case <-time.After(pollEvery):
		}
	}
}
