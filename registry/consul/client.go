package consul

import (
	"context"
	"errors"
	"fmt"
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
	errNoToken = errors.New(`the ACL policy is to deny and there is no token, neither ours nor the agent's default, ` +
		`so the list may be cut: set token, or acl_filtered = "accept"`)
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
	waits    *waits
	token    func() string
	// multiplexed tells that answers come over HTTP/2, which carries many queries on one connection. Consul speaks it
	// over https only, and what stands before it may not.
	multiplexed func() bool
}

// query is one read. A zero index asks for what is known now, any other waits for news.
type query struct {
	index      uint64
	consistent bool
	filter     string
}

// reply is what an answer says beside its list.
type reply struct {
	index uint64
	// early says that a query with an index came back before its wait was over and brings the same index.
	// So Consul ends what waits when a snapshot is restored: only a read without an index shows what is there now.
	early bool
}

func (c *client) options(ctx context.Context, q query) (*api.QueryOptions, context.CancelFunc) {
	o := &api.QueryOptions{
		AllowStale:        c.cfg.Stale && !q.consistent,
		RequireConsistent: q.consistent,
		Filter:            q.filter,
		Token:             c.token(),
	}
	limit := c.grace
	if q.index > 0 {
		o.WaitIndex, o.WaitTime = q.index, c.waits.next(time.Now())
		limit = longest(o.WaitTime) + c.grace
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return o.WithContext(ctx), cancel
}

// ask makes one query and returns its answer if it can be believed. One that was ended by what stands between
// us and the agent is a *cutShort.
func ask[T any](ctx context.Context, c *client, q query, whole func(T) bool,
	read func(*api.QueryOptions) (T, *api.QueryMeta, error),
) (list T, r reply, err error) {
	var none T
	ctx, sent := noteSent(ctx)
	o, cancel := c.options(ctx, q)
	defer cancel()
	list, meta, err := read(o)
	waited, was := sent()
	switch {
	case err == nil:
		err = c.trust(o, meta, whole(list))
	case q.index > 0 && was && o.Context().Err() == nil:
		err = c.interrupted(o, waited, err)
	}
	if err != nil {
		return none, reply{}, err
	}
	early := q.index > 0 && meta.LastIndex == q.index && waited < o.WaitTime
	return list, reply{index: meta.LastIndex, early: early}, nil
}

// services lists the names of all services with their tags.
func (c *client) services(ctx context.Context, q query) (map[string][]string, reply, error) {
	there := func(list map[string][]string) bool { return list != nil }
	return ask(ctx, c, q, there, c.api.Catalog().Services)
}

// instances reads the instances of one service with their checks, usable or not: the
// server's own choice of the passing ones has no stable order.
func (c *client) instances(ctx context.Context, service string, q query) ([]*api.ServiceEntry, reply, error) {
	q.filter = c.cfg.Filter
	return ask(ctx, c, q, whole, func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return c.api.Health().Service(service, "", false, o)
	})
}

// unwell lists all checks that are not passing. The query wakes whenever any check flips,
// while its answer stays small.
func (c *client) unwell(ctx context.Context, q query) (api.HealthChecks, reply, error) {
	q.filter = `Status != "passing"`
	there := func(list api.HealthChecks) bool { return list != nil }
	return ask(ctx, c, q, there, func(o *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return c.api.Health().State(api.HealthAny, o)
	})
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
		// Only to those with a valid token does Consul say that it has cut a list. The agent's own default
		// token counts as one.
		if err := c.agentHasToken(o); err != nil {
			return err
		}
	}
	if !whole {
		return errNull
	}
	c.answered()
	return nil
}

// anonymous is the accessor of the token that Consul takes for none.
const anonymous = "00000000-0000-0000-0000-000000000002"

// agentHasToken asks for whom the agent takes us, who send no token: it may have a default one, which it can
// lose at any moment. So every answer is asked for, and afterwards.
func (c *client) agentHasToken(o *api.QueryOptions) error {
	self := *o
	self.WaitIndex, self.WaitTime, self.Filter, self.RequireConsistent = 0, 0, "", false
	token, _, err := c.api.ACL().TokenReadSelf(&self)
	switch {
	case err != nil && !refused(err):
		return during("ask whether the agent has a default token", err)
	case err != nil, token == nil, token.AccessorID == "", token.AccessorID == anonymous:
		return errNoToken
	}
	return nil
}

func whole(list []*api.ServiceEntry) bool {
	if list == nil {
		return false
	}
	for _, e := range list {
		if e == nil || e.Service == nil || e.Node == nil {
			return false
		}
	}
	return true
}
