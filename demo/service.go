package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"swallowkeeper/internal/logs"
	"swallowkeeper/registry/consul/consultest"
)

// registry is the dev registry behind a listener.
type registry struct {
	*consultest.Server
	url    string
	server *http.Server
	ended  chan struct{}
}

func startRegistry(addr string) (*registry, error) {
	l, err := listen(addr)
	if err != nil {
		return nil, err
	}
	r := &registry{Server: consultest.New(consultest.Options{}), url: "http://" + l.Addr().String(), ended: make(chan struct{})}
	r.server = &http.Server{Handler: r.Server, ReadHeaderTimeout: time.Minute, ErrorLog: logs.Nowhere()}
	go func() {
		defer close(r.ended)
		_ = r.server.Serve(r.Listener(l)) // ends when it is closed
	}()
	return r, nil
}

func (r *registry) close() {
	r.Close() // first, as it ends the requests that wait
	_ = r.server.Close()
	<-r.ended
}

func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}

// headerInstance names in each answer the instance that gave it.
const headerInstance = "X-Instance"

// How the sample services are checked. Both ways are in use: web is asked by the
// registry, search reports by itself.
const (
	checkInterval = time.Second
	checkTTL      = 10 * time.Second
	healthPath    = "/health"
)

// instance is one running copy of a service: a small HTTP server that says its name.
type instance struct {
	service, name string
	addr          string // host:port
	port          int
	crashed       atomic.Bool
	served        atomic.Int64 // answers, those to its health check not counted

	server *http.Server
	ctx    context.Context // ends with the instance
	end    context.CancelFunc
}

// fleet is all instances of all sample services. They know the registry by its URL
// alone, as services do.
type fleet struct {
	registry string
	around   func(http.Handler) http.Handler
	client   *http.Client
	running  sync.WaitGroup

	mu        sync.Mutex
	instances []*instance
}

func newFleet(registry string, around func(http.Handler) http.Handler) *fleet {
	return &fleet{
		registry: registry, around: around,
		client: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second},
	}
}

// start runs an instance on a free port. Nobody knows of it before it is registered.
func (f *fleet) start(service, name string) (*instance, error) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	i := &instance{service: service, name: name, addr: l.Addr().String(), port: l.Addr().(*net.TCPAddr).Port}
	i.ctx, i.end = context.WithCancel(context.Background())
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != healthPath {
			i.served.Add(1)
		}
		w.Header().Set(headerInstance, i.name)
		_, _ = fmt.Fprintf(w, "%s on %s answers %s %s\n", i.name, i.addr, r.Method, r.URL.EscapedPath())
	})
	if f.around != nil {
		h = f.around(h)
	}
	i.server = &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: logs.Nowhere()}
	f.running.Go(func() { _ = i.server.Serve(l) }) // ends when it is closed
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances = append(f.instances, i)
	return i, nil
}

// registration is the JSON that a service sends, no different from what curl would.
type registration struct {
	ID, Name, Address string
	Port              int
	Check             check
}

type check struct {
	HTTP     string `json:",omitempty"`
	Interval string `json:",omitempty"`
	TTL      string `json:",omitempty"`
}

// register tells the registry of an instance.
func (f *fleet) register(ctx context.Context, i *instance) error {
	reg := registration{ID: i.name, Name: i.service, Address: "127.0.0.1", Port: i.port}
	if i.service == web {
		reg.Check = check{HTTP: "http://" + i.addr + healthPath, Interval: checkInterval.String()}
	} else {
		reg.Check = check{TTL: checkTTL.String()}
	}
	body, err := json.Marshal(reg)
	if err != nil {
		return fmt.Errorf("encode the registration of %s: %w", i.name, err)
	}
	if err := f.put(ctx, "/v1/agent/service/register", body); err != nil {
		return fmt.Errorf("register %s: %w", i.name, err)
	}
	if i.service == web {
		return nil
	}
	if err := f.alive(ctx, i); err != nil {
		return err
	}
	f.running.Go(func() { f.heartbeat(i) })
	return nil
}

// place tells the registry of an instance on another node, as that node's own agent would.
func (f *fleet) place(ctx context.Context, i *instance, node string) error {
	body := fmt.Sprintf(`{"Node": %q, "Address": "127.0.0.1", "SkipNodeUpdate": true,
		"Service": {"ID": %q, "Service": %q, "Address": "127.0.0.1", "Port": %d}}`, node, i.name, i.service, i.port)
	if err := f.put(ctx, "/v1/catalog/register", []byte(body)); err != nil {
		return fmt.Errorf("register %s: %w", i.name, err)
	}
	return nil
}

// alive reports to the instance's TTL check.
func (f *fleet) alive(ctx context.Context, i *instance) error {
	if err := f.put(ctx, "/v1/agent/check/pass/service:"+i.name, nil); err != nil {
		return fmt.Errorf("report that %s is alive: %w", i.name, err)
	}
	return nil
}

func (f *fleet) heartbeat(i *instance) {
	beat := time.NewTicker(checkTTL / 5)
	defer beat.Stop()
	for {
		select {
		case <-i.ctx.Done():
			return
		case <-beat.C:
			_ = f.alive(i.ctx, i) // a report that is lost makes way for the next
		}
	}
}

func (f *fleet) deregister(ctx context.Context, i *instance) error {
	if err := f.put(ctx, "/v1/agent/service/deregister/"+i.name, nil); err != nil {
		return fmt.Errorf("deregister %s: %w", i.name, err)
	}
	return nil
}

func (f *fleet) put(ctx context.Context, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, f.registry+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// stop ends an instance well: what is under way is answered.
func (f *fleet) stop(i *instance) {
	i.end()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if i.server.Shutdown(ctx) != nil {
		_ = i.server.Close()
	}
}

// crash ends an instance as kill -9 does: the registry hears nothing of it.
func (f *fleet) crash(i *instance) {
	i.crashed.Store(true)
	i.end()
	_ = i.server.Close()
}

// all is every instance that ever ran, in the order of their starts.
func (f *fleet) all() []*instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.instances)
}

func (f *fleet) close() {
	for _, i := range f.all() {
		i.end()
		_ = i.server.Close()
	}
	f.running.Wait()
	f.client.CloseIdleConnections()
}
