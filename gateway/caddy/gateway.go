// Package caddy configures a Caddy through its admin API. A [Gateway] keeps everything that it manages below one object
// of Caddy's configuration, the route with the @id "swallowkeeper", and never reads or changes anything outside it.
//
// A change is one PATCH of that route's handlers. It is conditional: it fails if the configuration has changed since it
// was read. Afterwards the gateway reads the configuration back; Caddy runs what it shows. When Caddy restarts or loads
// another configuration, it loses the change, and the next check notices that.
package caddy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/budget"
	"swallowkeeper/upstream"
)

// Gateway is one Caddy. It is not safe for concurrent use.
type Gateway struct {
	config Config
	log    logrus.FieldLogger
	client *Client
	meter  *meter

	written *gateway.Written // the conf file's content at the start
	answers answers

	old   bool            // Caddy turned out to be old
	last  *sight          // last known state; nil if unknown
	doubt map[string]bool // upstreams of an interrupted change, which Caddy may still make
}

// sight is a configuration and our part of it.
type sight struct {
	document
	pieces []shown
	// set is what Caddy runs. An upstream that it runs only in part has no servers here.
	set upstream.Set
}

// Option is an optional setting of a gateway.
type Option func(*Gateway)

// WithBudget limits the memory for the answers of all peers.
func WithBudget(b *budget.Budget) Option { return func(g *Gateway) { g.client.Budget = b } }

// WithWritten answers Caddy's DNS queries from the conf file's content at the start, until a newer set arrives.
func WithWritten(w *gateway.Written) Option { return func(g *Gateway) { g.written = w } }

// New returns a gateway. It makes no call yet.
func New(c Config, log logrus.FieldLogger, options ...Option) *Gateway {
	g := &Gateway{config: c, log: log, client: NewClient(c.Address), doubt: map[string]bool{}}
	for _, option := range options {
		option(g)
	}
	return g
}

// Close stops the answers to Caddy, after updating the static servers that Caddy falls back to.
func (g *Gateway) Close() error {
	if g.answers.server == nil {
		return nil
	}
	var err error
	if g.answers.newer {
		err = g.leave()
	}
	g.answers.server.Close()
	g.answers = answers{}
	return err
}

// leave writes the servers that Caddy got by DNS into its configuration.
func (g *Gateway) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), g.config.Timeout)
	defer cancel()
	s, err := g.look(ctx)
	if err != nil {
		return err
	}
	return g.freshen(ctx, s)
}

// Live returns our part as Caddy shows it, which is what it runs. An upstream that somebody edited has no servers.
func (g *Gateway) Live(ctx context.Context) (gateway.Live, error) {
	// If another process answers already, as the daemon does beside a command, Caddy's notes are used.
	if err := g.open(ctx); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return gateway.Live{}, g.noAnswers(err)
	}
	s, err := g.look(ctx)
	if err != nil {
		return gateway.Live{}, err
	}
	set := g.answered(s.set)
	if since := g.answers.since; !since.IsZero() && time.Since(since) > stale {
		if err := g.freshen(ctx, s); err != nil {
			g.log.WithError(err).Warn("what Caddy falls back to is not up to date")
		}
	}
	if len(g.doubt) > 0 {
		set = blank(set, g.doubt)
	}
	return gateway.Live{Set: set}, nil
}

// look reads Caddy's configuration.
func (g *Gateway) look(ctx context.Context) (*sight, error) {
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	raw, etag, err := g.client.Config(ctx)
	for i := 0; i < mostTries && err != nil && dropped(err) && ctx.Err() == nil; i++ {
		raw, etag, err = g.client.Config(ctx)
	}
	if err != nil {
		return nil, g.explain(err)
	}
	if g.last != nil && g.last.raw == string(raw) {
		g.last.etag = etag
		return g.last, nil
	}
	g.last = nil
	d, err := read(raw, etag)
	if err != nil {
		return nil, err
	}
	if err := d.usable(); err != nil {
		return nil, err
	}
	s := &sight{document: d, pieces: d.pieces()}
	s.set = g.runs(s.pieces)
	g.last = s
	return s, nil
}

// explain adds what to do about a call's error.
func (g *Gateway) explain(err error) error {
	var failed *Error
	switch {
	case errors.As(err, &failed) && failed.Forbidden():
		return refuses.Err(failed.Brief(), `"`+strings.TrimPrefix(g.client.BaseURL, "http://")+`"`)
	case errors.As(err, &failed) && failed.Op == reading:
		return foreign.Err(g.config.Address, fmt.Sprintf("%d %s", failed.Status, failed.Brief()))
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		var op *net.OpError
		why := err
		if errors.As(err, &op) {
			why = op.Err
		}
		return noAdmin.Err(g.config.Address, why)
	}
	return err
}

// dialects returns the ways in which the existing part may have been written: for this Caddy, and for an older one.
func (g *Gateway) dialects() []dialect {
	now := g.dialect()
	other := now
	other.old = !now.old
	return []dialect{now, other}
}

func (g *Gateway) dialect() dialect {
	d := dialect{old: g.old, delay: g.config.StreamCloseDelay, rest: g.config.Listen != ""}
	if g.config.Mode == byDNS {
		d.asks = g.config.Resolver
	}
	return d
}

// runs returns the set that Caddy runs, compared with the notes in its configuration.
func (g *Gateway) runs(pieces []shown) upstream.Set {
	var list, lost []upstream.Upstream
	push := ""
	for _, p := range pieces {
		push += p.push()
		name, is := strings.CutPrefix(p.ID, upstreamID)
		if !is || upstream.ValidName(name) != nil {
			continue
		}
		u, err := upstreamOf(name, p.note())
		if err != nil {
			lost = append(lost, upstream.Upstream{Name: name})
			continue
		}
		list = append(list, u)
	}
	noted := upstream.NewSet(list)
	var fewest map[string]bool
	for i, d := range g.dialects() {
		differ := differing(render(noted, d, push), pieces)
		if i == 0 || len(differ) < len(fewest) {
			fewest = differ
		}
	}
	return blank(noted, fewest).With(lost, nil)
}

// differing returns the upstreams whose configuration in Caddy is not the one that their note implies.
func differing(want []piece, has []shown) map[string]bool {
	same := len(want) == len(has)
	for i := 0; same && i < len(want); i++ {
		same = equal(want[i].raw, has[i].raw)
	}
	differ := map[string]bool{}
	if same {
		return differ
	}
	byID := make(map[string][]byte, len(has))
	all := make(map[string]bool, len(has))
	for _, h := range has {
		byID[h.ID] = h.raw
		all[string(h.raw)] = true
	}
	everything := true // unless content or order differ, or there is more
	for _, w := range want {
		if w.id != "" && equal(w.raw, byID[w.id]) || w.id == "" && all[string(w.raw)] {
			continue
		}
		if w.owner == "" {
			everything = true
			break
		}
		differ[w.owner] = true
		everything = false
	}
	if everything {
		for _, w := range want {
			if w.owner != "" {
				differ[w.owner] = true
			}
		}
	}
	return differ
}

// equal reports whether two texts are the same JSON.
func equal(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 || len(a) != len(b) && len(a) > 2*len(b) {
		return false
	}
	var first, second any
	return json.Unmarshal(a, &first) == nil && json.Unmarshal(b, &second) == nil && reflect.DeepEqual(first, second)
}

// blank removes the servers of some upstreams.
func blank(set upstream.Set, names map[string]bool) upstream.Set {
	var put []upstream.Upstream
	for name := range names {
		if u, is := set.Get(name); is {
			u.Servers = nil
			put = append(put, u)
		}
	}
	if put == nil {
		return set
	}
	return set.With(put, nil)
}
