package bench

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"swallowkeeper/internal/consultestserver"
)

const (
	hot      = "web-hot"   // changes again and again
	floorHot = "web-floor" // the floor's
	colds    = 60          // web-cold-NN: each changes once, when it has not changed for long
	// backends is how many servers can be told apart. Changes take the next one that no service uses. So none comes back to a
	// service soon, which damping would keep out, nor goes from one service to another within one decision, which the guard
	// minds.
	backends  = 509
	instances = 10
)

func coldName(i int) string  { return fmt.Sprintf("web-cold-%02d", i) }
func otherName(i int) string { return fmt.Sprintf("app-%04d", i) }

// catalog is a real Consul, and what is registered there.
type catalog struct {
	server  *consultestserver.Server
	client  *api.Client
	nodes   int
	others  int // services app-NNNN of ten instances
	servers []string

	mu       sync.Mutex
	want     map[string]map[int]string // service, instance, address
	at       map[string]int            // which of the servers a service with traffic uses
	taken    int                       // the last of them
	versions map[int]int               // how often app-NNNN has changed
}

func newCatalog(b *testing.B, services, nodes int, options ...consultestserver.Option) *catalog {
	b.Helper()
	server := consultestserver.Start(b, append(options, consultestserver.WithTLS(), consultestserver.WithConfig(inMemory(b)),
		consultestserver.WithConfig(`telemetry { prometheus_retention_time = "4h" disable_hostname = true }`))...)
	c := &catalog{server: server, client: server.Client(b), nodes: nodes, want: map[string]map[int]string{}, at: map[string]int{}, versions: map[int]int{}}
	c.serve(b)
	c.fill(b, services)
	return c
}

// inMemory keeps Consul's state where it syncs nothing to disk (Linux): what is registered must not wait for a disk that is
// busy with what is measured.
func inMemory(b *testing.B) string {
	b.Helper()
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		return ""
	}
	dir, err := os.MkdirTemp(memory, "bench-consul") //nolint:usetesting // that is the point
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return fmt.Sprintf("data_dir = %q", dir)
}

// serve starts the servers that the traffic goes to. Each answers with its number.
func (c *catalog) serve(b *testing.B) {
	b.Helper()
	number := map[string]string{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, number[r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()])
	})}
	var listeners []net.Listener
	for i := range backends {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		number[l.Addr().String()] = strconv.Itoa(i)
		listeners, c.servers = append(listeners, l), append(c.servers, l.Addr().String())
	}
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() { _ = server.Serve(l) })
	}
	b.Cleanup(func() { server.Close(); serving.Wait() })
}

// fill registers all services: those that are measured have one instance, the others ten.
func (c *catalog) fill(b *testing.B, services int) {
	b.Helper()
	var ops api.TxnOps
	for i := range c.nodes {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{
			Node: node(i), Address: fmt.Sprintf("10.1.0.%d", i+1),
		}}})
	}
	add := func(name string, instance int, address string) {
		c.note(name, instance, address)
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node(instance % c.nodes), Service: *registration(name, instance, address)}})
	}
	c.send(b, ops) // the nodes come first
	ops = nil
	with := func(name string) { add(name, 0, c.servers[c.take(name)]) }
	with(hot)
	with(floorHot)
	measured := 1 // the floor's is excluded
	if services > 10*colds {
		for i := range colds {
			with(coldName(i))
		}
		measured += colds
	}
	c.others = services - measured
	for i := range c.others {
		for j := range instances {
			add(otherName(i), j, otherAddress(i, j, 0))
		}
	}
	c.send(b, ops)
}

func node(i int) string { return fmt.Sprintf("node-%d", i) }

// otherAddress is where an instance of a service that gets no traffic is, in a version.
func otherAddress(i, instance, version int) string {
	return fmt.Sprintf("10.1.%d.%d:%d", version%200, instance+1, 1000+i)
}

func registration(name string, instance int, address string) *api.AgentService {
	host, text, _ := strings.Cut(address, ":")
	port, _ := strconv.Atoi(text)
	return &api.AgentService{ID: fmt.Sprintf("%s-%d", name, instance), Service: name, Address: host, Port: port}
}

func (c *catalog) send(b *testing.B, ops api.TxnOps) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(4)
	for ; len(ops) > 0; ops = ops[min(64, len(ops)):] {
		some := ops[:min(64, len(ops))]
		group.Go(func() error {
			ok, answer, _, err := c.client.Txn().Txn(some, nil)
			if err == nil && !ok {
				err = fmt.Errorf("%+v", answer.Errors)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatalf("register: %v", err)
	}
}

// note remembers what Consul is told.
func (c *catalog) note(name string, instance int, address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want[name] == nil {
		c.want[name] = map[int]string{}
	}
	c.want[name][instance] = address
}

// move gives an instance another address and returns when Consul has answered.
func (c *catalog) move(b testing.TB, name string, instance int, address string) {
	b.Helper()
	c.note(name, instance, address)
	_, err := c.client.Catalog().Register(&api.CatalogRegistration{
		Node: node(instance % c.nodes), SkipNodeUpdate: true, Service: registration(name, instance, address),
	}, nil)
	if err != nil {
		b.Fatalf("register: %v", err)
	}
}

// take gives a service the next server that none uses. Locked.
func (c *catalog) take(name string) int {
	for {
		c.taken = (c.taken + 1) % backends
		if !slices.Contains(slices.Collect(maps.Values(c.at)), c.taken) {
			c.at[name] = c.taken
			return c.taken
		}
	}
}

// next points a service at the next server, and returns its number when Consul has answered.
func (c *catalog) next(b testing.TB, name string) int {
	b.Helper()
	c.mu.Lock()
	server := c.take(name)
	c.mu.Unlock()
	c.move(b, name, 0, c.servers[server])
	return server
}

// wanted is every upstream with its servers.
func (c *catalog) wanted() map[string]map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]map[string]bool, len(c.want))
	for name, list := range c.want {
		if name == floorHot {
			continue
		}
		all[name] = map[string]bool{}
		for _, address := range list {
			all[name][address] = true
		}
	}
	return all
}

// requests counts the reads that Consul has answered so far, by its own metrics. What the benchmarks do there are writes.
func (c *catalog) requests(b *testing.B) float64 {
	b.Helper()
	text := c.read(b, "/v1/agent/metrics?format=prometheus")
	sum := 0.0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "consul_api_http_count{") || !strings.Contains(line, `method="GET"`) || strings.Contains(line, "v1_agent_metrics") {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum
}

func (c *catalog) read(b *testing.B, path string) string {
	b.Helper()
	resp, err := (&http.Client{Timeout: answerLimit, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + c.server.Addr + path)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(body)
}

// host is where Consul listens, and address the same as a URL.
func (c *catalog) host(way string) string {
	if way == HTTPS {
		return c.server.HTTPSAddr
	}
	return c.server.Addr
}

func (c *catalog) address(way string) string {
	if way == HTTPS {
		return "https://" + c.host(way)
	}
	return "http://" + c.host(way)
}
