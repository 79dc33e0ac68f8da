package agent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/registry/register"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is an agent at work.
type running struct {
	t    *testing.T
	a    *Agent
	cfg  Config
	end  context.CancelFunc
	done chan error
}

// config is one of a node n1 of an engine.
func testConfig(t *testing.T, e *dockertest.Engine, change func(*Config)) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := DefaultConfig()
	c.Node, c.Socket, c.TTL, c.Resync = "n1", filepath.Join(dir, "a.sock"), 5*time.Second, time.Second
	c.Docker.Host, c.Docker.Resync = e.Host(), 500*time.Millisecond
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, c Config) *running {
	t.Helper()
	log, _ := test.NewNullLogger()
	a, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, a: a, cfg: c, end: cancel, done: make(chan error, 1)}
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends it, once.
func (r *running) stop() {
	r.t.Helper()
	r.end()
	if r.done == nil {
		return
	}
	if err := <-r.done; err != nil {
		r.t.Errorf("the agent ended with %v", err)
	}
	r.done = nil
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !is(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func (r *running) well() {
	r.t.Helper()
	until(r.t, "all is well", func() bool {
		s, err := Ask(r.t.Context(), r.cfg.Socket)
		return err == nil && s.Well()
	})
}

// trouble waits until status says what is wrong with a target.
func (r *running) trouble(want string) {
	r.t.Helper()
	said := ""
	until(r.t, "status says "+want, func() bool {
		s, err := Ask(r.t.Context(), r.cfg.Socket)
		if err != nil {
			return false
		}
		for _, of := range s.Targets {
			if of.Trouble != "" && of.Trouble != said {
				said = of.Trouble
				r.t.Log(said)
			}
			if strings.Contains(of.Trouble, want) {
				return true
			}
		}
		return false
	})
}

// box is a container of service web.
func box(name string, number int, more ...string) dockertest.Spec {
	labels := map[string]string{"swallowkeeper.name": "web"}
	for i := 0; i+1 < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	ip := netip.AddrFrom4([4]byte{10, 1, byte(number >> 8), byte(number)})
	return dockertest.Spec{Name: name, Labels: labels, Exposed: []string{"80/tcp"}, Networks: map[string]netip.Addr{"web": ip}}
}

// store is what a target's registry has, as the tests look at it.
type store struct {
	change func(*Config)
	// has returns the instances of all nodes by id: address, health, and what else is said.
	has func(t *testing.T) map[string]string
	// leftover registers something by hand.
	leftover func(t *testing.T, id string)
	// forget has it lose what the agent wrote.
	forget func(t *testing.T)
}

// behaviour is what every target has to do.
func behaviour(t *testing.T, fresh func(t *testing.T) store) {
	for _, row := range []struct {
		name string
		run  func(t *testing.T, s store)
	}{
		{"comes and goes", comesAndGoes},
		{"a start changes nothing", startChangesNothing},
		{"leftovers", leftovers},
		{"what is lost is written again", lost},
		{"the engine can't be read", unreadable},
		{"stop with a drain", drained},
		{"the end", ends},
		{"many", many},
		{"a swarm's worker", worker},
	} {
		t.Run(row.name, func(t *testing.T) { row.run(t, fresh(t)) })
	}
}

func comesAndGoes(t *testing.T, s store) {
	e := dockertest.New(t)
	r := start(t, testConfig(t, e, s.change))
	r.well()
	one := e.Run(box("one", 1, "swallowkeeper.route", "shop.example/web/*", "swallowkeeper.route.strip", "true", "swallowkeeper.weight", "3", "SERVICE_TAGS", "a,b"))
	two := e.Run(box("two", 2))
	until(t, "both are there", func() bool { return len(s.has(t)) == 2 })
	if got, want := s.has(t)["n1:one:80"], "web 10.1.0.1:80 healthy weight 3 [a b] [shop.example/web/* strip=/web]"; got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
	e.SetHealth(two, "unhealthy")
	until(t, "one is unhealthy", func() bool { return s.has(t)["n1:two:80"] == "web 10.1.0.2:80 unhealthy weight 1 [] []" })
	e.SetHealth(two, "healthy")
	until(t, "it is well again", func() bool { return s.has(t)["n1:two:80"] == "web 10.1.0.2:80 healthy weight 1 [] []" })
	e.Signal(one, "1")
	e.EndEvents()      // an end of the stream is no end of the agent
	e.Signal(two, "1") // HUP is no stop
	until(t, "events are heard again", func() bool { return e.Calls("/events") == 2 && e.Listeners() == 1 })
	e.Signal(one, "15")
	until(t, "out at its stop signal", func() bool { return len(s.has(t)) == 1 })
	e.Die(two)
	until(t, "one that ends by itself is removed", func() bool { return len(s.has(t)) == 0 })
	// What is not for us, or can't be reached, stops nobody.
	e.Run(dockertest.Spec{Name: "stranger", Labels: map[string]string{"a": "b"}, Exposed: []string{"80/tcp"}})
	nowhere := box("nowhere", 4)
	nowhere.Networks = nil
	e.Run(nowhere)
	e.Run(box("three", 3))
	until(t, "the next one is there", func() bool { return len(s.has(t)) == 1 && s.has(t)["n1:three:80"] != "" })
}

// startChangesNothing: an agent that was gone for a moment finds all as it should be.
func startChangesNothing(t *testing.T, s store) {
	e := dockertest.New(t)
	e.Run(box("one", 1))
	c := testConfig(t, e, s.change)
	r := start(t, c)
	until(t, "it is there", func() bool { return len(s.has(t)) == 1 })
	r.stop()
	if len(s.has(t)) != 1 {
		t.Fatal("an agent that ends took it along")
	}
	two := e.Run(box("two", 2))
	r = start(t, c)
	until(t, "what came meanwhile is there", func() bool { return len(s.has(t)) == 2 })
	r.well()
	r.stop()
	e.Die(two)
	start(t, c)
	until(t, "what went meanwhile is not", func() bool { return len(s.has(t)) == 1 })
}

func leftovers(t *testing.T, s store) {
	s.leftover(t, "n1:old:80")
	s.leftover(t, "n10:other:80")
	s.leftover(t, "foreign")
	e := dockertest.New(t)
	e.Run(box("one", 1))
	r := start(t, testConfig(t, e, s.change))
	r.well()
	until(t, "its own leftover is gone", func() bool { return s.has(t)["n1:old:80"] == "" })
	if got := s.has(t); len(got) != 3 || got["n10:other:80"] == "" || got["foreign"] == "" {
		t.Errorf("there is %v", got)
	}
}

func lost(t *testing.T, s store) {
	e := dockertest.New(t)
	e.Run(box("one", 1))
	start(t, testConfig(t, e, s.change)).well()
	for range 2 {
		until(t, "it is there", func() bool { return len(s.has(t)) == 1 })
		s.forget(t)
	}
	until(t, "it is there again", func() bool { return len(s.has(t)) == 1 })
}

// unreadable: with the engine gone, or hanging, for longer than the time to live, everything stays, and status says what is wrong.
func unreadable(t *testing.T, s store) {
	e := dockertest.New(t)
	e.Run(box("one", 1))
	r := start(t, testConfig(t, e, s.change))
	r.well()
	for fault, said := range map[dockertest.Fault]string{dockertest.Refuses: "no such socket", dockertest.Hangs: ""} {
		e.Break(fault)
		began := time.Now()
		until(t, "its time to live is over", func() bool {
			if got := s.has(t)["n1:one:80"]; !strings.Contains(got, " healthy ") {
				t.Fatalf("it became %q", got)
			}
			return time.Since(began) > r.cfg.TTL+2*time.Second
		})
		until(t, "status says so", func() bool { // a call that hangs is given up after half a minute
			now, err := Ask(t.Context(), r.cfg.Socket)
			return said == "" || err == nil && !now.Well() && strings.Contains(now.Docker.Trouble, said)
		})
		e.Mend()
		r.well()
	}
}

// drained: it is out everywhere before it is stopped, and its requests had time to end.
func drained(t *testing.T, s store) {
	e := dockertest.New(t)
	id := e.Run(box("one", 1))
	e.Run(box("two", 2))
	r := start(t, testConfig(t, e, s.change))
	until(t, "both are there", func() bool { return len(s.has(t)) == 2 })
	const drain = 700 * time.Millisecond
	began := time.Now()
	stopped := make(chan bool, 1)
	e.OnStop(func(of string) { stopped <- of == id && time.Since(began) >= drain && s.has(t)["n1:one:80"] == "" })
	if _, err := Stop(t.Context(), r.cfg.Socket, "nobody", 0); err == nil || !strings.Contains(err.Error(), `container "nobody" is none that is registered here`) {
		t.Errorf("one that is not there: %v", err)
	}
	name, err := Stop(t.Context(), r.cfg.Socket, id[:12], drain)
	if err != nil || name != "one" {
		t.Fatalf("%q, %v", name, err)
	}
	if !<-stopped {
		t.Error("it was stopped too early")
	}
	e.Start(id)
	until(t, "started again, it is there again", func() bool { return len(s.has(t)) == 2 })
}

func ends(t *testing.T, s store) {
	e := dockertest.New(t)
	e.Run(box("one", 1))
	c := testConfig(t, e, func(c *Config) { s.change(c); c.OnStop = remove })
	r := start(t, c)
	until(t, "it is there", func() bool { return len(s.has(t)) == 1 })
	r.stop()
	if got := s.has(t); len(got) != 0 {
		t.Errorf("on_stop = remove left %v", got)
	}
	if _, err := Ask(t.Context(), c.Socket); !errors.Is(err, errNoAgent) {
		t.Errorf("nobody answers: %v", err)
	}
}

// many is more than one transaction takes.
func many(t *testing.T, s store) {
	e := dockertest.New(t)
	for i := range 250 {
		e.Run(box("c"+strconv.Itoa(i), i+1))
	}
	start(t, testConfig(t, e, s.change))
	until(t, "all are there", func() bool { return len(s.has(t)) == 250 })
}

// worker: the agent of a swarm's node registers what that node runs, also where it is no manager.
func worker(t *testing.T, s store) {
	e := dockertest.New(t)
	e.Swarm(swarm.LocalNodeStateActive, false)
	e.Run(box("one", 1, "com.docker.swarm.task.id", "t1", "com.docker.swarm.service.name", "web"))
	start(t, testConfig(t, e, s.change)).well()
	until(t, "its task is there", func() bool { return len(s.has(t)) == 1 })
}

// TestNobodyThere: who can't be reached is named at once, with the reason.
func TestNobodyThere(t *testing.T) {
	at := loopback.Free(t, 1)[0]
	for _, change := range []func(*Config){
		func(c *Config) { c.Etcd.Address = []string{"http://" + at} },
		func(c *Config) { c.Consul.Address = at },
	} {
		r := start(t, testConfig(t, dockertest.New(t), change))
		r.trouble(at + ": connect: connection refused")
		r.stop()
	}
}

// TestSecondAgent: a node has one.
func TestSecondAgent(t *testing.T) {
	e := dockertest.New(t)
	c := testConfig(t, e, func(c *Config) { c.Consul.Address = "127.0.0.1:1" }) // it can't be reached, which the agent survives
	start(t, c)
	until(t, "it answers", func() bool { _, err := Ask(t.Context(), c.Socket); return err == nil })
	log, _ := test.NewNullLogger()
	a, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); !errors.Is(err, register.ErrTaken) || !strings.Contains(err.Error(), "another agent of node n1 runs on this machine") {
		t.Errorf("the second one: %v", err)
	}
	s, err := Ask(t.Context(), c.Socket)
	if err != nil || s.Well() || s.Targets["consul@127.0.0.1:1"].Trouble == "" {
		until(t, "it says what is wrong", func() bool {
			s, err := Ask(t.Context(), c.Socket)
			return err == nil && !s.Well() && s.Targets["consul@127.0.0.1:1"].Trouble != ""
		})
	}
}

func TestLoad(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	etcd := Flags{Etcd: "http://127.0.0.1:2379,http://127.0.0.2:2379"}
	for _, row := range []struct {
		name, text string
		f          Flags
		want       string // of the error
	}{
		{"nothing", "", Flags{}, "give --etcd URL, --consul URL"},
		{"a URL", "", etcd, ""},
		{"no URL", "", Flags{Etcd: "127.0.0.1:2379"}, `etcd.address = "127.0.0.1:2379": allowed is URLs such as http://127.0.0.1:2379`},
		{"a node", "", Flags{Consul: "127.0.0.1:8500", Node: "a:b"}, `node = "a:b": allowed is`},
		{"host_ip", "", Flags{Consul: "127.0.0.1:8500", HostIP: "host"}, `host_ip = "host": allowed is the IP address of this machine`},
		{"unknown key", "ttll = \"1s\"", etcd, "agent.toml:1: ttll: unknown key; did you mean ttl?"},
		{"unknown key of Docker", "[docker]\nnetwork = \"x\"", etcd, "agent.toml:2: docker.network: unknown key; did you mean networks?"},
		{"two of them", "[docker]\nnetwork = \"x\"\n[etdc]\n", etcd, "networks?\n"},
		{"unknown table", "ttl = \"1m\"\n[etdc]\n", etcd, "agent.toml:2: etdc: unknown table; did you mean etcd?"},
		{"no table", "etcd = \"http://127.0.0.1:2379\"", etcd, "agent.toml:1: etcd: allowed is a table that begins with [etcd]"},
		{"a number", "[etcd]\nlayout = 5", etcd, "agent.toml:2: etcd.layout: found a whole number"},
		{"not TOML", "ttl = 15s", etcd, "agent.toml:1: not TOML"},
		{"a flag over the file", "[etcd]\naddress = [\"http://127.0.0.1:2379\"]", Flags{Etcd: "x"}, `etcd.address = "x"`},
		{"on_stop", "on_stop = \"leave\"", etcd, `agent.toml:1: on_stop: "leave" is not allowed; allowed is "keep" or "remove"`},
		{"ttl", "ttl = \"1s\"", etcd, `agent.toml:1: ttl: "1s" is not allowed; allowed is whole seconds`},
		{"layout", "[etcd]\nlayout = \"x\"", etcd, `agent.toml:2: etcd.layout: "x" is not allowed; allowed is "swallowkeeper" or "chipmunks"`},
		{"Chipmunks' node", "node = \"a-b\"\n[etcd]\nlayout = \"chipmunks\"", etcd, `agent.toml:1: node: "a-b" is not allowed; allowed is small letters and digits`},
		{"all", "node = \"n1\"\nhost_ip = \"10.0.0.1\"\nttl = \"10s\"\n[docker]\nexpose = \"all\"\nresync = \"5s\"\n[etcd]\naddress = [\"http://127.0.0.1:2379\"]\nprefix = \"/p\"\n[consul]\naddress = \"127.0.0.1:8500\"\nderegister_after = \"2m\"", Flags{}, ""},
		{"ssh", "[docker]\nhost = \"ssh://engine\"", etcd, "agent.toml:2: docker.host: "},
	} {
		c, err := Load(file(row.text), row.f)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
		if row.name == "all" && (c.Docker.Address != "published" || c.Docker.HostIP != "10.0.0.1" || c.Docker.Expose != "all" || c.Docker.Resync != 5*time.Second || c.Docker.Interval != time.Second) {
			t.Errorf("%+v", c.Docker)
		}
	}
}

// TestPage: the configuration on the agent's page has every key, and loads.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```toml\n# "+DefaultPath+"\n")
	text, _, _ = strings.Cut(text, "```")
	path := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []any{c.Common, c.Etcd, c.Consul} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			if key := f.Tag.Get("toml"); !strings.Contains(text, key) {
				t.Errorf("the page has no %s", key)
			}
		}
	}
}
