package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// examination is the result of reading Consul once.
type examination struct {
	// set is what it lists. Host names are not resolved, so such instances are left out.
	set upstream.Set
	// services is how many of its services are wanted.
	services int
	// filtered is why its lists may be incomplete, or nil.
	filtered error
	// most is how many connections the agent accepts from one address; 0 means any number. guessed reports that it does
	// not tell, and this is the default.
	most    int
	guessed bool
	// unwatched is how many services share queries for lack of connections. enough is the limit that would avoid that.
	unwatched, enough int
	way               way // how changes of these are noticed
	// bare are the instances without their own check.
	bare []bare
	// ahead is how far the agent's clock is ahead of ours, rounded to seconds.
	ahead time.Duration
}

// bare is an instance without its own check. Its texts are as registered.
type bare struct{ service, id, node, addr string }

// Examine reads everything once over a single connection. Filtered lists become a finding.
func (r *Registry) Examine(ctx context.Context) (registry.Examination, error) {
	x, err := r.examine(ctx)
	return registry.Examination{Set: x.set, Ahead: x.ahead, Findings: x.findings(r.cfg.Connections)}, err
}

func (r *Registry) examine(ctx context.Context) (examination, error) {
	var x examination
	c, err := r.endpoint.client(r.cfg, 1, r.grace)
	if err != nil {
		return x, err
	}
	defer c.close()
	if x.ahead, err = r.endpoint.ahead(ctx); err != nil {
		return x, err
	}
	list, _, err := c.services(ctx, query{})
	if err != nil {
		return x, x.cut(err)
	}
	wanted, refused := (&watch{Registry: r}).choose(list)
	x.services = len(wanted)
	if !c.multiplexed() {
		if err := x.connections(ctx, c, r.cfg.Connections); err != nil {
			return x, err
		}
	}
	names := make([]string, 0, len(wanted))
	for name := range wanted {
		names = append(names, name)
	}
	slices.Sort(names)
	conv := converter{cfg: &r.cfg, origin: r.name, lookup: noLookup}
	var all []upstream.Upstream
	for i, name := range names {
		entries, _, err := c.instances(ctx, name, query{})
		if err != nil {
			if err = x.cut(err); err == nil {
				break
			}
			return x, fmt.Errorf("read service %s, %d of %d: %w", name, i+1, len(names), err)
		}
		list, out := conv.service(name, entries)
		all, refused = append(all, list...), append(refused, out...)
		x.unchecked(name, entries)
	}
	x.set = upstream.NewSet(all, refused...)
	return x, nil
}

var errNotLookedUp = errors.New("host names are not looked up here")

func noLookup(string) ([]netip.Addr, error) { return nil, errNotLookedUp }

// cut stores an error about a filtered list, and returns any other.
func (x *examination) cut(err error) error {
	var status api.StatusError
	if errors.Is(err, errFiltered) || errors.Is(err, errNoToken) ||
		errors.As(err, &status) && status.Code == http.StatusForbidden {
		x.filtered = err
		return nil
	}
	return err
}

func (x *examination) connections(ctx context.Context, c *client, asked int) error {
	limit, known, err := c.toldLimit(ctx)
	if err != nil {
		return err
	}
	x.most, x.guessed = limit, !known
	use := withReserve(limit)
	if asked > 0 {
		use = asked - 1 // the heartbeat needs one
	}
	nodes := -1
	if list, _, err := c.nodes(ctx, query{}); err == nil {
		nodes = len(list)
	}
	p := decide(room{connections: use, watches: use}, x.services, nodes)
	if p.way != each {
		x.way, x.unwatched = p.way, x.services-p.watches
		for x.enough = limit; withReserve(x.enough) < x.services+1; {
			x.enough += 50
		}
	}
	return nil
}

func (x *examination) unchecked(name string, entries []*api.ServiceEntry) {
	for _, e := range entries {
		// A node's own check, Consul's serfHealth, tells that the machine is up, not that the service works.
		if e.Service.Service != name || slices.ContainsFunc(e.Checks, func(c *api.HealthCheck) bool {
			return c != nil && c.ServiceID != ""
		}) {
			continue
		}
		i := instance{entry: e}
		i.locate()
		x.bare = append(x.bare, bare{service: name, id: e.Service.ID, node: e.Node.Node, addr: i.shownAddr()})
	}
}

// ahead compares the agent's clock with ours by the Date header of an answer that needs no token. The header is
// truncated to a second.
func (e endpoint) ahead(ctx context.Context) (time.Duration, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: e.tls}
	if e.socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", e.socket)
		}
	}
	defer transport.CloseIdleConnections()
	scheme := e.base.Scheme
	if scheme == "" {
		scheme = "http"
	}
	url := scheme + "://" + e.base.Address + e.base.PathPrefix + "/v1/status/leader"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, during("ask Consul for its time", err)
	}
	sent := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, during("ask Consul for its time", err)
	}
	got := time.Now()
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, nil // a proxy may remove the header
	}
	return date.Add(time.Second / 2).Sub(sent.Add(got.Sub(sent) / 2)), nil
}
