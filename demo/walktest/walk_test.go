//go:build linux

// Package walktest holds what a team with containers and a plain nginx does, with a real Docker Engine, a real nginx and
// the program as it is built.
package walktest

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/internal/etcdtestserver"
)

const (
	patience = 30 * time.Second
	clients  = 16
	site     = "127.0.0.1:8080"
	// dyupsSite is the other nginx, whose servers change without a reload.
	dyupsSite = "127.0.0.1:8081"
	etcd      = "http://127.0.0.1:2379"
	peer      = "http://127.0.0.1:2380"
)

var rounds = flag.Int("rounds", 10, "how often a container is stopped, and started again, under load")

// TestContainers walks: containers start with a label and have traffic under their path, one is stopped under load and
// nobody notices, the program is killed and nothing changes. Beside the plain nginx, which is reloaded, stands one that takes
// servers by dyups.
func TestContainers(t *testing.T) {
	y := newYard(t)
	y.write("swallowkeeper.toml", configuration(`
type = "docker"
host = "unix://`+y.docker.Socket+`"
`)+y.takesDyups())
	one, two := y.starts("web"), y.starts("web")
	daemon := y.keeps()
	sites := []string{site, dyupsSite}
	y.serve(sites, "/web/", one, two)

	y.inSync() // the reload that brought the route is over: an old worker may still have taken connections
	reloaded, told := y.load(site), y.load(dyupsSite)
	for range *rounds {
		y.docker.Docker("stop", one)
		y.serve(sites, "/web/", two)
		y.docker.Docker("start", one)
		y.serve(sites, "/web/", one, two)
	}
	if reloaded.ends(t) == 0 {
		t.Error("a reload ended no connection")
	}
	if n := told.ends(t); n > 0 {
		t.Errorf("with dyups nginx ended %d connections", n)
	}

	said := y.says("explain", "web")
	for _, want := range []string{"2 in, 0 out", "registry docker"} {
		if !strings.Contains(said, want) {
			t.Errorf("explain web says nothing of %q:\n%s", want, said)
		}
	}
	if said := y.says("routes", "match", "GET", "http://shop.example/web/a"); !strings.Contains(said, "goes to upstream web") {
		t.Errorf("routes match says\n%s", said)
	}

	// Nothing changes while it is away, and it knows all of it again.
	file := y.file()
	daemon.kill(t)
	y.bothServe(one, two)
	y.keeps()
	y.inSync()
	if now := y.file(); now != file {
		t.Errorf("the conf file was\n%s\nand is\n%s", file, now)
	}

	// Both go: what a service had last stays written, and who asks for it hears of that.
	y.docker.Docker("rm", "--force", one, two)
	three := y.starts("web")
	y.serves("/web/", three)
}

// TestAddressGone: where a container's address has gone with it nothing refuses a connection, and a request goes to the next
// server all the same.
func TestAddressGone(t *testing.T) {
	y := newYard(t)
	id := y.starts("web")
	there := y.docker.Docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", id)
	const gone = "172.29.0.99"
	y.docker.InNetwork("ip", "neigh", "add", gone, "lladdr", "02:42:ac:1d:00:63", "dev", "docker0", "nud", "permanent")
	y.write("services.toml", `
[[upstream]]
name    = "web"
servers = [{ address = "`+gone+`:8080" }, { address = "`+there+`:8080" }]
routes  = ["/web/*", "/slow/* timeout=20s"]
`)
	y.write("swallowkeeper.toml", configuration(`
type = "file"
path = "DIR/services.toml"
`))
	y.keeps()
	y.inSync()
	for range 4 {
		for _, path := range []string{"/web/", "/slow/"} {
			if who, err := get(t.Context(), y.client, "http://"+site+path); err != nil || who != id {
				t.Errorf("%s is answered by %q, %v", path, who, err)
			}
		}
	}
}

// TestAgent walks with an agent, an etcd and a daemon: containers are registered and have traffic, one is stopped by the agent, an
// agent that is killed and started again changes nothing, and what goes all at once is held.
func TestAgent(t *testing.T) {
	y := newYard(t)
	y.write("swallowkeeper.toml", configuration(`
type    = "etcd"
address = ["`+etcd+`"]
`))
	y.write("agent.toml", `
node   = "n1"
ttl    = "5s"
socket = "DIR/agent.sock"

[docker]
host = "unix://`+y.docker.Socket+`"

[etcd]
address = ["`+etcd+`"]
`)
	y.runs(etcdtestserver.Binary(t), "--data-dir", filepath.Join(y.dir, "etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--log-level", "error", "--logger", "zap")
	agent := y.registers()
	one, two := y.starts("web"), y.starts("web")
	y.keeps()
	y.bothServe(one, two)
	socket := filepath.Join(y.dir, "agent.sock")
	if err := y.is("agent", "stop", one, "--drain", "100ms", "--agent-socket", socket); err != nil {
		t.Error(err)
	}
	if state := y.docker.Docker("inspect", "--format", "{{.State.Status}}", one); state != "exited" {
		t.Errorf("agent stop left it %s", state)
	}
	y.serves("/web/", two)
	y.docker.Docker("start", one)
	y.bothServe(one, two)
	y.inSync()

	file := y.file()
	agent.kill(t)
	agent = y.registers()
	dockerdtest.Eventually(t, patience, func() error { return y.is("agent", "status", "--agent-socket", socket) })
	y.inSync()
	if now := y.file(); now != file {
		t.Errorf("the conf file was\n%s\nand is\n%s", file, now)
	}

	// Its lease ends, and both are gone at once: that is held, and they serve on.
	agent.kill(t)
	dockerdtest.Eventually(t, patience, func() error {
		if said := y.says("explain", "web"); !strings.Contains(said, "held") {
			return fmt.Errorf("nothing is held:\n%s", said)
		}
		return nil
	})
	y.bothServe(one, two)
	y.registers()
	y.inSync()
	y.bothServe(one, two)
}
