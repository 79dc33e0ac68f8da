package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/registry/consul/consultest"
	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/registry/etcd/etcdtest"
	"swallowkeeper/registry/register"
)

// etcdClient is one that tests look with.
func etcdClient(t *testing.T, url string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func keysOf(t *testing.T, c *clientv3.Client, prefix string) map[string]string {
	t.Helper()
	got, err := c.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, kv := range got.Kvs {
		found[string(kv.Key)] = string(kv.Value)
	}
	return found
}

func put(t *testing.T, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func etcdStore(t *testing.T, url string) store {
	c := etcdClient(t, url)
	return store{
		change: func(cfg *Config) { cfg.Etcd.Address = []string{url} },
		has: func(t *testing.T) map[string]string {
			found := map[string]string{}
			for key, value := range keysOf(t, c, "/swallowkeeper/services/") {
				var v struct {
					Address string
					Weight  int
					Healthy bool
					Tags    []string
					Routes  []string
				}
				if err := json.Unmarshal([]byte(value), &v); err != nil {
					t.Fatalf("%s: %v", value, err)
				}
				service, id, _ := strings.Cut(strings.TrimPrefix(key, "/swallowkeeper/services/"), "/")
				found[id] = fmt.Sprintf("%s %s %s weight %d %v %v", service, v.Address, map[bool]string{true: "healthy", false: "unhealthy"}[v.Healthy], v.Weight, v.Tags, v.Routes)
			}
			return found
		},
		leftover: func(t *testing.T, id string) {
			put(t, c, "/swallowkeeper/services/web/"+id, `{"address":"10.9.9.9:80","weight":1,"healthy":true}`)
		},
		forget: func(t *testing.T) { // its lease ends
			got, err := c.Get(t.Context(), "/swallowkeeper/agents/n1")
			if err != nil || len(got.Kvs) == 0 {
				t.Fatalf("no lock: %v", err)
			}
			if _, err := c.Revoke(t.Context(), clientv3.LeaseID(got.Kvs[0].Lease)); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtestserver.Start(t)
	onEtcd(t, server.URL, server.Pause, server.Continue)
}

func TestEtcdOnDouble(t *testing.T) {
	t.Parallel()
	d, err := etcdtest.Start(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	onEtcd(t, d.URL, func() { d.Hang(true) }, func() { d.Hang(false) })
}

// onEtcd is what an agent does with an etcd, real or not.
func onEtcd(t *testing.T, url string, pause, resume func()) {
	empty := func(t *testing.T) {
		if _, err := etcdClient(t, url).Delete(t.Context(), "/", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
	}
	behaviour(t, func(t *testing.T) store {
		empty(t)
		return etcdStore(t, url)
	})
	for name, test := range map[string]func(t *testing.T, url string){
		"the lock": locked, "a restart writes nothing": writesNothing, "Chipmunks": chipmunks,
		"an outage": func(t *testing.T, url string) { outage(t, url, pause, resume) },
	} {
		t.Run(name, func(t *testing.T) {
			empty(t)
			test(t, url)
		})
	}
}

// TestEtcdUser: the agent logs in, says which right it lacks, and goes on after the end of its token.
func TestEtcdUser(t *testing.T) {
	t.Parallel()
	server := etcdtestserver.Start(t, "--auth-token-ttl", "1")
	server.Lock(t, "writer")
	ctx := t.Context()
	e := dockertest.New(t)
	e.Run(box("one", 1))
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(etcdtestserver.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, testConfig(t, e, func(c *Config) {
		c.Etcd.Address, c.Etcd.Username, c.Etcd.PasswordFile = []string{server.URL}, etcdtestserver.User, password
	}))
	r.trouble("user sk may not write /swallowkeeper/services: etcdctl role grant-permission ROLE readwrite --prefix /swallowkeeper/services")
	server.Grant(t, "writer", "/swallowkeeper/", clientv3.PermissionType(clientv3.PermReadWrite))
	r.well()
	since := time.Now()
	until(t, "it writes on", func() bool {
		s, err := Ask(ctx, r.cfg.Socket)
		if err != nil || !s.Well() {
			t.Fatalf("after its token's end: %+v, %v", s.Targets, err)
		}
		return s.Targets["etcd@"+server.URL].Written.Sub(since) > 2500*time.Millisecond
	})
}

// locked: the agent of another machine, or one that lives on this one, keeps the name. One that is dead does not.
func locked(t *testing.T, url string) {
	c := etcdClient(t, url)
	e := dockertest.New(t)
	e.Run(box("one", 1))
	s := etcdStore(t, url)
	for _, other := range []register.Owner{
		register.Process("", os.Getppid()),
		{PID: 1, Born: "1", Machine: "another"},
	} {
		text, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		put(t, c, "/swallowkeeper/agents/n1", string(text))
		r := start(t, testConfig(t, e, s.change))
		if err := <-r.done; !errors.Is(err, register.ErrTaken) || !strings.Contains(err.Error(), "has the name n1") {
			t.Errorf("%+v: %v", other, err)
		}
		r.done = nil
	}
	if len(s.has(t)) != 0 {
		t.Error("it wrote all the same")
	}
	text, err := json.Marshal(register.Owner{PID: 1 << 30, Born: "1", Machine: register.Process("", 1).Machine})
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "/swallowkeeper/agents/n1", string(text))
	start(t, testConfig(t, e, s.change)).well()
}

// writesNothing: an agent that starts again within its time to live touches no instance.
func writesNothing(t *testing.T, url string) {
	c := etcdClient(t, url)
	e := dockertest.New(t)
	e.Run(box("one", 1))
	cfg := testConfig(t, e, etcdStore(t, url).change)
	revisions := func() string {
		got, err := c.Get(t.Context(), "/swallowkeeper/services/", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, kv := range got.Kvs {
			text += fmt.Sprintf("%s %d %x\n", kv.Key, kv.ModRevision, kv.Lease)
		}
		return text
	}
	r := start(t, cfg)
	r.well()
	before := revisions()
	r.stop()
	r = start(t, cfg)
	r.well()
	if after := revisions(); after != before || before == "" {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// chipmunks writes keys as munks' agent does, to the letter.
func chipmunks(t *testing.T, url string) {
	c := etcdClient(t, url)
	put(t, c, "/chipmunks/n2/shop/c1", `{"name":"s","host":{"ip":"127.0.0.1","port":8080},"auth_backend":null}`)
	e := dockertest.New(t)
	service := func(name, auth string, number int) dockertest.Spec {
		s := box(name, number)
		s.Labels = map[string]string{"com.docker.swarm.service.name": "shop"}
		if auth != "" {
			s.Labels["com.chipmunks.auth_backend"] = auth
		}
		s.Published = []dockertest.Port{{IP: netip.IPv4Unspecified(), Private: 80, Public: 30000 + number}}
		return s
	}
	one, two := e.Run(service("one", "", 1)), e.Run(service("two", "/auth", 2))
	e.Run(box("no-swarm-label", 3, "swallowkeeper.enable", "true")) // it has no published port
	unpublished := service("unpublished", "", 4)
	unpublished.Published = nil
	e.Run(unpublished)
	start(t, testConfig(t, e, func(c *Config) {
		c.Etcd.Address, c.Etcd.Layout, c.Docker.Expose, c.Docker.Address, c.Docker.HostIP = []string{url}, chipmunksLayout, "all", "published", "10.0.0.5"
	})).well()
	want := map[string]string{
		"/chipmunks/n2/shop/c1":     `{"name":"s","host":{"ip":"127.0.0.1","port":8080},"auth_backend":null}`,
		"/chipmunks/n1/shop/" + one: `{"name":"one","host":{"ip":"10.0.0.5","port":30001},"auth_backend":null}`,
		"/chipmunks/n1/shop/" + two: `{"name":"two","host":{"ip":"10.0.0.5","port":30002},"auth_backend":"/auth"}`,
	}
	until(t, "the keys are there", func() bool { return len(keysOf(t, c, "/chipmunks/")) == len(want) })
	if got := keysOf(t, c, "/chipmunks/"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// outage: while etcd is gone the agent says so and tries again; what came meanwhile is written then.
func outage(t *testing.T, url string, pause, resume func()) {
	e := dockertest.New(t)
	e.Run(box("one", 1))
	s := etcdStore(t, url)
	r := start(t, testConfig(t, e, s.change))
	r.well()
	pause()
	e.Run(box("two", 2))
	until(t, "status says so", func() bool {
		now, err := Ask(t.Context(), r.cfg.Socket)
		return err == nil && !now.Well()
	})
	resume()
	until(t, "both are there", func() bool { return len(s.has(t)) == 2 })
	r.well()
}

func consulStore(client *api.Client, address string) store {
	services := func(t *testing.T) map[string]*api.AgentService {
		t.Helper()
		all, err := client.Agent().Services()
		if err != nil {
			t.Fatal(err)
		}
		delete(all, "consul")
		return all
	}
	return store{
		change: func(cfg *Config) { cfg.Consul.Address = address },
		has: func(t *testing.T) map[string]string {
			checks, err := client.Agent().Checks()
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]string{}
			for id, s := range services(t) {
				health := "unhealthy"
				if c := checks["service:"+id]; c != nil && c.Status == api.HealthPassing {
					health = "healthy"
				}
				weight := "1"
				if w := s.Meta["nginx-weight"]; w != "" {
					weight = w
				}
				var routes []string
				if r := s.Meta["swallowkeeper-route"]; r != "" {
					routes = []string{r}
				}
				found[id] = fmt.Sprintf("%s %s %s weight %s %v %v", s.Service, net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), health, weight, s.Tags, routes)
			}
			return found
		},
		leftover: func(t *testing.T, id string) {
			if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: id, Name: "web", Address: "10.9.9.9", Port: 80}); err != nil {
				t.Fatal(err)
			}
		},
		forget: func(t *testing.T) {
			for id := range services(t) {
				if err := client.Agent().ServiceDeregister(id); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
}

func client(t *testing.T, address string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// elsewhere: what an agent of another machine keeps alive is not touched, and the name is not had.
func elsewhere(t *testing.T, client *api.Client, address string) {
	e := dockertest.New(t)
	e.Run(box("one", 1))
	s := consulStore(client, address)
	if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: "n1:other:80", Name: "web", Address: "10.9.9.9", Port: 80, Meta: map[string]string{"registered-by": "another"},
		Check: &api.AgentServiceCheck{CheckID: "agent:n1:other:80", TTL: "1m", Status: api.HealthPassing},
	}); err != nil {
		t.Fatal(err)
	}
	r := start(t, testConfig(t, e, s.change))
	if err := <-r.done; !errors.Is(err, register.ErrTaken) || !strings.Contains(err.Error(), `it keeps "n1:other:80"`) {
		t.Errorf("it ended with %v", err)
	}
	r.done = nil
	if got := s.has(t); len(got) != 1 || got["n1:other:80"] == "" {
		t.Errorf("there is %v", got)
	}
	if err := client.Agent().UpdateTTL("agent:n1:other:80", "", api.HealthCritical); err != nil {
		t.Fatal(err)
	}
	start(t, testConfig(t, e, s.change)).well()
	until(t, "it took over", func() bool { got := s.has(t); return len(got) == 1 && got["n1:one:80"] != "" })
}

func TestConsulOnDouble(t *testing.T) {
	t.Parallel()
	t.Run("an agent elsewhere", func(t *testing.T) {
		d := consultest.New(consultest.Options{})
		s := httptest.NewServer(d)
		t.Cleanup(func() { s.Close(); d.Close() })
		elsewhere(t, client(t, s.URL), s.URL)
	})
	behaviour(t, func(t *testing.T) store {
		d := consultest.New(consultest.Options{})
		s := httptest.NewServer(d)
		t.Cleanup(func() { s.Close(); d.Close() })
		return consulStore(client(t, s.URL), s.URL)
	})
}

func TestConsul(t *testing.T) {
	t.Parallel()
	server := consultestserver.Start(t)
	c := server.Client(t)
	address := server.Addr
	t.Run("an agent elsewhere", func(t *testing.T) {
		consulStore(c, address).forget(t)
		elsewhere(t, c, address)
	})
	behaviour(t, func(t *testing.T) store {
		s := consulStore(c, address)
		s.forget(t)
		return s
	})
}
