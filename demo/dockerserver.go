package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"swallowkeeper/internal/logs"
	"swallowkeeper/registry/docker/dockertest"
)

// dockerServer is the simulated engine behind a listener. Its containers are the small servers of the fleet.
type dockerServer struct {
	engine   *dockertest.Engine
	addr     string
	services *fleet
	client   *http.Client
	checking sync.WaitGroup
	stopped  chan struct{}

	mu     sync.Mutex
	by     map[string]*instance // by the container's name
	server *http.Server
	ended  chan struct{}
}

func startDocker(addr string, services *fleet) (*dockerServer, error) {
	d := &dockerServer{
		addr: addr, services: services, by: map[string]*instance{}, stopped: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute},
	}
	d.engine = dockertest.Unserved(broken{}, d)
	if err := d.revive(); err != nil {
		return nil, err
	}
	d.checking.Go(d.check)
	return d, nil
}

// broken is for requests that the demo never makes.
type broken struct{}

func (broken) Helper() {}

func (broken) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// revive starts dockerd.
func (d *dockerServer) revive() error {
	l, err := listen(d.addr)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr, d.ended = l.Addr().String(), make(chan struct{})
	d.server = &http.Server{Handler: d.engine, ReadHeaderTimeout: time.Minute, ErrorLog: logs.Nowhere()}
	go func(server *http.Server, ended chan struct{}) {
		defer close(ended)
		_ = server.Serve(l) // returns when it is closed
	}(d.server, d.ended)
	return nil
}

// kill ends dockerd like kill -9. The containers keep running.
func (d *dockerServer) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server != nil {
		_ = d.server.Close()
		<-d.ended
		d.server = nil
	}
}

func (d *dockerServer) close() {
	d.kill()
	close(d.stopped)
	d.checking.Wait()
}

// check runs the health checks of the containers.
func (d *dockerServer) check() {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-d.stopped:
			return
		case <-tick.C:
		}
		for _, c := range d.engine.Containers() {
			if i := d.instance(c.Name); i != nil && c.Health != "" {
				health := "healthy"
				if i.sick.Load() {
					health = "unhealthy"
				}
				d.engine.SetHealth(c.ID, health)
			}
		}
	}
}

func (d *dockerServer) instance(name string) *instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by[name]
}

// Start starts a container's program.
func (d *dockerServer) Start(c dockertest.Container) (netip.AddrPort, error) {
	i, err := d.services.start(c.Labels["swallowkeeper.name"], c.Name)
	if err != nil {
		return netip.AddrPort{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by[c.Name] = i
	return netip.ParseAddrPort(i.addr)
}

// Signal ends a program gracefully on SIGTERM and the like, and at once on SIGKILL.
func (d *dockerServer) Signal(c dockertest.Container, signal string) (ended bool) {
	i := d.instance(c.Name)
	switch signal {
	case "9":
		d.services.crash(i)
	case "2", "3", "15":
		d.services.stop(i)
	default:
		return false
	}
	return true
}

// crash ends a program unexpectedly.
func (d *dockerServer) crash(i *instance) {
	d.services.crash(i)
	for _, c := range d.engine.Containers() {
		if c.Name == i.name {
			d.engine.Die(c.ID)
		}
	}
}

// asked returns the request that docker run sends.
func asked(service string, checked bool) string {
	type request struct {
		Image       string
		Labels      map[string]string
		Healthcheck map[string]any `json:",omitempty"`
		HostConfig  map[string]any
	}
	r := request{
		Image: "app", HostConfig: map[string]any{"PublishAllPorts": true},
		Labels: map[string]string{"swallowkeeper.name": service, "swallowkeeper.route": "/" + service + "/*"},
	}
	if checked {
		r.Healthcheck = map[string]any{"Test": []string{"CMD", "/app", "health"}, "Interval": checkInterval}
	}
	text, _ := json.Marshal(r) //nolint:errchkjson // it has nothing that can't be
	return string(text)
}

func (d *dockerServer) create(ctx context.Context, service, name string, checked bool) error {
	return d.post(ctx, "create?name="+name, asked(service, checked))
}

func (d *dockerServer) start(ctx context.Context, name string) (*instance, error) {
	if err := d.post(ctx, name+"/start", ""); err != nil {
		return nil, err
	}
	return d.instance(name), nil
}

func (d *dockerServer) stop(ctx context.Context, name string) error {
	return d.post(ctx, name+"/stop", "")
}

// post sends a request like docker or curl.
func (d *dockerServer) post(ctx context.Context, what, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.addr+"/containers/"+what, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(r)
	if err != nil {
		return fmt.Errorf("docker %s: %w", what, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = errors.New(resp.Status + " " + string(text))
	}
	if err != nil {
		return fmt.Errorf("docker %s: %w", what, err)
	}
	return nil
}
