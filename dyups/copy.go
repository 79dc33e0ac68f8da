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

// copyOf is an immutable snapshot of a worker's copy of the upstreams.
type copyOf struct {
	set      upstream.Set
	reserved []string // sorted
	shows    shown
	odd      map[upstream.Key]Odd // see Detail
}

// why returns why an upstream can't be read, or "".
func (c *copyOf) why(name string) string {
	if c == nil {
		return ""
	}
	return c.odd[upstream.KeyOf(name)].Why
}

// twins returns which upstreams the interface can't distinguish from the named one, or "".
func (c *copyOf) twins(name string) string {
	if c != nil && c.odd[upstream.KeyOf(name)].Twins {
		return c.why(name)
	}
	return ""
}

// shown is how much a build shows of an upstream's servers.
type shown int

const (
	everyOption shown = iota
	butMaxConns
	addressesOnly
)

// keptBuffer is the buffer size below which the buffer is always kept.
const keptBuffer = 1 << 20

// read reads a worker's whole copy. An answer identical to the last one is not parsed again, and workers with equal
// answers share one copyOf.
func (g *Gateway) read(ctx context.Context, w *worker) error {
	if there, err := g.detail(ctx, w); err != nil {
		return err
	} else if there {
		return g.keep(w)
	}
	set, odd, err := g.readEach(ctx, w)
	if err != nil {
		return err
	}
	if w.copy == nil || !w.copy.set.Identical(set) {
		w.copy = &copyOf{set: set, shows: addressesOnly, odd: odd}
	}
	return nil
}

// detail reads a worker's whole copy into the buffer. It reports false if the build can't do that.
func (g *Gateway) detail(ctx context.Context, w *worker) (there bool, err error) {
	if g.noDetail {
		return false, nil
	}
	if g.buffer.Cap() > keptBuffer && g.buffer.Cap() > 4*g.buffer.Len() {
		g.buffer = bytes.Buffer{} // an earlier answer was far larger
	}
	err = g.call(ctx, func(ctx context.Context) error { return w.client.rawDetail(ctx, &g.buffer, g.memory.maxDetailSize()) })
	if e := answerOf(err); e != nil && e.NotFound() {
		g.noDetail = true
		g.log.Info("this dyups has no /detail: server options can't be compared, addresses are")
		return false, nil
	}
	return err == nil, err
}

// glimpse reads some upstreams of a worker with their server options. It scans the whole answer, but parses only those
// upstreams. It returns nil if the build has no /detail.
func (g *Gateway) glimpse(ctx context.Context, w *worker, changes []*change) (*copyOf, error) {
	there, err := g.detail(ctx, w)
	if err != nil || !there {
		return nil, err
	}
	names := make(map[upstream.Key]bool, len(changes))
	for _, c := range changes {
		names[upstream.KeyOf(c.name)] = true
	}
	d, err := decodeDetail(blocksOf(g.buffer.Bytes(), names))
	if err != nil {
		return nil, err
	}
	return copyFrom(d), nil
}

func copyFrom(d Detail) *copyOf {
	c := &copyOf{set: upstream.NewSet(d.Upstreams), shows: everyOption, odd: d.Odd}
	if !d.MaxConns {
		c.shows = butMaxConns
	}
	return c
}

// keep parses the buffer, unless that answer was parsed already.
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
	next := copyFrom(d)
	next.reserved = reserved(w.link.static)
	w.copy, w.hash = next, hash
	for _, o := range g.workers.list { // the order of names differs between workers
		if o != w && o.copy != nil && o.copy.shows == next.shows && o.copy.set.Identical(next.set) &&
			slices.Equal(o.copy.reserved, next.reserved) {
			w.copy = o.copy
			break
		}
	}
	return nil
}

// reserved returns the names listed in a static header.
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

// readEach reads a worker's whole copy from builds without /detail.
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

// readOne reads the addresses of one upstream, sorted. If the answer can't be parsed, the upstream has a single zero
// server, and why says so.
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
		return u, true, e.Err.Error(), nil //nolint:nilerr // an answer that can't be parsed is an answer too
	}
	return u, err == nil, "", err
}

// call makes a call with the configured timeout. If nginx refuses it, call tries again at the allowed rate.
func (g *Gateway) call(ctx context.Context, do func(context.Context) error) error {
	for try := 1; ; try++ {
		if err := g.workers.slow.turn(ctx); err != nil {
			return err
		}
		err := g.callOnce(ctx, do)
		if !g.workers.slow.observe(err) || try == maxRefusals {
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
