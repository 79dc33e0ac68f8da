package consul

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// maxAge is how old an answer may be that did not come from the leader.
	maxAge = 10 * time.Second
	// defaultConnections is Consul's own http_max_conns_per_client.
	defaultConnections = 200
)

var (
	errNoLeader = errors.New("the servers have no leader")
	errFiltered = errors.New(`the list is cut by ACLs: give the token more rights, or set acl_filtered = "accept" ` +
		`where it is meant to see a part`)
	errNoToken = errors.New(`the ACL policy is to deny and there is no token, so the list may be cut: set token, ` +
		`or acl_filtered = "accept"`)
	errNull = errors.New("the answer is null or lacks parts")
)

// client asks one agent. Every answer that it returns can be trusted: known leader, not
// too old, not cut.
type client struct {
	api   *api.Client
	close func()
	cfg   Config
	grace time.Duration
	// answered notes that an answer was believed.
	answered func()

	mu        sync.Mutex
	token     string
	tokenFile string
}

// query is one read. A zero index asks for what is known now, any other waits for news.
type query struct {
	index      uint64
	consistent bool
	filter     string
}

func (c *client) options(ctx context.Context, q query) (*api.QueryOptions, context.CancelFunc) {
	o := &api.QueryOptions{
		AllowStale:        c.cfg.Stale && !q.consistent,
		RequireConsistent: q.consistent,
		Filter:            q.filter,
		Token:             c.currentToken(),
	}
	limit := c.grace
	if q.index > 0 {
		o.WaitIndex, o.WaitTime = q.index, c.cfg.Wait
		// Consul spreads the ends of waits over a sixteenth of them. Later than that the
		// peer is dead.
		limit = c.cfg.Wait + c.cfg.Wait/16 + c.grace
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return o.WithContext(ctx), cancel
}

// currentToken reads the file again each time, as tokens are rotated in place. While
// that fails the last good one goes on.
func (c *client) currentToken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokenFile != "" {
		if token, err := readToken(c.tokenFile); err == nil {
			c.token = token
		}
	}
	return c.token
}

// services lists the names of all services with their tags.
func (c *client) services(ctx context.Context, q query) (map[string][]string, uint64, error) {
	o, cancel := c.options(ctx, q)
	defer cancel()
	list, meta, err := c.api.Catalog().Services(o)
	if err == nil {
		err = c.trust(o, meta, list != nil)
	}
	if err != nil {
		return nil, 0, err
	}
	return list, meta.LastIndex, nil
}

// instances reads the instances of one service with their checks, usable or not: the
// server's own choice of the passing ones has no stable order.
func (c *client) instances(ctx context.Context, service string, q query) ([]*api.ServiceEntry, uint64, error) {
	q.filter = c.cfg.Filter
	o, cancel := c.options(ctx, q)
	defer cancel()
	list, meta, err := c.api.Health().Service(service, "", false, o)
	if err == nil {
		err = c.trust(o, meta, list != nil && whole(list))
	}
	if err != nil {
		return nil, 0, err
	}
	return list, meta.LastIndex, nil
}

// unwell lists all checks that are not passing. The query wakes whenever any check flips,
// while its answer stays small.
func (c *client) unwell(ctx context.Context, q query) (api.HealthChecks, uint64, error) {
	q.filter = `Status != "passing"`
	o, cancel := c.options(ctx, q)
	defer cancel()
	list, meta, err := c.api.Health().State(api.HealthAny, o)
	if err == nil {
		err = c.trust(o, meta, list != nil)
	}
	if err != nil {
		return nil, 0, err
	}
	return list, meta.LastIndex, nil
}

// connectionLimit asks the agent how many connections it takes from one address. The
// field is undocumented and needs agent:read, so Consul's default stands in for it.
func (c *client) connectionLimit(ctx context.Context) (int, error) {
	limit, _, err := c.toldLimit(ctx)
	return limit, err
}

// toldLimit is connectionLimit, and whether the agent told it.
func (c *client) toldLimit(ctx context.Context) (limit int, known bool, err error) {
	o, cancel := c.options(ctx, query{})
	defer cancel()
	var self struct {
		DebugConfig struct{ HTTPMaxConnsPerClient int }
	}
	_, err = c.api.Raw().Query("/v1/agent/self", &self, o)
	switch {
	case err != nil && !refused(err):
		return 0, false, err
	case err != nil || self.DebugConfig.HTTPMaxConnsPerClient <= 0:
		return defaultConnections, false, nil
	}
	return self.DebugConfig.HTTPMaxConnsPerClient, true, nil
}

// trust says why an answer must not be believed, or returns nil.
func (c *client) trust(o *api.QueryOptions, meta *api.QueryMeta, whole bool) error {
	accept := c.cfg.ACLFiltered == "accept"
	switch {
	case !meta.KnownLeader && meta.QueryBackend != api.QueryBackendStreaming:
		// Without a leader stale reads still answer. An answer from the streaming backend
		// never says whether there is one: its server just stops sending then.
		return errNoLeader
	case meta.LastContact > maxAge:
		return fmt.Errorf("the answer is %s old, at most %s is believed", meta.LastContact, maxAge)
	case meta.ResultsFilteredByACLs && !accept:
		return errFiltered
	case meta.DefaultACLPolicy == "deny" && o.Token == "" && !accept:
		// Only with a valid token does Consul say that it has cut a list.
		return errNoToken
	case !whole:
		return errNull
	}
	c.answered()
	return nil
}

func whole(list []*api.ServiceEntry) bool {
	for _, e := range list {
		if e == nil || e.Service == nil || e.Node == nil {
			return false
		}
	}
	return true
}
