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

// examination is how a Consul can be read.
type examination struct {
	// set is what it lists. Host names are not looked up: such instances are left out.
	set upstream.Set
	// services is how many are wanted of it.
	services int
	// filtered says why its lists can't be taken for whole, nil where they can.
	filtered error
	// most is how many connections the agent takes from one address, 0 for any number; guessed
	// says that it does not tell, and that this is its default.
	most    int
	guessed bool
	// unwatched services share queries with others for lack of connections; enough is how many
	// the agent would have to take, so that there is none.
	unwatched, enough int
	// bare are the instances without a check of their own.
	bare []bare
	// ahead is how far the agent's clock is before ours, to a second.
	ahead time.Duration
}

// bare is an instance without a check of its own. All its texts are as registered.
type bare struct{ service, id, node, addr string }

// Examine reads everything once, over a single connection. Lists that are cut are a finding.
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

// cut takes an error that tells that a list is cut, and returns any other.
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
		use = asked - 1 // one is the heartbeat's
	}
	watches, readers := share(use, x.services)
	if readers > 0 {
		x.unwatched = x.services - watches
		for x.enough = limit; withReserve(x.enough) < x.services+1; {
			x.enough += 50
		}
	}
	return nil
}

func (x *examination) unchecked(name string, entries []*api.ServiceEntry) {
	for _, e := range entries {
		// A node's own check, Consul's serfHealth, tells that the machine is there, not that
		// the service works.
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

// ahead compares the agent's clock with ours, by the Date of an answer that needs no
// token. It is a whole second, cut.
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
		return 0, nil // a proxy that takes the header away is no trouble
	}
	return date.Add(time.Second / 2).Sub(sent.Add(got.Sub(sent) / 2)), nil
}
