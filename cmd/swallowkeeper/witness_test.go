package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
)

// backends listen on loopback addresses until they are closed.
type backends struct {
	listeners map[string]net.Listener
	accepting sync.WaitGroup
}

func newBackends(t *testing.T, n int) (*backends, []string) {
	t.Helper()
	b := &backends{listeners: map[string]net.Listener{}}
	for range n {
		l := loopback.Listen(t)
		b.listeners[l.Addr().String()] = l
		b.accepting.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		})
	}
	var addrs []string
	for addr := range b.listeners {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	t.Cleanup(func() {
		b.close(addrs...)
		b.accepting.Wait()
	})
	return b, addrs
}

func (b *backends) close(addrs ...string) {
	for _, addr := range addrs {
		b.listeners[addr].Close()
	}
}

// witnessed are surroundings whose witness tries loopback addresses, too.
func witnessed(t *testing.T, witness, guard string) *rig {
	t.Helper()
	r := newRig(t)
	r.witness = witness
	r.extra = "[guard]\nallow_addresses = [\"127.0.0.0/8\"]\n" + guard
	return r
}

// upOn registers healthy instances on a node of their own.
func (r *rig) upOn(node, service string, addrs ...string) {
	r.t.Helper()
	for _, a := range addrs {
		r.put(service, instance{addr: a, node: node})
	}
}

// lose deregisters a node with all that is on it, in one step.
func (r *rig) lose(node string) {
	r.t.Helper()
	if _, err := r.client.Catalog().Deregister(&api.CatalogDeregistration{Node: r.prefix + "node" + node}, nil); err != nil {
		r.t.Fatal(err)
	}
}

// held waits for one hold whose reason ends so.
func (r *rig) held(reason string) status.Hold {
	r.t.Helper()
	var st status.Status
	until(r.t, patience, func() string {
		if st = r.status(); len(st.Holds) == 1 && strings.HasSuffix(st.Holds[0].Reason.String(), reason) {
			return ""
		}
		return fmt.Sprintf("holds %+v", st.Holds)
	})
	return st.Holds[0]
}

// What is gone from Consul and alive stays, with that proof; when it dies it goes, and nobody need come.
func TestTheWitnessProves(t *testing.T) {
	t.Parallel()
	r := witnessed(t, "tcp", "").configure()
	b, addrs := newBackends(t, 40)
	gone, stay := addrs[:34], addrs[34:]
	r.upOn("x", "a", gone...)
	r.upOn("y", "a", stay...)
	d := r.daemon()
	r.inSync(want{"a": strings.Join(addrs, " ")})
	b.close(gone[:3]...)
	r.lose("x")

	hold := r.held("; 31 of 34 still accept connections")
	r.inSync(want{"a": strings.Join(addrs, " ")})
	found := map[string]int{}
	for _, s := range hold.Servers {
		found[s.Witness]++
	}
	if found[status.Alive] != 31 || found[status.Dead] != 3 {
		t.Errorf("of the servers %v", found)
	}
	d.says("removals are held; 31 of 34 still accept connections")
	r.command("status").wants(t, status.ExitHeld, "31 of 34 still accept connections")
	r.command("explain", r.prefix+"a").wants(t, status.ExitInSync,
		"held 3 alike: "+gone[0], "its removal is held; it does not answer from here", "its removal is held; it answers from here")
	r.command("plan").wants(t, status.ExitHeld, "31 of 34 still accept connections")
	metrics := r.metrics()
	for _, line := range []string{"swallowkeeper_probed_servers 35", "swallowkeeper_proven_servers_total 0", "swallowkeeper_held_servers 34"} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("the metrics lack %q", line)
		}
	}

	b.close(gone...)
	r.inSync(want{"a": strings.Join(stay, " ")})
	d.says("none of 34 servers answers from here: they go, though max_removal would hold them")
	if proven := r.told(syncer.EventProven); len(proven) != 1 {
		t.Errorf("events %+v", proven)
	}
	eventually(t, patience, "nobody is tried any more", func() bool {
		return strings.Contains(r.metrics(), "\nswallowkeeper_probed_servers 0\n")
	})
	if metrics := r.metrics(); !strings.Contains(metrics, "\nswallowkeeper_proven_servers_total 34\n") {
		t.Error("they are not counted")
	}
	r.command("status").wants(t, status.ExitInSync)
	if n := len(r.told(syncer.EventApproved)); n != 0 {
		t.Error("somebody approved it")
	}
}

// What is dead already goes within seconds, and no hold is told of.
func TestTheWitnessIsHeardBeforeAHold(t *testing.T) {
	t.Parallel()
	r := witnessed(t, "tcp", "").configure()
	b, addrs := newBackends(t, 6)
	r.upOn("x", "a", addrs[:5]...)
	r.upOn("y", "a", addrs[5])
	d := r.daemon()
	r.inSync(want{"a": strings.Join(addrs, " ")})
	b.close(addrs[:5]...)
	r.lose("x")
	r.inSync(want{"a": addrs[5]})
	d.says("none of 5 servers answers from here")
	if strings.Contains(d.log.String(), "held:") || len(r.told(syncer.EventHeld)) != 0 {
		t.Error("a hold was told of")
	}
	// Its words are the generation's no more after a restart: nothing is lost, and nothing is asked.
	d.stop()
	r.daemon()
	r.inSync(want{"a": addrs[5]})
}

// A pass from cron comes to the same verdict, and so does one that only looks.
func TestOnePassHearsTheWitness(t *testing.T) {
	t.Parallel()
	r := witnessed(t, "tcp", "").configure()
	b, addrs := newBackends(t, 6)
	r.upOn("x", "a", addrs[:5]...)
	r.upOn("y", "a", addrs[5])
	r.once().wants(t, status.ExitInSync)
	b.close(addrs[:2]...)
	r.lose("x")
	r.once().wants(t, status.ExitHeld, "3 of 5 still accept connections")
	r.once("--dry-run").wants(t, status.ExitHeld, "3 of 5 still accept connections")
	r.inSync(want{"a": strings.Join(addrs, " ")})
	b.close(addrs[:5]...)
	before := r.state()
	r.once("--dry-run").wants(t, status.ExitOutOfSync, "server "+addrs[0])
	r.command("plan").wants(t, status.ExitOutOfSync)
	r.same(before)
	r.once().wants(t, status.ExitInSync)
	r.inSync(want{"a": addrs[5]})
}

// Too few services is for a person, whatever the witness says.
func TestTheWitnessDoesNotJudgeARegistry(t *testing.T) {
	t.Parallel()
	r := witnessed(t, "tcp", "min_services = 2\n").configure()
	b, addrs := newBackends(t, 5)
	r.upOn("x", "a", addrs[:4]...)
	r.upOn("y", "b", addrs[4])
	r.daemon()
	all := want{"a": strings.Join(addrs[:4], " "), "b": addrs[4]}
	r.inSync(all)
	b.close(addrs[:4]...)
	r.lose("x")
	hold := r.held("; none of the 4 accepts connections: an operator must decide")
	r.inSync(all)
	r.command("approve", hold.ID).wants(t, status.ExitInSync)
	r.inSync(want{"b": addrs[4]})
}

// A witness that reaches nothing at all proves nothing.
func TestTheWitnessThatSeesNothing(t *testing.T) {
	t.Parallel()
	r := witnessed(t, "tcp", "").configure()
	b, addrs := newBackends(t, 6)
	r.upOn("x", "a", addrs[:5]...)
	r.upOn("y", "a", addrs[5])
	r.daemon()
	r.inSync(want{"a": strings.Join(addrs, " ")})
	b.close(addrs...)
	r.lose("x")
	r.held("; none of the 5 accepts connections, and neither do servers that are listed: that proves nothing")
	r.once("--dry-run").wants(t, status.ExitHeld, "that proves nothing")
	r.inSync(want{"a": strings.Join(addrs, " ")})
}

// By HTTP what drains is not alive although it listens. A reload changes how it is tried.
func TestTheWitnessByHTTP(t *testing.T) {
	t.Parallel()
	r := witnessed(t, "tcp", "").configure()
	var asked sync.Map
	draining := func(w http.ResponseWriter, req *http.Request) {
		asked.Store(req.URL.Path, true)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	var addrs []string
	serve := func(h http.HandlerFunc) {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	for range 4 {
		serve(draining)
	}
	serve(http.NotFound)
	r.upOn("x", "a", addrs[:4]...)
	r.upOn("y", "a", addrs[4])
	d := r.process(nil)
	all := slices.Sorted(slices.Values(addrs))
	r.inSync(want{"a": strings.Join(all, " ")})
	r.lose("x")
	r.held("; 4 of 4 still accept connections")
	r.witness, r.extra = "http", r.extra+"witness_path = \"/ready\"\n"
	r.configure()
	d.signal(syscall.SIGHUP)
	r.inSync(want{"a": addrs[4]})
	if _, is := asked.Load("/ready"); !is {
		t.Error("it was not asked for /ready")
	}
}

// Nothing that listens for this machine alone is tried, as long as nobody names it.
func TestTheWitnessLeavesThisMachineAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.witness = "tcp"
	r.configure()
	b, addrs := newBackends(t, 6)
	r.upOn("x", "a", addrs[:5]...)
	r.upOn("y", "a", addrs[5])
	r.daemon()
	r.inSync(want{"a": strings.Join(addrs, " ")})
	b.close(addrs[:5]...)
	r.lose("x")
	r.held("removals are held")
	metrics := r.metrics()
	for _, result := range []string{"answered", "refused", "unknown"} {
		if !strings.Contains(metrics, fmt.Sprintf("\nswallowkeeper_probes_total{result=%q} 0\n", result)) {
			t.Errorf("something was tried: %s", result)
		}
	}
	if _, err := os.Stat(r.conf); err != nil {
		t.Error(err)
	}
}
