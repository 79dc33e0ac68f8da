package dyups

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"

	"swallowkeeper/upstream"
)

// copyOf is what a worker showed of its copy of the upstreams. It never changes.
type copyOf struct {
	set      upstream.Set
	reserved []string // in order
	shows    shown
	odd      map[upstream.Key]Odd // see Detail
}

// why says what can't be read of an upstream, "" where all can.
func (c *copyOf) why(name string) string {
	if c == nil {
		return ""
	}
	return c.odd[upstream.KeyOf(name)].Why
}

// twins says which upstreams the interface can't tell apart from one of this name, "" for none.
func (c *copyOf) twins(name string) string {
	if c != nil && c.odd[upstream.KeyOf(name)].Twins {
		return c.why(name)
	}
	return ""
}

// shown is how much of an upstream's servers a build shows.
type shown int

const (
	everyOption shown = iota
	butMaxConns
	addressesOnly
)

// keptBuffer is a buffer that is kept in any case.
const keptBuffer = 1 << 20

// read asks a worker for its whole copy. An answer of the same bytes as last time is
// not parsed again, and workers that answer alike share what was parsed.
func (g *Gateway) read(ctx context.Context, w *worker) error {
	if !g.noDetail {
		err := g.call(ctx, func(ctx context.Context) error { return w.client.rawDetail(ctx, &g.buffer, g.memory.mostShown()) })
		switch e := answerOf(err); {
		case err == nil:
			err = g.keep(w)
			if g.buffer.Cap() > keptBuffer && g.buffer.Cap() > 4*g.buffer.Len() {
				g.buffer = bytes.Buffer{} // an earlier answer was far larger
			}
			return err
		case e == nil || !e.NotFound():
			return err
		}
	}
	set, odd, err := g.readEach(ctx, w)
	if err != nil {
		return err
	}
	if !g.noDetail {
		g.noDetail = true
		g.log.Info("this dyups has no /detail: server options can't be compared, addresses are")
	}
	if w.copy == nil || !w.copy.set.Identical(set) {
		w.copy = &copyOf{set: set, shows: addressesOnly, odd: odd}
	}
	return nil
}

// keep parses what is in the buffer, unless that is known already.
func (g *Gateway) keep(w *worker) error {
	body := g.buffer.Bytes()
	hash := maphash.Bytes(g.seed, body) + maphash.String(g.seed, w.link.static)
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
	next := &copyOf{set: upstream.NewSet(d.Upstreams), reserved: reserved(w.link.static), shows: everyOption, odd: d.Odd}
	if !d.MaxConns {
		next.shows = butMaxConns
	}
	w.copy, w.hash = next, hash
	for _, o := range g.workers.list { // the order of names differs from worker to worker
		if o != w && o.copy != nil && o.copy.shows == next.shows && o.copy.set.Identical(next.set) &&
			slices.Equal(o.copy.reserved, next.reserved) {
			w.copy = o.copy
			break
		}
	}
	return nil
}

// reserved are the names that a header says nginx's own configuration has.
func reserved(header string) []string {
	var names []string
	for name := range strings.FieldsSeq(header) {
		if upstream.ValidName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// readEach is for builds without /detail.
func (g *Gateway) readEach(ctx context.Context, w *worker) (upstream.Set, map[upstream.Key]Odd, error) {
	var names []string
	err := g.call(ctx, func(ctx context.Context) (err error) {
		names, err = w.client.List(ctx)
		return err
	})
	if err != nil {
		return upstream.Set{}, nil, err
	}
	odd := map[upstream.Key]Odd{}
	list := make([]upstream.Upstream, 0, len(names))
	known := make(map[upstream.Key]string, len(names))
	for _, name := range names {
		key := upstream.KeyOf(name)
		if twin, ok := known[key]; ok {
			odd[key] = twinsOf(twin, name)
			continue
		}
		known[key] = name
		u, ok, why, err := g.readOne(ctx, w, name)
		if err != nil {
			return upstream.Set{}, nil, err
		}
		if ok {
			list = append(list, u)
		}
		if why != "" {
			odd[key] = Odd{Why: why}
		}
	}
	for i, u := range list {
		if odd[upstream.KeyOf(u.Name)].Twins {
			list[i].Servers = []upstream.Server{{}}
		}
	}
	return upstream.NewSet(list), odd, nil
}

// readOne asks a worker for the addresses of one upstream, sorted. An answer that can't be read
// has the zero address alone; why says so.
func (g *Gateway) readOne(
	ctx context.Context, w *worker, name string,
) (u upstream.Upstream, ok bool, why string, err error) {
	u = upstream.Upstream{Name: name}
	err = g.call(ctx, func(ctx context.Context) error {
		addrs, err := w.client.Upstream(ctx, name)
		slices.SortFunc(addrs, netip.AddrPort.Compare)
		for _, a := range slices.Compact(addrs) {
			u.Servers = append(u.Servers, upstream.Server{Addr: a, Weight: 1})
		}
		return err
	})
	switch e := answerOf(err); {
	case e != nil && e.NotFound():
		return u, false, "", nil
	case e != nil && e.Err != nil:
		u.Servers = []upstream.Server{{}}
		return u, true, e.Err.Error(), nil //nolint:nilerr // what can't be understood is an answer too
	}
	return u, err == nil, "", err
}

// call bounds one call in time. One that is refused is made again, at the pace that is allowed.
func (g *Gateway) call(ctx context.Context, do func(context.Context) error) error {
	for try := 1; ; try++ {
		if err := g.workers.slow.turn(ctx); err != nil {
			return err
		}
		err := g.callOnce(ctx, do)
		if !g.workers.slow.heard(err) || try == refusals {
			return err
		}
	}
}

func (g *Gateway) callOnce(ctx context.Context, do func(context.Context) error) error {
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
