package caddy

import (
	"bytes"
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/dnsserver"
	"swallowkeeper/upstream"
)

// How Caddy gets servers in mode "dynamic": it asks for an upstream's addresses when a request comes and its last answer is
// older than refresh. So a change of servers is no change of its configuration, and closes no connection. The servers that
// stand in its configuration are those that it takes when nobody answers.
const (
	refresh = 500 * time.Millisecond
	// margin is how much later than that its clock may be.
	margin = 100 * time.Millisecond
	// mostDynamic is how many answers Caddy keeps.
	mostDynamic = 100
	// stale is how long what Caddy falls back to may be older than what it is answered.
	stale = time.Minute
	// zone is where all names are that Caddy asks for.
	zone = ".swallowkeeper."
)

// label is what a part of a name may be in DNS.
var label = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// dynamic are the upstreams whose servers Caddy can ask for: DNS has one port for a name and no weights.
func (d dialect) dynamic(set upstream.Set) map[string]bool {
	all := map[string]bool{}
	if d.asks == "" {
		return all
	}
	for u := range set.All() {
		if len(all) < mostDynamic && answerable(u) {
			all[u.Name] = true
		}
	}
	return all
}

func answerable(u upstream.Upstream) bool {
	if len(u.Name) > 200 {
		return false
	}
	for part := range strings.SplitSeq(u.Name, ".") {
		if !label.MatchString(part) {
			return false
		}
	}
	pool := usable(u)
	for _, s := range pool {
		if s.Addr.Port() != pool[0].Addr.Port() || s.Weight != pool[0].Weight || s.MaxConns != pool[0].MaxConns {
			return false
		}
	}
	return len(pool) > 0
}

// source is whom Caddy asks for an upstream.
func (d dialect) source(name string, port uint16) object {
	return object{
		"source": "a", "name": name + zone, "port": strconv.Itoa(int(port)),
		"refresh": refresh.String(), "resolver": object{"addresses": []any{"tcp/" + d.asks}},
	}
}

// answers is what Caddy is answered.
type answers struct {
	server *dnsserver.Server
	set    map[string]upstream.Upstream // by name, as they are answered
	since  time.Time                    // when they became other than what Caddy falls back to, zero where they are not
	newer  bool                         // and that was a change that was to be made
}

// open begins to answer, where that is wanted.
func (g *Gateway) open(ctx context.Context) error {
	if g.config.Mode != byDNS || g.answers.server != nil {
		return nil
	}
	addr, err := netip.ParseAddrPort(g.config.Resolver)
	if err != nil {
		return err
	}
	server, err := dnsserver.Listen(context.WithoutCancel(ctx), addr)
	if err != nil {
		return err
	}
	g.answers = answers{server: server, set: map[string]upstream.Upstream{}}
	return nil
}

// noAnswers says where questions can't be answered, and why.
func (g *Gateway) noAnswers(err error) error { return noResolver.Err(g.config.Resolver, err) }

// tell has an upstream answered. The channel is closed when Caddy has asked.
func (g *Gateway) tell(u upstream.Upstream) <-chan struct{} {
	var addrs []netip.Addr
	for _, s := range usable(u) {
		addrs = append(addrs, s.Addr.Addr())
	}
	g.answers.set[u.Name] = u
	return g.answers.server.Set(u.Name+zone, addrs)
}

// answered is a set as Caddy is answered: what it shows are the servers that it falls back to. What was never answered is
// answered now, as the conf file had it, or as Caddy has it.
func (g *Gateway) answered(noted upstream.Set) upstream.Set {
	if g.answers.server == nil {
		return noted
	}
	dynamic := g.dialect().dynamic(noted)
	for name := range g.answers.set {
		if !dynamic[name] {
			g.answers.server.Unset(name + zone)
			delete(g.answers.set, name)
		}
	}
	var put []upstream.Upstream
	for name := range dynamic {
		u, _ := noted.Get(name)
		if len(u.Servers) == 0 {
			continue
		}
		told, is := g.answers.set[name]
		if !is {
			told = u
			if w, wrote := g.written.Get().Get(name); wrote && g.sameShape(u, w) {
				told = w
			}
			g.tell(told)
		}
		if !g.sameShape(u, told) {
			continue
		}
		if !told.Same(u) {
			put = append(put, told)
			if g.answers.since.IsZero() {
				g.answers.since = time.Now()
			}
		}
	}
	if put == nil {
		g.answers.since = time.Time{}
		return noted
	}
	return noted.With(put, nil)
}

// sameShape reports whether two upstreams differ in nothing but what Caddy asks for.
func (g *Gateway) sameShape(a, b upstream.Upstream) bool {
	return a.Name == b.Name && a.Options == b.Options && a.SameRoutes(b) && answerable(a) && answerable(b) &&
		bytes.Equal(g.shape(a), g.shape(b))
}

func (g *Gateway) shape(u upstream.Upstream) []byte {
	r := renderer{dialect: g.dialect(), dynamic: map[string]bool{u.Name: true}}
	p := r.proxy(u, 0)
	delete(p, "upstreams")
	return encode(p)
}

// tellOnly makes changes by answers alone, where that will do, and waits until Caddy has no older ones.
func (a *attempt) tellOnly(ctx context.Context, s *sight, names []string) (done bool, err error) {
	if a.static || a.answers.server == nil || len(a.changes.Added)+len(a.changes.Removed) > 0 || a.doubted(names) {
		return false, nil
	}
	dynamic := a.dialect().dynamic(s.set)
	now := a.answered(s.set)
	for _, u := range a.changes.Updated {
		was, is := now.Get(u.New.Name)
		if !is || !dynamic[u.New.Name] || !a.sameShape(was, u.New) {
			return false, nil
		}
	}
	late := time.NewTimer(refresh + margin)
	defer late.Stop()
	var told []<-chan struct{}
	for _, u := range a.changes.Updated {
		told = append(told, a.tell(u.New))
	}
	a.posted, a.answers.newer = time.Now(), true
	if a.answers.since.IsZero() {
		a.answers.since = a.posted
	}
	a.meter.changed(answeredOutcome)
	for _, heard := range told {
		select {
		case <-heard:
		case <-late.C: // whoever asks from now on has the new ones
			return true, nil
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	return true, nil
}

// tellAll has all answered as it is in Caddy's configuration.
func (g *Gateway) tellAll(want upstream.Set) {
	if g.answers.server == nil {
		return
	}
	for name := range g.dialect().dynamic(want) {
		u, _ := want.Get(name)
		g.tell(u)
	}
	g.answers.since, g.answers.newer = time.Time{}, false
}

// freshen writes what Caddy is answered into its configuration, for the time when nobody answers.
func (g *Gateway) freshen(ctx context.Context, s *sight) error {
	set := g.answered(s.set)
	a := attempt{Gateway: g, changes: upstream.Diff(s.set, set), static: true}
	if a.changes.Empty() {
		return nil
	}
	return a.push(ctx, named(a.changes))
}
