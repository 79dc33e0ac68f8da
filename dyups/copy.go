package dyups

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// copyOf is what a worker showed of its copy of the upstreams. It never changes.
type copyOf struct {
	set   upstream.Set
	shows shown
}

// shown is how much of an upstream's servers a build shows.
type shown int

const (
	everyOption shown = iota
	butMaxConns
	addressesOnly
)

// read asks a worker for its whole copy. An answer of the same bytes as last time is
// not parsed again, and workers that answer alike share what was parsed.
func (g *Gateway) read(ctx context.Context, w *worker) error {
	if !g.noDetail {
		err := g.call(ctx, func(ctx context.Context) error { return w.client.rawDetail(ctx, &g.buffer) })
		switch e := answerOf(err); {
		case err == nil:
			return g.keep(w)
		case e == nil || !e.NotFound():
			return err
		}
	}
	set, err := g.readEach(ctx, w)
	if err != nil {
		return err
	}
	if !g.noDetail {
		g.noDetail = true
		g.log.Info("this dyups has no /detail: server options can't be compared, addresses are")
	}
	if w.copy == nil || !w.copy.set.Identical(set) {
		w.copy = &copyOf{set: set, shows: addressesOnly}
	}
	return nil
}

// keep parses what is in the buffer, unless that is known already.
func (g *Gateway) keep(w *worker) error {
	body := g.buffer.Bytes()
	hash := maphash.Bytes(g.seed, body)
	for _, o := range append([]*worker{w}, g.workers.list...) {
		if o.copy != nil && o.hash == hash {
			w.copy, w.hash = o.copy, hash
			return nil
		}
	}
	d, err := decodeDetail(body)
	if err != nil {
		return err
	}
	next := &copyOf{set: upstream.NewSet(d.Upstreams), shows: everyOption}
	if !d.MaxConns {
		next.shows = butMaxConns
	}
	w.copy, w.hash = next, hash
	for _, o := range g.workers.list { // the order of names differs from worker to worker
		if o != w && o.copy != nil && o.copy.shows == next.shows && o.copy.set.Identical(next.set) {
			w.copy = o.copy
			break
		}
	}
	return nil
}

// readEach is for builds without /detail.
func (g *Gateway) readEach(ctx context.Context, w *worker) (upstream.Set, error) {
	var names []string
	err := g.call(ctx, func(ctx context.Context) (err error) {
		names, err = w.client.List(ctx)
		return err
	})
	if err != nil {
		return upstream.Set{}, err
	}
	list := make([]upstream.Upstream, 0, len(names))
	for _, name := range names {
		u, ok, err := g.readOne(ctx, w, name)
		if err != nil {
			return upstream.Set{}, err
		}
		if ok {
			list = append(list, u)
		}
	}
	return upstream.NewSet(list), nil
}

// readOne asks a worker for the addresses of one upstream, sorted.
func (g *Gateway) readOne(
	ctx context.Context, w *worker, name string,
) (u upstream.Upstream, ok bool, err error) {
	err = g.call(ctx, func(ctx context.Context) error {
		addrs, err := w.client.Upstream(ctx, name)
		slices.SortFunc(addrs, netip.AddrPort.Compare)
		u = upstream.Upstream{Name: name}
		for _, a := range slices.Compact(addrs) {
			u.Servers = append(u.Servers, upstream.Server{Addr: a, Weight: 1})
		}
		return err
	})
	if e := answerOf(err); e != nil && e.NotFound() {
		return u, false, nil
	}
	return u, err == nil, err
}

// call bounds one call in time.
func (g *Gateway) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := withTimeout(ctx, g.config.Timeout)
	defer cancel()
	return do(ctx)
}

func (w *worker) String() string {
	if w.pid == "" {
		return "nginx"
	}
	return fmt.Sprintf("nginx worker %s", w.pid)
}
