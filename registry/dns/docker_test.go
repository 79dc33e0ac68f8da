//go:build linux

package dns

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/upstream"
)

// inside is a registry that asks Docker's own server, as from within a container. What that server does not know it asks outside:
// a server within the container stands for that, and knows nothing.
func inside(t *testing.T, d *dockerdtest.Daemon, container string, services map[string]*Service) *Registry {
	t.Helper()
	pid := d.Docker("inspect", "--format", "{{.State.Pid}}", container)
	beyond := exec.Command("nsenter", "--net=/proc/"+pid+"/ns/net", dnsmasqProgram(t), "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=",
		"--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/#/")
	if err := beyond.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = beyond.Process.Kill()
		_ = beyond.Wait()
	})
	r, _ := open(t, "127.0.0.11", func(c *Config) {
		c.Interval, c.Timeout, c.Service = 100*time.Millisecond, 5*time.Second, services
	})
	r.dial = d.DialIn(container)
	return r
}

// TestDocker asks the name server that Docker gives to containers.
func TestDocker(t *testing.T) {
	d := dockerdtest.Start(t)
	t.Run("a network of containers", func(t *testing.T) { networkOfContainers(t, d) })
	t.Run("a swarm", func(t *testing.T) { swarm(t, d) })
}

func networkOfContainers(t *testing.T, d *dockerdtest.Daemon) {
	d.Docker("network", "create", "--subnet", "172.30.0.0/24", "web")
	d.Docker("run", "--detach", "--name", "gateway", "--network", "web", "--dns", "127.0.0.1", dockerdtest.App)
	for i := range 2 {
		d.Docker("run", "--detach", "--name", fmt.Sprint("app", i), "--network", "web", "--network-alias", "app", "--ip", fmt.Sprint("172.30.0.1", i), dockerdtest.App)
	}
	r := inside(t, d, "gateway", map[string]*Service{
		"app":  {Query: "app", Record: recordA, Port: 8080},
		"both": {Query: "app", Record: recordBoth, Port: 8080},
		"six":  {Query: "app", Record: recordAAAA, Port: 8080},
		"srv":  {Query: "app", Record: recordSRV},
	})
	w := watch(t, r)
	w.until("app", "172.30.0.10:8080", "172.30.0.11:8080")
	w.until("both", "172.30.0.10:8080", "172.30.0.11:8080")
	w.until("six")
	found := explained(t, r, "app")
	if len(found) != 2 || !strings.HasSuffix(found[0], "its TTL of 600 s is not waited for") {
		t.Errorf("explain says %q", found)
	}
	if found := explained(t, r, "srv"); len(found) != 1 || !strings.Contains(found[0], "app does not exist (NXDOMAIN from 127.0.0.11:53)") {
		t.Errorf("of SRV, which Docker does not have, explain says %q", found)
	}
	d.Docker("stop", "--time", "5", "app1")
	w.until("app", "172.30.0.10:8080")
	d.Docker("start", "app1")
	w.until("app", "172.30.0.10:8080", "172.30.0.11:8080")

	d.Docker("network", "disconnect", "web", "gateway")
	eventually(t, "it is off the network", func() bool {
		found := explained(t, r, "app")
		return len(found) == 2 && strings.Contains(found[0], "UTC: app does not exist (NXDOMAIN from 127.0.0.11:53)")
	})
	if got := w.servers("app"); !slices.Equal(got, []string{"172.30.0.10:8080", "172.30.0.11:8080"}) {
		t.Errorf("off the network it has %q", got)
	}
	d.Docker("network", "connect", "web", "gateway")
	eventually(t, "it is on the network again", func() bool {
		found := explained(t, r, "app")
		return len(found) == 2 && strings.Contains(found[0], "A record")
	})
}

func swarm(t *testing.T, d *dockerdtest.Daemon) {
	d.Docker("swarm", "init", "--advertise-addr", "127.0.0.1")
	t.Cleanup(func() { d.Docker("swarm", "leave", "--force") })
	d.Docker("network", "create", "--driver", "overlay", "--attachable", "--subnet", "10.77.0.0/24", "mesh")
	d.Docker("service", "create", "--detach", "--name", "app", "--replicas", "3", "--network", "mesh", dockerdtest.App)
	d.Docker("run", "--detach", "--name", "edge", "--network", "mesh", "--dns", "127.0.0.1", dockerdtest.App)
	r := inside(t, d, "edge", map[string]*Service{
		"tasks":   {Query: "tasks.app", Record: recordA, Port: 8080},
		"virtual": {Query: "app", Record: recordA, Port: 8080},
	})
	w := watch(t, r)
	count := func(want int) {
		t.Helper()
		dockerdtest.Eventually(t, 2*time.Minute, func() error {
			if n := len(w.servers("tasks")); n != want {
				return fmt.Errorf("%d replicas, want %d; trouble: %w", n, want, r.Condition().Trouble)
			}
			return nil
		})
	}
	count(3)
	x, err := r.Examine(t.Context())
	if err != nil || len(x.Findings) != 1 || x.Findings[0].Check != "dns-virtual" {
		t.Errorf("doctor finds %+v %v", x.Findings, err)
	}

	d.Docker("service", "scale", "--detach", "app=40")
	count(40)
	// By EDNS they fit into one packet; without it Docker cuts, and TCP has all.
	c, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	cut, err := c.send(t.Context(), "udp", docker, question{"tasks.app.", dns.TypeA}, false)
	if err != nil || !cut.Truncated || len(cut.Answer) >= 40 {
		t.Errorf("without EDNS it is not cut: %v %v", cut, err)
	}
	if whole, err := c.send(t.Context(), "tcp", docker, question{"tasks.app.", dns.TypeA}, false); err != nil || whole.Truncated || len(whole.Answer) != 40 {
		t.Errorf("over TCP it is not whole: %v %v", whole, err)
	}
	is, _ := w.set()
	all, _ := is.Get("tasks")

	d.Docker("service", "scale", "--detach", "app=0")
	dockerdtest.Eventually(t, time.Minute, func() error {
		if err := r.Condition().Trouble; err == nil || !strings.HasPrefix(err.Error(), "tasks: tasks.app does not exist (NXDOMAIN") {
			return fmt.Errorf("the trouble is %w", err)
		}
		return nil
	})
	is, _ = w.set()
	left, _ := is.Get("tasks")
	if len(left.Servers) == 0 || !subset(left, all) {
		t.Errorf("%d of 40 servers stay", len(left.Servers))
	}
	d.Docker("service", "scale", "--detach", "app=2")
	count(2)
	if err := r.Condition().Trouble; err != nil && strings.HasPrefix(err.Error(), "tasks") {
		t.Errorf("all is well, and the trouble is %v", err)
	}
}

func subset(a, of upstream.Upstream) bool {
	for _, s := range a.Servers {
		if !slices.ContainsFunc(of.Servers, func(o upstream.Server) bool { return o.Addr == s.Addr }) {
			return false
		}
	}
	return true
}
