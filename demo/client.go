package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// pause is the wait of each of the client's senders between two requests. With two services, each called over kept and
// over new connections, that is 100 requests a second.
const pause = 40 * time.Millisecond

// client continuously sends requests through the gateway and counts the results.
type client struct {
	url         func(service string) (url, host string)
	kept, fresh *http.Client
	sending     sync.WaitGroup
	stop        context.CancelFunc

	mu     sync.Mutex
	counts counts
	first  error // error of the first failed request
}

// counts is what a client has counted.
type counts struct {
	requests, failed map[string]int // by service
	served           map[string]int // by instance
}

func newClient(url func(service string) (url, host string)) *client {
	const timeout = 10 * time.Second
	return &client{
		url:   url,
		kept:  &http.Client{Transport: &http.Transport{}, Timeout: timeout},
		fresh: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: timeout},
		stop:  func() {},
		counts: counts{
			requests: map[string]int{}, failed: map[string]int{}, served: map[string]int{},
		},
	}
}

// start begins to call the services.
func (c *client) start(ctx context.Context, services ...string) {
	ctx, c.stop = context.WithCancel(ctx)
	for _, service := range services {
		for _, conn := range []*http.Client{c.kept, c.fresh} {
			c.sending.Go(func() { c.send(ctx, conn, service) })
		}
	}
}

func (c *client) send(ctx context.Context, conn *http.Client, service string) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		c.call(ctx, conn, service)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// call makes a request, counts it, and returns which instance answered, or "".
func (c *client) call(ctx context.Context, conn *http.Client, service string) string {
	return c.callFor(ctx, conn, service, "")
}

// callFor is call with a suffix to the service's URL.
func (c *client) callFor(ctx context.Context, conn *http.Client, service, more string) string {
	instance, err := c.get(ctx, conn, service, more)
	if err != nil && ctx.Err() != nil {
		return "" // the answer is no longer needed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.requests[service]++
	if err != nil {
		c.counts.failed[service]++
		if c.first == nil {
			c.first = fmt.Errorf("a request to %s failed: %w", service, err)
		}
		return ""
	}
	c.counts.served[instance]++
	return instance
}

// get sends a request like any client of nginx.
func (c *client) get(ctx context.Context, conn *http.Client, service, more string) (string, error) {
	url, host := c.url(service)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+more, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := conn.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	instance := resp.Header.Get(headerInstance)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		return "", errors.New(resp.Status)
	case !strings.HasPrefix(instance, service+"-") || !strings.HasPrefix(string(body), instance):
		return "", fmt.Errorf("%q answered, with %q", instance, body)
	}
	return instance, nil
}

// count returns the counts so far.
func (c *client) count() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counts{maps.Clone(c.counts.requests), maps.Clone(c.counts.failed), maps.Clone(c.counts.served)}
}

// failure returns the error of the first failed request, or nil.
func (c *client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

func (c *client) close() {
	c.stop()
	c.sending.Wait()
	c.kept.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

func sum(m map[string]int) int {
	n := 0
	for v := range maps.Values(m) {
		n += v
	}
	return n
}
