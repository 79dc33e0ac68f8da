package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/persist"
)

// fleet is services with one instance each on each of some nodes, in a real Consul, and a daemon beside it.
type fleet struct {
	*rig
	services, nodes int
	daemon          *keeper
	from            int // how many calls the gateway had when all was in traffic
}

// startFleet registers all instances and has them all in traffic.
func startFleet(r *rig, services, nodes int) *fleet {
	r.t.Helper()
	f := &fleet{rig: r, services: services, nodes: nodes}
	f.t.Cleanup(func() {
		var ops api.TxnOps
		for n := range nodes {
			ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeDelete, Node: api.Node{Node: f.node(n)}}})
		}
		_, _, _, _ = f.client.Txn().Txn(ops, nil) // a Consul of its own is gone by now
	})
	for s := range services {
		f.register(s)
	}
	f.start()
	return f
}

func (f *fleet) start() {
	f.t.Helper()
	f.daemon = f.rig.daemon()
	f.settled(f.services*f.nodes, 0)
	f.from = len(f.nginx[0].Calls())
}

func (f *fleet) node(n int) string       { return fmt.Sprintf("%sn%d", f.prefix, n) }
func (f *fleet) name(s int) string       { return fmt.Sprintf("%ss%02d", f.prefix, s) }
func (f *fleet) id(i [2]int) string      { return fmt.Sprintf("%s-%d", f.name(i[0]), i[1]) }
func (f *fleet) address(i [2]int) string { return fmt.Sprintf("10.%d.0.%d", i[0], i[1]+1) }

// commit makes some changes of the catalog at once.
func (f *fleet) commit(ops ...*api.TxnOp) {
	f.t.Helper()
	ok, resp, _, err := f.client.Txn().Txn(ops, nil)
	if err != nil {
		f.t.Fatalf("change Consul's catalog: %v", err)
	}
	if !ok {
		f.t.Fatalf("change Consul's catalog: %s", resp.Errors[0].What)
	}
}

// up registers instances, given by service and node.
func (f *fleet) up(instances ...[2]int) {
	f.t.Helper()
	nodes := map[int]bool{}
	var ops api.TxnOps
	for _, i := range instances {
		if n := i[1]; !nodes[n] {
			nodes[n] = true
			ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: f.node(n), Address: "10.255.0.1"}}})
		}
	}
	for _, i := range instances {
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: f.node(i[1]), Service: api.AgentService{
			ID: f.id(i), Service: f.name(i[0]), Address: f.address(i), Port: 80,
		}}})
	}
	f.commit(ops...)
}

// register registers all instances of a service.
func (f *fleet) register(service int) {
	f.t.Helper()
	f.up(f.of(service)...)
}

func (f *fleet) deregister(instances ...[2]int) {
	f.t.Helper()
	var ops api.TxnOps
	for _, i := range instances {
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceDelete, Node: f.node(i[1]), Service: api.AgentService{ID: f.id(i), Service: f.name(i[0])}}})
	}
	f.commit(ops...)
}

func (f *fleet) critical(instances ...[2]int) {
	f.t.Helper()
	var ops api.TxnOps
	for _, i := range instances {
		ops = append(ops, &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
			Node: f.node(i[1]), CheckID: "own:" + f.id(i), Name: "own", Status: api.HealthCritical, ServiceID: f.id(i),
		}}})
	}
	f.commit(ops...)
}

// nodeCritical is a node that is lost: its agent's check fails.
func (f *fleet) nodeCritical(n int) {
	f.t.Helper()
	f.commit(&api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
		// Not serfHealth: each minute the leader takes away the nodes that have it and that serf does not know.
		Node: f.node(n), CheckID: "node", Name: "Node Health", Status: api.HealthCritical,
	}}})
}

// of lists the instances of a service.
func (f *fleet) of(service int) [][2]int {
	var list [][2]int
	for n := range f.nodes {
		list = append(list, [2]int{service, n})
	}
	return list
}

// on lists the instances on the first so many nodes in an order that is always the same.
func (f *fleet) on(nodes int) [][2]int {
	var list [][2]int
	for s := range f.services {
		list = append(list, f.of(s)[:nodes]...)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// each does something n times, once each d.
func (f *fleet) each(d time.Duration, n int, do func(i int)) {
	f.t.Helper()
	tick := time.NewTicker(d)
	defer tick.Stop()
	for i := range n {
		do(i)
		<-tick.C
	}
}

// settled waits until the daemon was told that so many servers are left and so many instances are out, and the
// gateway has what the conf file has. Left are those in traffic that the guard does not hold.
func (f *fleet) settled(left, out int) {
	f.t.Helper()
	until(f.t, patience, func() string {
		gen, _, err := persist.Read(f.conf)
		if err != nil {
			return err.Error()
		}
		st, n := f.status(), gen.Set.Servers()
		for _, h := range st.Holds {
			n -= len(h.Servers)
		}
		if n != left || st.Out != out {
			return fmt.Sprintf("%d servers are in traffic and not held, %d are out; want %d, %d", n, st.Out, left, out)
		}
		return f.differs(f.nginx[0], gen.Set)
	})
}

var oneServer = regexp.MustCompile(`\bserver ([0-9.]+:[0-9]+)`)

// fewest is how many servers were in traffic at least since all of them were, by what the gateway was told.
func (f *fleet) fewest() int {
	f.t.Helper()
	told := map[string]int{}
	fewest := f.services * f.nodes
	for i, c := range f.nginx[0].Calls() {
		name, is := strings.CutPrefix(c.Path, "/upstream/")
		switch {
		case !is || c.Status != http.StatusOK:
			continue
		case c.Method == http.MethodPost:
			told[name] = len(oneServer.FindAllString(c.Body, -1))
		case c.Method == http.MethodDelete:
			delete(told, name)
		default:
			continue
		}
		all := 0
		for _, n := range told {
			all += n
		}
		if i >= f.from {
			fewest = min(fewest, all)
		}
	}
	return fewest
}

// What befell 200 servers in a real Consul, "ready" all the while, when the guard compared two states that follow one
// another: so many were left as is said behind each row. What took minutes there takes seconds here, where that
// makes no difference: all of it is within the window, which is ten minutes as by default.
func TestCatastrophesOnConsul(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	spread := func(f *fleet, to func(...[2]int)) { // over 300 ms
		order := f.on(9)
		f.each(20*ms, 15, func(i int) { to(order[i*12 : (i+1)*12]...) })
	}
	for _, tt := range []struct {
		name      string
		play      func(f *fleet)
		left, out int // in the end: in traffic and not held, and registered and not usable
		least     int // that must be in traffic at every moment; what comes back and what goes may cross on the way
	}{
		{"9 of 10 nodes critical, one each 300 ms", func(f *fleet) { // 20 left
			f.each(300*ms, 9, f.nodeCritical)
		}, 200, 180, 90},
		{"90 % deregistered over 300 ms", func(f *fleet) { spread(f, f.deregister) }, 20, 0, 100}, // 20 left
		{"90 % critical over 300 ms", func(f *fleet) { spread(f, f.critical) }, 200, 180, 90},     // 20 left
		{"a third gone each 300 ms", func(f *fleet) { // 1 left after 13 steps, of a second there
			order := f.on(10)
			f.each(300*ms, 13, func(int) {
				n := max(len(order)/3, 1)
				f.deregister(order[:n]...)
				order = order[n:]
			})
			f.deregister(order[1:]...)
		}, 1, 0, 100},
		{"one instance each 30 ms", func(f *fleet) { // 1 left after 6 s
			order := f.on(10)
			f.each(30*ms, 199, func(i int) { f.deregister(order[i]) })
		}, 1, 0, 100},
		{"one service each 50 ms", func(f *fleet) { // 1 service left after 1 s
			f.each(50*ms, 19, func(i int) { f.deregister(f.of(i)...) })
		}, 10, 0, 100},
		{"all critical within 3 s", func(f *fleet) { // 20 left, each service's last; 10 s there
			order := f.on(10)
			f.each(15*ms, 200, func(i int) { f.critical(order[i]) })
		}, 200, 200, 90},
		{"half of what is left critical, every 700 ms", func(f *fleet) { // 20 left after four steps of 2 s
			from := 0
			f.each(700*ms, 4, func(i int) {
				to := from + []int{5, 2, 1, 1}[i]
				for s := range f.services {
					f.critical(f.of(s)[from:to]...)
				}
				from = to
			})
		}, 200, 180, 90},
		{"one service of many loses 9 of 10 in one step", func(f *fleet) { // accepted: 191 left
			f.deregister(f.of(7)[:9]...)
		}, 191, 0, 200},
		{"one service of many loses 9 of 10 in nine steps", func(f *fleet) { // accepted: 191 left
			for _, i := range f.of(7)[:9] {
				f.deregister(i)
			}
		}, 191, 0, 193}, // three quarters of ten are seven
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(newRig(t).configure(), 20, 10)
			tt.play(f)
			f.settled(tt.left, tt.out)
			n := f.fewest()
			t.Logf("%d servers were in traffic at least", n)
			if n < tt.least {
				t.Errorf("%d servers were in traffic at least, want %d", n, tt.least)
			}
		})
	}
}

// A Consul that comes back empty and has half of its services again before the daemon's first look: the other half
// was deleted, and every server was alive. None leaves traffic, whether the daemon was there or starts later.
func TestConsulComesBackWithHalf(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t)
	way := r.tapped(nil)
	r.consul = way.addr
	f := startFleet(r.configure(), 20, 10)
	wiped := func() {
		consul.RestartEmpty()
		for s := range f.services / 2 {
			f.register(s)
		}
	}
	restored := func(t *testing.T) {
		t.Helper()
		f.settled(100, 0)
		for s := f.services / 2; s < f.services; s++ {
			f.register(s)
			f.settled((s+1)*f.nodes, 0)
		}
		if n := f.fewest(); n != 200 {
			t.Errorf("%d servers were in traffic at least, want all", n)
		}
	}
	t.Run("the daemon was cut off", func(t *testing.T) {
		way.silence(true)
		wiped()
		way.silence(false)
		restored(t)
	})
	t.Run("the daemon starts later", func(t *testing.T) {
		f.daemon.stop()
		wiped()
		f.start()
		restored(t)
	})
}

// A Consul server wiped while real agents run, which register again by their anti-entropy, one after the other: no live
// server is dropped meanwhile. Here they find the server within seconds.
func TestConsulServerIsWiped(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t)
	r.configure()
	all := want{}
	var agents []*consultestserver.Server
	for n := range 8 {
		a := consul.Agent(t, fmt.Sprintf("agent-%d", n))
		client := a.Client(t)
		agents = append(agents, a)
		for _, name := range []string{"a", "b"} {
			host := fmt.Sprintf("10.0.%d.1", n)
			if err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
				ID: name, Name: r.prefix + name, Address: host, Port: 80,
			}); err != nil {
				t.Fatal(err)
			}
			all[name] = strings.TrimSpace(all[name] + " " + host + ":80")
		}
	}
	f := &fleet{rig: r, services: 2, nodes: 8}
	f.start()
	r.inSync(all)

	consul.Stop()
	for _, a := range agents {
		a.AwaitServerLost()
	}
	consul.RestartEmpty()
	for i, a := range agents {
		a.Rejoin()
		until(t, patience, func() string { // its instances are there before the next one comes
			entries, _, err := r.client.Health().Service(r.prefix+"a", "", true, nil)
			if err != nil || len(entries) < i+1 {
				return fmt.Sprintf("%d instances are registered: %v", len(entries), err)
			}
			return ""
		})
	}
	eventually(t, patience, "the hold ends", func() bool {
		st := r.status()
		return len(st.Holds) == 0 && st.Registries[0].Trouble == ""
	})
	r.inSync(all)
	if n := f.fewest(); n != 16 {
		t.Errorf("%d servers were in traffic at least, want all", n)
	}
}

// A hold while 12 instances flap kept 56 servers that were really gone, for as long as the flapping went on. They go
// when nothing else has come back for the recovery, which is three seconds here for three minutes, as is the
// flapping faster. What flaps keeps nothing else in traffic, and nobody else out of it.
func TestFlappingOnConsul(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	way := r.tapped(nil) // all of it goes in one step
	r.registries = fmt.Sprintf("[[registry]]\nname = \"consul\"\naddress = %q\ninclude = [%q]\nwait = \"1s\"\n", way.addr, r.prefix+"*")
	r.extra = "[guard]\nrecovery = \"3s\"\ndamping = false\n" // which would calm what flaps
	f := startFleet(r.configure(), 12, 10)
	order := f.on(10)
	gone, flapping := order[:56], order[56:68]
	addresses := map[string]bool{}
	for _, i := range gone {
		addresses[f.address(i)] = true
	}
	left := func() (n int) {
		for u := range r.read().Set.All() {
			for _, s := range u.Servers {
				if addresses[s.Addr.Addr().String()] {
					n++
				}
			}
		}
		return n
	}
	way.silence(true)
	f.deregister(order[:68]...)
	way.silence(false)
	f.settled(52, 0)
	if left() == 0 { // on a busy machine it may take several steps, and the first of them be let through
		t.Fatal("none of the 56 is held")
	}
	tick := time.NewTicker(150 * time.Millisecond) // each comes and goes by itself, so that most are out at any moment
	defer tick.Stop()
	began := time.Now()
	for i := 0; left() > 0; i++ {
		if time.Since(began) > patience {
			t.Fatalf("%d servers that are gone are kept for %s", left(), patience)
		}
		f.up(flapping[i%12])
		if i >= 3 {
			f.deregister(flapping[(i-3)%12])
		}
		<-tick.C
	}
	t.Logf("what was gone left after %s", time.Since(began))
	if n := f.fewest(); n < 52 {
		t.Errorf("%d servers were in traffic at least, want the 52 that nothing befell", n)
	}
}
