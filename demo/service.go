package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"swallowkeeper/internal/logs"
)

func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}

// headerInstance names the instance in each of its answers.
const headerInstance = "X-Instance"

// Special paths and parameters of an instance: its health, and the delay of an answer.
const (
	healthPath = "/health"
	waitFor    = "wait"
	longest    = 10 * time.Second
)

// instance is a running instance of a service: a small HTTP server that returns its name.
type instance struct {
	service, name string
	addr          string // host:port
	port          int
	crashed       atomic.Bool
	sick          atomic.Bool  // its health check fails
	served        atomic.Int64 // answers, without health checks
	busy          atomic.Int64 // slow requests in progress

	server *http.Server
	ctx    context.Context // ends with the instance
	end    context.CancelFunc
}

// fleet is all instances of all sample services.
type fleet struct {
	around  func(http.Handler) http.Handler
	running sync.WaitGroup

	mu        sync.Mutex
	instances []*instance
}

// start starts an instance on a free port. It is not registered yet.
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
		} else if i.sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if d, err := time.ParseDuration(r.URL.Query().Get(waitFor)); err == nil && d > 0 {
			i.busy.Add(1)
			defer i.busy.Add(-1)
			wait(r.Context(), min(d, longest))
		}
		w.Header().Set(headerInstance, i.name)
		_, _ = fmt.Fprintf(w, "%s on %s answers %s %s\n", i.name, i.addr, r.Method, r.URL.EscapedPath())
	})
	if f.around != nil {
		h = f.around(h)
	}
	i.server = &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: logs.Nowhere()}
	f.running.Go(func() { _ = i.server.Serve(l) }) // returns when it is closed
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances = append(f.instances, i)
	return i, nil
}

// stop ends an instance gracefully: requests in progress are answered.
func (f *fleet) stop(i *instance) {
	i.end()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if i.server.Shutdown(ctx) != nil {
		_ = i.server.Close()
	}
}

// crash ends an instance like kill -9, without notice to the registry.
func (f *fleet) crash(i *instance) {
	i.crashed.Store(true)
	i.end()
	_ = i.server.Close()
}

// all returns all instances that ever ran, in the order of their start.
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
}

// wait waits, unless the context ends first.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
