package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"swallowkeeper/internal/logs"
	"swallowkeeper/registry/consul/consultest"
)

// consulServer is the dev registry behind a listener.
type consulServer struct {
	*consultest.Server
	url    string
	server *http.Server
	ended  chan struct{}
}

func startConsul(addr string) (*consulServer, error) {
	l, err := listen(addr)
	if err != nil {
		return nil, err
	}
	r := &consulServer{Server: consultest.New(consultest.Options{}), url: "http://" + l.Addr().String(), ended: make(chan struct{})}
	r.server = &http.Server{Handler: r.Server, ReadHeaderTimeout: time.Minute, ErrorLog: logs.Nowhere()}
	go func() {
		defer close(r.ended)
		_ = r.server.Serve(r.Listener(l)) // returns when it is closed
	}()
	return r, nil
}

func (r *consulServer) close() {
	r.Close() // first, as it ends waiting requests
	_ = r.server.Close()
	<-r.ended
}

// How the sample services are checked. Both ways are common: the registry polls web, and search reports by itself.
const (
	checkInterval = time.Second
	checkTTL      = 10 * time.Second
)

// consulAgent is how services reach the registry: by its URL only, like real ones.
type consulAgent struct {
	registry string
	services *fleet
	client   *http.Client
}

// registration is the JSON that a service sends, the same as with curl.
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

// register registers an instance.
func (a *consulAgent) register(ctx context.Context, i *instance) error {
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
	if err := a.put(ctx, "/v1/agent/service/register", body); err != nil {
		return fmt.Errorf("register %s: %w", i.name, err)
	}
	if i.service == web {
		return nil
	}
	if err := a.alive(ctx, i); err != nil {
		return err
	}
	a.services.running.Go(func() { a.heartbeat(i) })
	return nil
}

// place registers an instance on another node, like that node's own agent.
func (a *consulAgent) place(ctx context.Context, i *instance, node string) error {
	body := fmt.Sprintf(`{"Node": %q, "Address": "127.0.0.1", "SkipNodeUpdate": true,
		"Service": {"ID": %q, "Service": %q, "Address": "127.0.0.1", "Port": %d}}`, node, i.name, i.service, i.port)
	if err := a.put(ctx, "/v1/catalog/register", []byte(body)); err != nil {
		return fmt.Errorf("register %s: %w", i.name, err)
	}
	return nil
}

// alive updates the instance's TTL check.
func (a *consulAgent) alive(ctx context.Context, i *instance) error {
	if err := a.put(ctx, "/v1/agent/check/pass/service:"+i.name, nil); err != nil {
		return fmt.Errorf("report that %s is alive: %w", i.name, err)
	}
	return nil
}

func (a *consulAgent) heartbeat(i *instance) {
	beat := time.NewTicker(checkTTL / 5)
	defer beat.Stop()
	for {
		select {
		case <-i.ctx.Done():
			return
		case <-beat.C:
			_ = a.alive(i.ctx, i) // the next report makes up for a lost one
		}
	}
}

func (a *consulAgent) deregister(ctx context.Context, i *instance) error {
	if err := a.put(ctx, "/v1/agent/service/deregister/"+i.name, nil); err != nil {
		return fmt.Errorf("deregister %s: %w", i.name, err)
	}
	return nil
}

func (a *consulAgent) put(ctx context.Context, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, a.registry+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
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
