package docker

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
	"swallowkeeper/registry/docker/dockertest"
)

// trouble is what a registry says of an engine that can't be read.
func trouble(t *testing.T, r *Registry) error {
	t.Helper()
	_, err := r.read(t.Context())
	r.leave()
	if err == nil {
		t.Fatal("it could be read")
	}
	return err
}

// TestTroubleSaysWhatToDo is the bad input of engines.
func TestTroubleSaysWhatToDo(t *testing.T) {
	dir, err := os.MkdirTemp("", "docker") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	speaking := func(least, most int) func(t *testing.T) string {
		return func(t *testing.T) string {
			e := dockertest.New(t)
			e.Speak(least, most)
			return e.Host()
		}
	}
	broken := func(f dockertest.Fault) func(t *testing.T) string {
		return func(t *testing.T) string {
			e := dockertest.New(t)
			e.Run(dockertest.Spec{Labels: labels{"swallowkeeper.name": "web"}, Exposed: []string{"80/tcp"}})
			e.Break(f)
			return e.Host()
		}
	}
	for _, row := range []struct {
		name    string
		host    func(t *testing.T) string
		want    string
		lasting bool
	}{
		{"no socket", func(*testing.T) string { return "unix://" + filepath.Join(dir, "none.sock") }, "none.sock\": no such socket: is dockerd running? host, or DOCKER_HOST, says where it listens", false},
		{"too old", speaking(12, 24), "1.24 is not supported by this client", true},
		{"too new", speaking(90, 99), "Minimum supported API version is 1.90", true},
		{"too new, both versions", speaking(90, 99), "swallowkeeper speaks 1.40 to 1.57", true},
		{"a worker", func(t *testing.T) string {
			e := dockertest.New(t)
			e.Swarm(swarm.LocalNodeStateActive, false)
			return e.Host()
		}, `this engine is a swarm's worker, which knows no tasks: ask a manager, or set swarm = "off"`, true},
		{"a locked node", func(t *testing.T) string {
			e := dockertest.New(t)
			e.Swarm(swarm.LocalNodeStateLocked, false)
			return e.Host()
		}, "its node in the swarm is locked", false},
		{"hangs", broken(dockertest.Hangs), "no answer in 1s", false},
		{"no inspection", broken(dockertest.NoInspect), "can't inspect today", false},
		{"no events", broken(dockertest.NoEvents), "no events today", false},
		{"a redirect", broken(dockertest.Redirects), `301 Moved Permanently`, false},
		{"null", broken(dockertest.Nothing), "the answer says nothing", false},
		{"no id", broken(dockertest.Incomplete), `one has the id ""`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := trouble(t, open(t, row.host(t), nil))
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("it says %s", err)
			}
			if is := (registry.Condition{Trouble: err}).Hopeless(time.Now()); is != row.lasting {
				t.Errorf("hopeless: %v, %s", is, err)
			}
		})
	}
}

// TestNotAllowed: root is never refused, so the error of others is made here.
func TestNotAllowed(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "http://docker", Err: &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}}
	if got := (&engine{}).explained(refused).Error(); got != "permission denied: the user of swallowkeeper must be in the group docker" {
		t.Errorf("it says %s", got)
	}
}

// TestVersions: each side speaks the newest that both know.
func TestVersions(t *testing.T) {
	for _, most := range []int{40, 41, 44, 52, 57, 70} {
		e := dockertest.New(t)
		e.Speak(24, most)
		e.Run(dockertest.Spec{Labels: labels{"swallowkeeper.name": "web"}, Exposed: []string{"80/tcp"}, Networks: map[string]ip{"web": dockertest.Addr("10.0.0.1")}, Health: "unhealthy"})
		r := open(t, e.Host(), nil)
		set, err := r.read(t.Context())
		r.leave()
		if err != nil {
			t.Errorf("1.%d: %v", most, err)
			continue
		}
		if s := show(set); !s.says("its health check says unhealthy") {
			t.Errorf("1.%d: %+v", most, s)
		}
	}
}

// TestSwarmOnDouble reads services and tasks, and the containers that belong to none.
func TestSwarmOnDouble(t *testing.T) {
	e := dockertest.New(t)
	e.Swarm(swarm.LocalNodeStateActive, true)
	e.Deploy(tasks())
	e.Run(dockertest.Spec{Labels: labels{"swallowkeeper.name": "alone"}, Exposed: []string{"80/tcp"}, Networks: map[string]ip{"web": dockertest.Addr("10.0.0.1")}})
	e.Run(dockertest.Spec{Labels: labels{"swallowkeeper.name": "twice", swarmTask: "t1"}, Exposed: []string{"80/tcp"}})
	r := open(t, e.Host(), func(c *Config) { c.Interval = 100 * time.Millisecond; c.Resync = time.Hour })
	w := follow(t, r)
	w.await("the first", func(shown) bool { return true })
	got := w.now()
	if len(got.servers) != 3 || strings.Join(got.servers["app"], " ") != "10.1.0.1:8080" || got.servers["empty"] == nil || strings.Join(got.servers["alone"], " ") != "10.0.0.1:80" ||
		strings.Join(got.routes, " ") != "app /app/* from=dc" || !got.says("app 10.1.0.2:8080: its task is preparing") {
		t.Errorf("%+v", got)
	}
	// No event tells of a task elsewhere: the next look finds it.
	services, list, nodes := tasks()
	list[1].Status.State = swarm.TaskStateRunning
	e.Deploy(services, list, nodes)
	w.await("the second task", func(s shown) bool { return len(s.servers["app"]) == 2 })
	// Published ports are those of the tasks' node.
	set, err := func() (shown, error) {
		r := open(t, e.Host(), func(c *Config) { c.Address = published })
		defer r.leave()
		set, err := r.read(t.Context())
		return show(set), err
	}()
	if err != nil || strings.Join(set.servers["app"], " ") != "10.7.7.7:32768" {
		t.Errorf("%+v, %v", set, err)
	}
	// Behind the routing mesh nothing tells tasks apart.
	services[0].Endpoint.Ports[0].PublishMode = swarm.PortConfigPublishModeIngress
	list[0].Status.PortStatus.Ports, list[1].Status.PortStatus.Ports = nil, nil
	e.Deploy(services, list, nodes)
	meshed := open(t, e.Host(), func(c *Config) { c.Address = published })
	defer meshed.leave()
	if set, err := meshed.read(t.Context()); err != nil || len(show(set).servers["app"]) != 0 || !show(set).says("port 8080 is published by the swarm's routing mesh") {
		t.Errorf("%+v, %v", show(set), err)
	}
	// Off, tasks are containers like others.
	off := open(t, e.Host(), func(c *Config) { c.Swarm = swarmOff })
	defer off.leave()
	if set, err := off.read(t.Context()); err != nil || show(set).servers["app"] != nil {
		t.Errorf("%v, %v", show(set), err)
	}
}

// TestEventsComeFirst: what starts while the list is read is in the next one.
func TestEventsComeFirst(t *testing.T) {
	e := dockertest.New(t)
	r := open(t, e.Host(), func(c *Config) { c.Resync = time.Hour })
	w := follow(t, r)
	w.await("the first", func(shown) bool { return true })
	if e.Listeners() != 1 {
		t.Errorf("%d streams of events", e.Listeners())
	}
	e.EndEvents()
	w.until("they are asked for again", func() bool { return e.Calls("/events") == 2 && e.Listeners() == 1 })
	id := e.Run(dockertest.Spec{Labels: labels{"swallowkeeper.name": "web"}, Exposed: []string{"80/tcp"}, Networks: map[string]ip{"web": dockertest.Addr("10.0.0.1")}})
	w.has(1)
	// A health check executes something all the time: none of that is heard.
	calls := e.Calls("/containers/json")
	for range 50 {
		e.SetHealth(id, "")
	}
	e.Rename(id, "other")
	w.until("one more list", func() bool { return e.Calls("/containers/json") > calls })
	if n := e.Calls("/containers/json") - calls; n > 3 {
		t.Errorf("%d lists for nothing", n)
	}
	if n := e.Calls("/containers/" + id + "/json"); n != 1 {
		t.Errorf("it was inspected %d times", n)
	}
	// One that got lost without an event is found missing by the next look.
	e.Lose(id)
	r.ring()
	w.await("gone", func(s shown) bool { return len(s.servers) == 0 })
}

// TestTheListIsLate: Docker tells of a container's end some milliseconds before its list shows it.
func TestTheListIsLate(t *testing.T) {
	for name, end := range map[string]func(e *dockertest.Engine, id string){
		"stopped":   func(e *dockertest.Engine, id string) { e.Kill(id, "15") },
		"by itself": func(e *dockertest.Engine, id string) { e.Die(id) },
	} {
		t.Run(name, func(t *testing.T) {
			e := dockertest.New(t)
			w := follow(t, open(t, e.Host(), func(c *Config) { c.Resync = time.Hour }))
			var ids []string
			for _, addr := range []string{"10.0.0.1", "10.0.0.2"} {
				ids = append(ids, e.Run(dockertest.Spec{
					Labels: labels{"swallowkeeper.name": "web"}, Exposed: []string{"80/tcp"}, Networks: map[string]ip{"web": dockertest.Addr(addr)},
				}))
			}
			w.has(2)
			end(e, ids[0])
			w.has(1)
			w.await("it is listed no more", func(s shown) bool { return len(s.out) == 0 && len(s.servers["web"]) == 1 })
			w.mu.Lock()
			defer w.mu.Unlock()
			left := false
			for _, s := range w.all {
				if n := len(s.servers["web"]); n == 1 {
					left = true
				} else if left && n == 2 {
					t.Error("it came back for a moment")
				}
			}
			e.Start(ids[0])
		})
	}
}

// TestKilledAndSlowToStart: a dockerd that was killed takes calls long before it answers, and only then ends what has no restart
// policy. Until it answers nothing is known.
func TestKilledAndSlowToStart(t *testing.T) {
	e := dockertest.New(t)
	for _, addr := range []string{"10.0.0.1", "10.0.0.2"} {
		e.Run(dockertest.Spec{Labels: labels{"swallowkeeper.name": "web"}, Exposed: []string{"80/tcp"}, Networks: map[string]ip{"web": dockertest.Addr(addr)}})
	}
	r := open(t, e.Host(), nil)
	r.limit = 200 * time.Millisecond
	w := follow(t, r)
	w.has(2)
	w.unchanged(func() { e.Break(dockertest.Refuses) })
	w.unchanged(func() {
		pings := e.Calls("/_ping")
		e.Break(dockertest.Hangs)
		w.until("it is asked several times", func() bool {
			return e.Calls("/_ping") > pings+2 && strings.Contains(r.Condition().Trouble.Error(), "no answer in 200ms")
		})
	})
	e.Lose(e.Containers()[0].ID)
	e.Mend()
	w.has(1)
}

// TestStreamsAreFarBetween: an engine whose streams end at once is not asked all the time.
func TestStreamsAreFarBetween(t *testing.T) {
	e := dockertest.New(t)
	w := follow(t, open(t, e.Host(), nil))
	w.await("the first", func(shown) bool { return true })
	began := time.Now()
	w.until("more", func() bool {
		e.EndEvents()
		return e.Calls("/events") >= 4
	})
	if d := time.Since(began); d < 2*apart-200*time.Millisecond {
		t.Errorf("three streams within %s", d)
	}
}

func TestHosts(t *testing.T) {
	for host, is := range map[string]bool{
		"unix:///run/docker.sock": true, "tcp://10.0.0.5:2376": true, "tcp://[2001:db8::1]:2376": true, "tcp://engine:2376/": true,
		"ssh://root@engine": false, "/run/docker.sock": false, "unix://docker.sock": false, "tcp://": false, "tcp://engine": false, "tcp://user:pw@engine:1": false,
		"http://engine:1": false, "npipe:////./pipe/docker": false,
	} {
		c := DefaultConfig()
		c.Host = host
		err := c.Validate()
		var wrong *setting.Error
		if (err == nil) != is || err != nil && (!errors.As(err, &wrong) || wrong.Key != "host" || strings.Contains(err.Error(), "pw@")) {
			t.Errorf("%s: %v", host, err)
		}
	}
	t.Setenv("DOCKER_HOST", "ssh://root@engine")
	c := DefaultConfig()
	r, err := c.Open(registry.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if err := trouble(t, r); !strings.Contains(err.Error(), "ssh -N -L") {
		t.Errorf("ssh: %v", err)
	}
}

// TestTLS: an engine over tcp with certificates.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.24") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	address := s.Listener.Addr().String()
	folder := certificates(t, s)
	for _, row := range []struct {
		name, host, folder, want string
		verify                   bool
	}{
		{"checked", address, folder, "1.24 is not supported", true}, // it was reached
		{"by another name", "localhost" + address[strings.LastIndex(address, ":"):], folder, "certificate", true},
		{"not checked", "localhost" + address[strings.LastIndex(address, ":"):], folder, "1.24 is not supported", false},
		{"without", address, "", "HTTPS", false},
	} {
		r := open(t, "tcp://"+row.host, func(c *Config) { c.CertPath, c.TLSVerify = row.folder, row.verify })
		if err := trouble(t, r); !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
		if got := r.Endpoint(); got != row.host {
			t.Errorf("it answers at %s", got)
		}
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		t.Fatal(err)
	}
}

// TestExamine finds labels that nobody reads.
func TestExamine(t *testing.T) {
	e := dockertest.New(t)
	for _, l := range []labels{{"swallowkeeper.prot": "1"}, {"traefik.http.routers.a.rule": "x"}, {"caddy": "x"}, {"swallowkeeper.route.2.strip": "true", "a": "b"}} {
		e.Run(dockertest.Spec{Labels: l, Exposed: []string{"80/tcp"}})
	}
	x, err := open(t, e.Host(), nil).Examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range x.Findings {
		found = append(found, f.Check)
	}
	if got := strings.Join(found, " "); got != "docker-label docker-foreign-label docker-foreign-label" {
		t.Errorf("found %s", got)
	}
}
