package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/internal/etcdtestserver"
)

// etcdGoal is how many times its floor a put in etcd may take until all workers use it, at the median.
const etcdGoal = 2

// BenchmarkEtcd measures how long a put in a real etcd takes until every worker sends requests to the new server, by dyups. Its
// floor is one watch of that key, one POST, and one GET a worker, on a gateway like it and in turn with it.
func BenchmarkEtcd(b *testing.B) {
	for _, services := range []int{10, 1000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) { measureEtcd(b, services) })
	}
}

func measureEtcd(b *testing.B, services int) {
	server := etcdtestserver.Start(b)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.URL}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	backends := &catalog{}
	backends.serve(b)
	w := &etcdWorld{client: client, servers: backends.servers, ours: newGateway(b), floor: newGateway(b)}
	w.fill(b, services)
	w.start(b, server.URL)
	defer w.startFloor(b)()
	measured := map[string][]float64{}
	for i := 0; b.Loop(); i++ {
		for _, way := range []struct {
			name string
			key  string
			g    *gateway
		}{{"floor", etcdFloor, w.floor}, {"ours", etcdHot, w.ours}} {
			time.Sleep(between)
			first, last := w.change(b, way.key, way.g)
			if i >= 3 { // by then all connections are there
				measured[way.name+"-first"] = append(measured[way.name+"-first"], first)
				measured[way.name+"-last"] = append(measured[way.name+"-last"], last)
			}
		}
	}
	if len(measured["ours-last"]) == 0 {
		return // to count how often it can be done
	}
	b.ReportMetric(0, "ns/op")
	for name, all := range measured {
		b.ReportMetric(Percentile(all, 50), name+"-p50-ms")
	}
	times := Percentile(measured["ours-last"], 50) / Percentile(measured["floor-last"], 50)
	b.ReportMetric(times, "times-floor")
	if times > etcdGoal {
		b.Logf("at %d services it takes %.1f times its floor, the goal is %d", services, times, etcdGoal)
	}
}

const (
	etcdHot   = "/swallowkeeper/services/" + hot + "/1"
	etcdFloor = "/floor/" + floorHot
)

// etcdWorld is an etcd and two gateways: that of the program, and that of the floor.
type etcdWorld struct {
	client      *clientv3.Client
	servers     []string
	taken       int // the last of them
	ours, floor *gateway
}

// put moves a service to its next server, and returns the server's number.
func (w *etcdWorld) put(b *testing.B, key string) (server int) {
	b.Helper()
	w.taken = (w.taken + 1) % len(w.servers)
	value := w.servers[w.taken]
	if key == etcdHot {
		value = fmt.Sprintf(`{"address":%q}`, value)
	}
	if _, err := w.client.Put(b.Context(), key, value); err != nil {
		b.Fatal(err)
	}
	return w.taken
}

// change measures a put until the first and until the last worker use it.
func (w *etcdWorld) change(b *testing.B, key string, g *gateway) (first, last float64) {
	b.Helper()
	name := hot
	if key == etcdFloor {
		name = floorHot
	}
	began := time.Now()
	server := w.put(b, key)
	await(b, name+" is at its new server", time.Minute, func() bool {
		n := g.serving(name, server)
		took := ms(time.Since(began))
		if n > 0 && first == 0 {
			first = took
		}
		last = took
		return n == workers
	})
	return first, last
}

// fill registers so many services of ten instances, and the two that change.
func (w *etcdWorld) fill(b *testing.B, services int) {
	b.Helper()
	for i := range services - 1 {
		var ops []clientv3.Op
		for j := range instances {
			key := fmt.Sprintf("/swallowkeeper/services/%s/%d", otherName(i), j)
			ops = append(ops, clientv3.OpPut(key, fmt.Sprintf(`{"address":%q}`, otherAddress(i, j, 0))))
		}
		if _, err := w.client.Txn(b.Context()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// start starts the program, and waits until it follows.
func (w *etcdWorld) start(b *testing.B, url string) {
	b.Helper()
	dir := b.TempDir()
	conf := filepath.Join(dir, "swallowkeeper.toml")
	text := fmt.Sprintf("[log]\nlevel = \"warning\"\n[[registry]]\ntype = \"etcd\"\naddress = [%q]\n[persist]\npath = %q\n[[gateway]]\ntype = \"dyups\"\naddress = %q\n[status]\naddress = \"\"\nsocket = %q\n",
		url, filepath.Join(w.ours.upstreams, "upstreams.conf"), "http://"+w.ours.api, filepath.Join(dir, "s"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	server := w.put(b, etcdHot)
	startProcess(b, exec.Command(programs(b)[0].binary, "--config", conf)) //nolint:gosec // the benchmark's
	await(b, "the program is at work", time.Minute, func() bool { return w.ours.serving(hot, server) == workers })
}

// startFloor follows one key in the shortest way there is.
func (w *etcdWorld) startFloor(b *testing.B) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	events := w.client.Watch(ctx, etcdFloor)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for resp := range events {
			for _, e := range resp.Events {
				body := fmt.Sprintf("server %s;", e.Kv.Value)
				if _, _, err := w.floor.interfaces.lines[0].call(http.MethodPost, "api", "/upstream/"+floorHot, body); err != nil {
					continue
				}
				for w.floor.interfaces.all(http.MethodGet, "api", "/upstream/"+floorHot, func(int, string) bool { return true }) < workers {
				}
			}
		}
	}()
	return func() { cancel(); <-ended }
}
