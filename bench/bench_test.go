// Package bench measures how fast a change reaches the traffic: swallowkeeper as it is
// installed, between a real Consul and a gateway with four workers.
//
// Beside each figure stands its floor, measured in the same run, change by change in
// turn: one blocking query on that one service and one POST, nothing else. Absolute
// times depend on the machine; what counts is the ratio.
package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/consultestserver"
)

const (
	service = "bench"       // kept by swallowkeeper
	floor   = "bench-floor" // kept by the floor
	// rotation is how many servers a service goes through before it is back at the first:
	// by then no worker of the gateway uses that one any more, also not for the floor,
	// which leaves three of four workers to find out by themselves.
	rotation = 256
	// between two changes lies some time, as in life: watches that wake all the time are paced.
	between = 100 * time.Millisecond
	// pause between two looks, so that looking does not take the processor from what is looked at.
	pause = 100 * time.Microsecond
)

// BenchmarkChange reports, for the floor and for swallowkeeper, the time from Consul's
// answer to a registration until a request is served by the new server (first) and
// until no worker uses the old one (all), in milliseconds.
func BenchmarkChange(b *testing.B) {
	for _, bb := range []struct {
		services, conns int
	}{{10, 200}, {1000, 4096}, {1000, 200}} {
		b.Run(fmt.Sprintf("services=%d/consul-connections=%d", bb.services, bb.conns), func(b *testing.B) {
			w := newWorld(b, bb.services, bb.conns, world{})
			var least, first, all samples
			for b.Loop() {
				time.Sleep(between)
				f, _ := w.change(b, floor, false)
				least.add(f)
				time.Sleep(between)
				f, a := w.change(b, service, true)
				first.add(f)
				all.add(a)
			}
			b.ReportMetric(0, "ns/op")
			least.report(b, "floor-first")
			first.report(b, "first")
			all.report(b, "all-workers")
			b.ReportMetric(first.percentile(50)/least.percentile(50), "first-p50/floor")
			b.ReportMetric(w.rss(b), "MB-RSS")
		})
	}
}

// BenchmarkIdle reports what swallowkeeper costs while nothing changes: processor time
// in a second, with 1,000 services of 10 instances.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b, 1000, 4096, world{})
	const wait = 25 * time.Second // two comparisons of the live state, at the default of one in 10 s
	for b.Loop() {
		before := w.cpu(b)
		time.Sleep(wait) // what is measured is the idling itself
		b.ReportMetric((w.cpu(b)-before).Seconds()*1000/wait.Seconds(), "ms-CPU/s")
	}
	b.ReportMetric(w.rss(b), "MB-RSS")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSurface compares, change by change in turn, a swallowkeeper that nobody looks at with
// one whose page, API, metrics and events are read all the time. With BASE=FILE, a swallowkeeper
// from before there was anything to look at, that one is compared too. 1.00 and 0 MB would be no
// cost. The memory is the median over the run: at a single moment it depends on what the garbage
// collector is about.
func BenchmarkSurface(b *testing.B) {
	for _, services := range []int{200, 1000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			names := []string{"alone", "watched"}
			worlds := []*world{newWorld(b, services, 4096, world{}), newWorld(b, services, 4096, world{watched: true})}
			if file := os.Getenv("BASE"); file != "" {
				names = append(names, "base")
				worlds = append(worlds, newWorld(b, services, 4096, world{binary: file}))
			}
			took, mb := make([]samples, len(worlds)), make([]samples, len(worlds))
			for b.Loop() {
				for i, w := range worlds {
					time.Sleep(between)
					_, all := w.change(b, service, true)
					took[i].add(all)
					mb[i] = append(mb[i], w.rss(b))
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, name := range names {
				b.ReportMetric(took[i].percentile(50), name+"-p50-ms")
				b.ReportMetric(mb[i].percentile(50), name+"-MB-RSS")
				if name != "watched" {
					b.ReportMetric(took[1].percentile(50)/took[i].percentile(50), "watched-p50/"+name)
					b.ReportMetric(mb[1].percentile(50)-mb[i].percentile(50), "MB-RSS-watched-more-than-"+name)
				}
			}
		})
	}
}

// samples are times in milliseconds.
type samples []float64

func (s *samples) add(d time.Duration) { *s = append(*s, float64(d.Microseconds())/1000) }

func (s samples) percentile(p int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func (s samples) report(b *testing.B, what string) {
	b.ReportMetric(s.percentile(50), what+"-p50-ms")
	b.ReportMetric(s.percentile(99), what+"-p99-ms")
}

// world is Consul, a gateway, servers that can be told apart, the floor, and swallowkeeper.
type world struct {
	consul  *api.Client
	gateway *dyupstest.Server
	servers [rotation]*httptest.Server
	now     map[string]int // which of the servers a service uses
	process *exec.Cmd
	client  *http.Client
	binary  string // "": what this source makes
	watched bool   // its page, metrics and events are read all the time
	socket  string // where, "" where nobody looks
}

func newWorld(b *testing.B, services, conns int, kind world) *world {
	b.Helper()
	consul := consultestserver.Start(b, consultestserver.WithMaxConnsPerClient(conns))
	gateway, err := dyupstest.New(dyupstest.Options{Workers: 4, WorkerHeader: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(gateway.Close)
	w := &kind
	w.consul, w.gateway, w.now = consul.Client(b), gateway, map[string]int{}
	w.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range w.servers {
		name := fmt.Sprint(i)
		w.servers[i] = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, name)
		}))
		b.Cleanup(w.servers[i].Close)
	}
	w.fill(b, services-1)
	w.register(b, service, 0)
	w.register(b, floor, 0)
	w.startFloor(b, consul.Addr)
	w.start(b, consul.Addr)
	if w.watched {
		w.watch(b)
	}
	w.await(b, service, time.Now(), true)
	w.await(b, floor, time.Now(), false)
	return w
}

// fill registers what else there is: services of 10 instances each.
func (w *world) fill(b *testing.B, services int) {
	b.Helper()
	var ops api.TxnOps
	send := func() {
		if len(ops) == 0 {
			return
		}
		ok, answer, _, err := w.consul.Txn().Txn(ops, nil)
		if err != nil || !ok {
			b.Fatalf("register: %v %v", answer, err)
		}
		ops = nil
	}
	for i := range 10 {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{
			Node: fmt.Sprintf("node-%d", i), Address: fmt.Sprintf("10.1.0.%d", i+1),
		}}})
	}
	for i := range services {
		for j := range 10 {
			name := fmt.Sprintf("service-%04d", i)
			ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{
				Verb: api.ServiceSet, Node: fmt.Sprintf("node-%d", j),
				Service: api.AgentService{ID: name, Service: name, Port: 1000 + i},
			}})
			if len(ops) == 64 {
				send()
			}
		}
	}
	send()
}

// register points a service at one of the servers.
func (w *world) register(b *testing.B, name string, server int) {
	b.Helper()
	addr := w.servers[server].Listener.Addr().String()
	host, port, _ := strings.Cut(addr, ":")
	reg := &api.CatalogRegistration{
		Node: "bench", Address: host,
		Service: &api.AgentService{ID: name, Service: name, Address: host},
	}
	if _, err := fmt.Sscan(port, &reg.Service.Port); err != nil {
		b.Fatal(err)
	}
	if _, err := w.consul.Catalog().Register(reg, nil); err != nil {
		b.Fatal(err)
	}
	w.now[name] = server
}

// change moves a service to the next server and says how long it took until a request
// was served there, and, where asked, until no worker used another.
func (w *world) change(b *testing.B, name string, everywhere bool) (first, all time.Duration) {
	b.Helper()
	w.register(b, name, (w.now[name]+1)%rotation)
	return w.await(b, name, time.Now(), everywhere)
}

func (w *world) await(b *testing.B, name string, began time.Time, everywhere bool) (first, all time.Duration) {
	b.Helper()
	want := w.now[name]
	addr := w.servers[want].Listener.Addr().String()
	for limit := began.Add(time.Minute); ; {
		if time.Now().After(limit) {
			b.Fatalf("%s is not at %s within a minute", name, addr)
		}
		if first == 0 && w.request(name) == fmt.Sprint(want) {
			first = time.Since(began)
		}
		if first > 0 && (!everywhere || w.everywhere(name, addr)) {
			return first, time.Since(began)
		}
		time.Sleep(pause)
	}
}

// request says which server answered; each request comes over a connection of its own, so
// that any worker may get it.
func (w *world) request(name string) string {
	req, err := http.NewRequest(http.MethodGet, w.gateway.Proxy(), nil)
	if err != nil {
		return ""
	}
	req.Host = name
	resp, err := w.client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

func (w *world) everywhere(name, addr string) bool {
	for _, copied := range w.gateway.Copies(name) {
		if !strings.Contains(copied, addr) {
			return false
		}
	}
	return true
}

// startFloor follows one service in the shortest way there is.
func (w *world) startFloor(b *testing.B, consul string) {
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	b.Cleanup(func() { cancel(); <-ended })
	client, err := api.NewClient(&api.Config{Address: consul, HttpClient: &http.Client{Transport: &http.Transport{}}})
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		defer close(ended)
		index := uint64(0)
		for ctx.Err() == nil {
			entries, meta, err := client.Health().Service(floor, "", false, (&api.QueryOptions{WaitIndex: index}).WithContext(ctx))
			if err != nil || len(entries) == 0 {
				continue
			}
			index = meta.LastIndex
			body := fmt.Sprintf("server %s:%d;", entries[0].Service.Address, entries[0].Service.Port)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.gateway.API()+"/upstream/"+floor, strings.NewReader(body))
			if err != nil {
				continue
			}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
	}()
}

// watch reads the page and the metrics every second, as a page that is open and a Prometheus
// in a hurry do, and follows the events.
func (w *world) watch(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", w.socket)
	}}}
	read := func(path string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, http.NoBody)
		if err != nil {
			return
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	var watching sync.WaitGroup
	for _, path := range []string{"/", "/api/v1/upstreams", "/metrics", "/api/v1/events"} {
		watching.Go(func() {
			for ctx.Err() == nil {
				read(path) // the events end with the context alone
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	b.Cleanup(func() { cancel(); watching.Wait() })
}

// start runs swallowkeeper as it is installed: a process of its own.
func (w *world) start(b *testing.B, consul string) {
	b.Helper()
	dir := b.TempDir()
	shown := ""
	if w.binary == "" {
		w.binary = filepath.Join(dir, "swallowkeeper")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", w.binary, "swallowkeeper/cmd/swallowkeeper")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("build: %v\n%s", err, out)
		}
		if w.watched {
			w.socket = filepath.Join(dir, "s")
		}
		shown = fmt.Sprintf("[status]\naddress = \"\"\nsocket = %q\n", w.socket)
	}
	conf := filepath.Join(dir, "swallowkeeper.toml")
	text := fmt.Sprintf(`[log]
level = "warning"
[[registry]]
type = "consul"
address = %q
exclude = ["consul", %q]
%s[persist]
path = %q
[[gateway]]
type = "dyups"
address = %q
`, consul, floor, shown, filepath.Join(dir, "upstreams.conf"), w.gateway.API())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	w.process = exec.Command(w.binary, "--config", conf)
	w.process.Stderr = os.Stderr
	if err := w.process.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = w.process.Process.Signal(os.Interrupt)
		_ = w.process.Wait()
	})
}

// rss is the resident memory of swallowkeeper in MB (Linux).
func (w *world) rss(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.process.Process.Pid))
	if err != nil {
		b.Skip("memory and processor time are read from /proc")
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// cpu is the processor time that swallowkeeper has used (Linux, at 100 ticks a second).
func (w *world) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.process.Process.Pid))
	if err != nil {
		b.Skip("memory and processor time are read from /proc")
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
