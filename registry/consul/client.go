package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// maxAge is the maximum age of an answer that did not come from the leader.
	maxAge = 10 * time.Second
	// defaultConnections is Consul's default for http_max_conns_per_client.
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

// client queries one agent. It only returns trustworthy answers: with a known leader, not too old, and not filtered.
type client struct {
	api   *api.Client
	close func()
	cfg   Config
	base  api.Config
	grace time.Duration
	// overload is signalled when the agent refused connections.
	overload note
	// answered is called after a trustworthy answer.
	answered func()
	waits    *waits
	token    func() string
	// multiplexed reports whether answers come over HTTP/2, which carries many queries on one connection. Consul offers
	// it with https only, and an intermediary may not support it.
	multiplexed func() bool
}

// query is a read. Index zero asks for the current state, any other waits for a change.
type query struct {
	index      uint64
	consistent bool
	filter     string
	// most is the maximum wait if it is shorter than the configured one; else 0.
	most time.Duration
}

// reply is the metadata of an answer.
type reply struct {
	index uint64
	// early reports that a query with an index returned before its wait was over with the same index. Consul ends
	// waiting queries this way when a snapshot is restored: only a read without an index returns the new state.
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
		if q.most > 0 {
			o.WaitTime = min(o.WaitTime, q.most)
		}
		limit = longest(o.WaitTime) + c.grace
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return o.WithContext(ctx), cancel
}

// ask makes one query, and returns its answer if it is trustworthy. A query that was ended by an intermediary returns a
// *cutShort.
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
		if overloaded(err) {
			c.overload.say()
		}
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

// servicesUnless is services with a checksum that does not depend on the order. It returns no list if the checksum is
// known: decoding thousands of names would cost more than all else that a change costs.
func (c *client) servicesUnless(ctx context.Context, q query, seed maphash.Seed, known uint64) (list map[string][]string, sum uint64, r reply, err error) {
	ctx = sipping(ctx, sip{keeps: true, read: func(r io.Reader) ([]byte, error) {
		all, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if sum, err = sumServices(newLexer(bytes.NewReader(all)), seed); err == nil && known != 0 && sum == known {
			all = []byte(nothing)
		}
		return all, nil // decoding will report what is wrong
	}})
	list, r, err = c.services(ctx, q)
	return list, sum, r, err
}

// sumServices parses the answer of /v1/catalog/services.
func sumServices(l *lexer, seed maphash.Seed) (sum uint64, err error) {
	var h maphash.Hash
	h.SetSeed(seed)
	sum = 1 // 0 stands for no list, and an empty list is a list
	var name []byte
	_, err = l.object(func(key []byte) error {
		name = append(name[:0], key...)
		add := func(tag []byte) {
			h.Reset()
			_, _ = h.Write(name)
			_ = h.WriteByte(0)
			_, _ = h.Write(tag)
			sum += h.Sum64()
		}
		add(nil)
		if there, err := l.open('['); !there {
			return err
		}
		for {
			kind, tag, err := l.next()
			switch {
			case err != nil:
				return err
			case kind == ']':
				return nil
			case kind != '"':
				return errNotJSON
			}
			add(append([]byte{'='}, tag...))
		}
	})
	return sum, err
}

// instances reads the instances of a service with their checks, usable or not. Consul's own selection of passing ones
// has no stable order.
func (c *client) instances(ctx context.Context, service string, q query) ([]*api.ServiceEntry, reply, error) {
	q.filter = c.cfg.Filter
	return ask(ctx, c, q, whole, func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
		return c.api.Health().Service(service, "", false, o)
	})
}

// unwell lists all checks that are not passing. The query returns whenever any check changes, while its answer stays
// small.
func (c *client) unwell(ctx context.Context, q query) (api.HealthChecks, reply, error) {
	q.filter = `Status != "passing"`
	there := func(list api.HealthChecks) bool { return list != nil }
	return ask(ctx, c, q, there, func(o *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return c.api.Health().State(api.HealthAny, o)
	})
}

// connectionLimit returns the number of connections that the agent accepts from one address. The field is undocumented
// and needs agent:read, so Consul's default is used instead if it is missing.
func (c *client) connectionLimit(ctx context.Context) (int, error) {
	limit, _, err := c.toldLimit(ctx)
	return limit, err
}

// toldLimit is connectionLimit, and reports whether the limit came from the agent.
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

// trust returns why an answer is not trustworthy, or nil.
func (c *client) trust(o *api.QueryOptions, meta *api.QueryMeta, whole bool) error {
	accept := c.cfg.ACLFiltered == "accept"
	switch {
	case !meta.KnownLeader && meta.QueryBackend != api.QueryBackendStreaming:
		// Stale reads are answered even without a leader. Answers of the streaming backend never tell whether there is
		// one, as the server then just stops sending.
		return errNoLeader
	case meta.LastContact > maxAge:
		return fmt.Errorf("the answer is %s old, at most %s is believed", meta.LastContact, maxAge)
	case meta.ResultsFilteredByACLs && !accept:
		return errFiltered
	case meta.DefaultACLPolicy == "deny" && o.Token == "" && !accept:
		// Consul reports a filtered list only to those with a valid token. The agent's own default token counts.
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

// anonymous is the accessor ID of Consul's anonymous token.
const anonymous = "00000000-0000-0000-0000-000000000002"

// agentHasToken checks which token the agent uses for our requests without one. It may have a default token and lose it
// at any moment, so this is checked after every such answer.
func (c *client) agentHasToken(o *api.QueryOptions) error {
	self := *o.WithContext(context.WithValue(o.Context(), sipKey{}, nil)) // that belongs to the answer being judged
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
