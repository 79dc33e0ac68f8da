package docker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/registry/registrytest"
)

// TestReal does with one dockerd what takes one: the suite, the faults, a swarm.
func TestReal(t *testing.T) {
	d := dockerdtest.Start(t)
	for _, network := range []string{"web", "other"} {
		d.Docker("network", "create", "--subnet", map[string]string{"web": "172.30.0.0/24", "other": "172.31.0.0/24"}[network], network)
	}
	t.Run("contract", func(t *testing.T) { contractOnReal(t, d) })
	t.Run("double and real answer alike", func(t *testing.T) { sameAnswers(t, realRig(t, d), doubleRig(t)) })
	t.Run("double and real do alike", func(t *testing.T) { sameActs(t, d.Socket, dockertest.New(t).Socket) })
	t.Run("behaviour", func(t *testing.T) { behaviour(t, func(t *testing.T) *rig { return realRig(t, d) }) })
	t.Run("swarm", func(t *testing.T) { realSwarm(t, d) })
}

func contractOnReal(t *testing.T, d *dockerdtest.Daemon) {
	have := map[netip.Addr]bool{}
	publish := func(t *testing.T, i registrytest.Instance) string {
		if ip := i.Addr.Addr(); !have[ip] { // ports are published at these
			have[ip] = true
			bits := map[bool]string{true: "/32", false: "/128"}[ip.Is4()]
			args := []string{"address", "add", ip.String() + bits, "dev", "lo"}
			if ip.Is6() {
				args = append(args, "nodad")
			}
			d.InNetwork("ip", args...)
		}
		return d.Docker("run", "--detach", "--label", "swallowkeeper.name="+i.Service,
			"--publish", i.Addr.String()+":8080", dockerdtest.Checked)
	}
	registrytest.Run(t, registrytest.Real, func(t *testing.T) registrytest.Harness {
		c := kill(t, d.Host())
		y := &yard{run: publish}
		y.setHealth = func(t *testing.T, id string, healthy bool) {
			var sent time.Time
			dockerdtest.Eventually(t, time.Minute, func() error {
				if time.Since(sent) > 2*time.Second { // a program that has just begun may not heed it yet
					c(id, map[bool]string{true: "USR1", false: "USR2"}[healthy])
					sent = time.Now()
				}
				if is := d.Docker("inspect", "--format", "{{.State.Health.Status}}", id); is != health(healthy) {
					return fmt.Errorf("%s is %s", id, is)
				}
				return nil
			})
		}
		y.remove = func(_ *testing.T, id string) { d.Docker("rm", "--force", id) }
		t.Cleanup(func() {
			for _, id := range y.ids {
				d.Docker("rm", "--force", id)
			}
		})
		return registrytest.Harness{
			Registry: open(t, d.Host(), func(c *Config) { c.Address = published }), Origin: "dc", Patience: time.Minute,
			Register: y.register, Deregister: y.deregister,
			Break: func(*testing.T) { d.Signal(syscall.SIGSTOP) }, Mend: func(*testing.T) { d.Signal(syscall.SIGCONT) },
		}
	})
}

// kill sends signals as docker kill does, and faster.
func kill(t *testing.T, host string) func(id, signal string) {
	t.Helper()
	c := quick(t, host)
	return func(id, signal string) {
		t.Helper()
		if _, err := c.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: signal}); err != nil {
			t.Fatal(err)
		}
	}
}

// quick is a client without the start of a program for each call.
func quick(t *testing.T, host string) *client.Client {
	t.Helper()
	c, err := client.New(client.WithHost(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// realRig is a dockerd.
func realRig(t *testing.T, d *dockerdtest.Daemon) *rig {
	send, c := kill(t, d.Host()), quick(t, d.Host())
	return &rig{
		host: d.Host(),
		run: func(s spec) string {
			args := []string{"run", "--detach", "--restart", "on-failure:0", "--network", s.networks[0]}
			if s.restart {
				args[3] = "always"
			}
			if s.ignores {
				args = append(args, "--env", "IGNORE=1")
			}
			for k, v := range s.labels {
				args = append(args, "--label", k+"="+v)
			}
			for _, e := range s.env {
				args = append(args, "--env", e)
			}
			id := d.Docker(append(args, dockerdtest.App)...)
			for _, n := range s.networks[1:] {
				d.Docker("network", "connect", n, id)
			}
			t.Cleanup(func() { _, _ = d.Try("rm", "--force", id) })
			d.AwaitApp(id)
			return id
		},
		signal:  send,
		die:     func(id string) { send(id, "WINCH") },
		stop:    func(id string) { d.Docker("stop", id) },
		pause:   func(id string) { d.Docker("pause", id) },
		unpause: func(id string) { d.Docker("unpause", id) },
		rename: func(id, name string) {
			if _, err := c.ContainerRename(t.Context(), id, client.ContainerRenameOptions{NewName: name}); err != nil {
				t.Fatal(err)
			}
		},
		disconnect: func(id, network string) { d.Docker("network", "disconnect", network, id) },
		crash:      func() { d.Signal(syscall.SIGKILL); d.Await() },
		revive:     d.Boot,
		freeze:     func() { d.Signal(syscall.SIGSTOP) },
		thaw:       func() { d.Signal(syscall.SIGCONT) },
		shutdown:   func() { d.Signal(syscall.SIGTERM); d.Await() },
	}
}

// sameActs asks engines to do the same, by their API: each answer is the same.
func sameActs(t *testing.T, sockets ...string) {
	t.Helper()
	const sound = `{"Image":"app","Labels":{"swallowkeeper.name":"acts"},"HostConfig":{"PublishAllPorts":true}}`
	for _, act := range []struct{ method, path, body string }{
		{"POST", "/containers/create?name=acts", sound},
		{"POST", "/containers/create?name=acts", sound},
		{"POST", "/containers/create?name=-", sound},
		{"POST", "/containers/create", `{"Image":"missing"}`},
		{"POST", "/containers/create", `form`},
		{"POST", "/containers/acts/kill", ""},
		{"POST", "/containers/acts/stop", ""},
		{"POST", "/containers/acts/start", ""},
		{"POST", "/containers/acts/start", ""},
		{"GET", "/containers/acts/json", ""},
		{"POST", "/containers/acts/kill?signal=HUP", ""},
		{"POST", "/containers/acts/kill?signal=NONE", ""},
		{"DELETE", "/containers/acts", ""},
		{"POST", "/containers/acts/stop", ""},
		{"POST", "/containers/acts/stop", ""},
		{"POST", "/containers/acts/start", ""},
		{"POST", "/containers/acts/kill?signal=SIGKILL", ""},
		{"POST", "/containers/acts/start", ""},
		{"DELETE", "/containers/acts?force=1", ""},
		{"DELETE", "/containers/acts?force=1", ""},
		{"POST", "/containers/acts/start", ""},
		{"PATCH", "/containers/acts", ""},
	} {
		var codes []int
		for _, socket := range sockets {
			way := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}
			r, err := http.NewRequestWithContext(t.Context(), act.method, "http://docker"+act.path, strings.NewReader(act.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", map[bool]string{true: "application/x-www-form-urlencoded", false: "application/json"}[act.body == "form"])
			resp, err := (&http.Client{Transport: way}).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			codes = append(codes, resp.StatusCode)
		}
		if codes[0] != codes[1] {
			t.Errorf("%s %s %q: dockerd says %d, the double %d", act.method, act.path, act.body, codes[0], codes[1])
		}
	}
}

func realSwarm(t *testing.T, d *dockerdtest.Daemon) {
	d.Docker("swarm", "init", "--advertise-addr", "127.0.0.1")
	t.Cleanup(func() { d.Docker("swarm", "leave", "--force") })
	d.Docker("network", "create", "--driver", "overlay", "--attachable", "--subnet", "10.77.0.0/24", "mesh")
	d.Docker("service", "create", "--detach", "--name", "app", "--replicas", "2", "--network", "mesh",
		"--label", "swallowkeeper.port=8080", "--label", "swallowkeeper.route=/app/*", dockerdtest.App)
	r := open(t, d.Host(), nil)
	w := follow(t, r)
	w.await("two tasks", func(s shown) bool { return len(s.servers["app"]) == 2 })
	for _, a := range w.now().servers["app"] {
		if !netip.MustParsePrefix("10.77.0.0/24").Contains(netip.MustParseAddrPort(a).Addr()) {
			t.Errorf("%s is no address of a task", a)
		}
	}
	// With mode=host a task is reached at a port of its node. The routing mesh does not tell tasks apart.
	d.Docker("service", "create", "--detach", "--name", "out", "--label", "swallowkeeper.enable=true", "--publish", "mode=host,target=8080,published=18080", dockerdtest.App)
	d.Docker("service", "create", "--detach", "--name", "meshed", "--label", "swallowkeeper.enable=true", "--publish", "target=8080,published=18081", dockerdtest.App)
	p := follow(t, open(t, d.Host(), func(c *Config) { c.Address = published }))
	p.await("a published port", func(s shown) bool { return strings.Join(s.servers["out"], " ") == "127.0.0.1:18080" })
	p.await("the mesh", func(s shown) bool {
		return s.says("port 8080 is published by the swarm's routing mesh") && len(s.servers["meshed"]) == 0
	})
	d.Docker("service", "rm", "out", "meshed")
	for _, n := range []int{3, 0, 1} {
		d.Docker("service", "scale", "--detach", "app="+strconv.Itoa(n))
		w.await(fmt.Sprintf("%d tasks", n), func(s shown) bool {
			servers, is := s.servers["app"]
			return is && len(servers) == n
		})
	}
	d.Docker("service", "update", "--detach", "--label-add", "swallowkeeper.enable=false", "app")
	w.await("out by its label", func(s shown) bool { return len(s.servers["app"]) == 0 && s.says("swallowkeeper.enable is false") })
	d.Docker("service", "rm", "app")
	w.await("no service", func(s shown) bool { _, is := s.servers["app"]; return !is })
}
