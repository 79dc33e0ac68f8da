package simulation

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

// nginx has workers with a copy of the upstreams each. A change reaches the worker that answers, and the others when
// they are asked for something next.
type nginx struct {
	w       *world
	name    string
	routed  bool             // it has routes, as one that is reloaded
	local   bool             // on the machine of the daemon: it goes with its power
	own     map[string]block // of nginx.conf itself
	loaded  *table           // by the last start: what a new worker begins with
	workers []*worker
	size    int // how many workers it has, but for those that crashed a moment ago
	pids    int
	touched int                  // how often it was changed by whomever
	strange map[string]time.Time // what a person put there, that was not ours then
	excused map[string]bool      // what a new worker brought back: nobody can tell whose it is

	hung, slow, deaf time.Time // until then it does not answer, answers late, says yes and does nothing
	well             time.Time // since when nothing is wrong with it
}

type worker struct {
	pid   int
	since time.Time
	has   *table
	queue []post
}

// post is what a gateway is told of one upstream; without servers: delete it.
type post struct {
	name string
	to   block
}

func (p post) gone() bool { return len(p.to.servers) == 0 }

func (p post) shown(t *table) bool {
	is, there := t.blocks[p.name]
	if p.gone() {
		return !there
	}
	return there && is.seen(t.routed) == p.to.seen(t.routed)
}

// start is what nginx does at its start: it reads its configuration, or it does not come up.
func (n *nginx) start() {
	blocks := maps.Clone(n.own)
	if text := n.w.disk.visible(); len(text) > 0 {
		c, err := readConf(string(text), n.w.disk.shard, n.w.oracle.blocks)
		if err != nil {
			n.w.fail(12, "nginx %s does not start: %s", n.name, err)
			return
		}
		for name, b := range c.upstream {
			if _, twice := n.own[name]; twice {
				n.w.fail(12, "nginx %s does not start: upstream %s is in nginx.conf too", n.name, name)
				return
			}
			blocks[name] = b
		}
	}
	n.loaded = newTable(blocks, n.routed)
	n.workers = nil
	n.spawn()
}

// spawn fills the places of workers with new ones, which have what was loaded last and none of what was told since.
func (n *nginx) spawn() {
	for len(n.workers) < n.size {
		n.pids++
		n.touched++
		n.workers = append(n.workers, &worker{pid: n.pids, since: time.Now(), has: n.loaded})
		n.w.oracle.comesBack(n, n.workers[len(n.workers)-1])
		n.ill()
	}
}

// crash is the end of a worker. The one that takes its place sleeps first.
func (n *nginx) crash() {
	if len(n.workers) == 0 {
		return
	}
	i := n.w.rng.IntN(len(n.workers))
	n.workers = slices.Delete(slices.Clone(n.workers), i, i+1)
	n.touched++
	n.ill()
	n.w.after(n.w.between(0, 2*time.Second), "", n.spawn)
}

func (n *nginx) ill() { n.well = time.Now() }

// isWell reports whether nothing is wrong with it.
func (n *nginx) isWell() bool {
	now := time.Now()
	return len(n.workers) == n.size && now.After(n.hung) && now.After(n.slow) && now.After(n.deaf)
}

// take is what becomes of a call that changes something, and what the call says.
func (n *nginx) take(a *adapter, p post) error {
	if n.touched == a.touched {
		a.touched++
	}
	n.touched++
	first := n.w.rng.IntN(len(n.workers))
	if time.Now().Before(n.deaf) {
		how := n.w.rng.IntN(3)
		if how > 0 { // it tells none of the others
			n.workers[first].has = n.workers[first].has.with(p)
		}
		if how > 1 {
			return errNoRoom
		}
		return nil
	}
	for i, w := range n.workers {
		if i == first {
			w.read()
			w.has = w.has.with(p)
		} else {
			w.queue = append(w.queue, p)
		}
	}
	return nil
}

func (w *worker) read() {
	for _, p := range w.queue {
		w.has = w.has.with(p)
	}
	w.queue = nil
}

// byHand has a person change it at its interface.
func (n *nginx) byHand(p post) {
	n.touched++
	for _, w := range n.workers {
		w.read()
		w.has = w.has.with(p)
	}
}

// everywhere reports whether all workers show it, those that have not read their queue yet as if they had.
func (n *nginx) everywhere(p post) bool {
	for _, w := range n.workers {
		has := w.has
		for _, q := range w.queue {
			has = has.with(q)
		}
		if !p.shown(has) {
			return false
		}
	}
	return true
}

// adapter is a daemon's gateway to an nginx. It trusts nothing but what every worker shows.
type adapter struct {
	n     *nginx
	d     *daemon
	actor string
	timer *time.Timer // of the way to it
	// lag is how long the next call is on its way.
	lag  time.Duration
	pids []int
	// What follows is for the oracle, and changes in turns alone.
	touched  int             // of nginx when all was read last
	failed   bool            // something went wrong since
	behind   bool            // or a worker showed what it had before it had read its queue
	looked   time.Time       // when that was
	verified int             // the turn in which something was read back of all workers
	names    map[string]bool // of what; nil is all
	older    *version        // what another process had written when it was begun to be told; nil: nothing
}

var (
	errNoAnswer   = errors.New("no answer")
	errNoRoom     = errors.New("update success but not sync to other process")
	errNotShown   = errors.New("not every worker shows it")
	errNewWorkers = errors.New("workers started meanwhile")
)

const callTimeout = 5 * time.Second

// call has something happen in nginx.
func (a *adapter) call(ctx context.Context, what string, do func()) error {
	if err := a.pause(ctx, a.lag); err != nil {
		return err
	}
	w := a.n.w
	err := w.turn(turn{daemon: a.d, actor: a.actor, what: what, do: func() error {
		now := time.Now()
		most := 3 * time.Millisecond
		if now.Before(a.n.slow) {
			most = time.Second
		}
		a.lag = w.between(0, most)
		if now.Before(a.n.hung) || len(a.n.workers) == 0 {
			a.failed = true
			return errNoAnswer
		}
		do()
		return nil
	}})
	if errors.Is(err, errNoAnswer) {
		if err := a.pause(ctx, callTimeout); err != nil {
			return err
		}
	}
	return err
}

func (a *adapter) pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	if a.timer == nil {
		a.timer = time.NewTimer(d)
	} else {
		a.timer.Reset(d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a.timer.C:
		return nil
	}
}

var asks = []string{"ask 0", "ask 1", "ask 2"}

// ask reads all workers, one by one.
func (a *adapter) ask(ctx context.Context, names map[string]bool) (tables []*table, pids []int, err error) {
	for done := false; !done; {
		i, changed := len(pids), false
		err := a.call(ctx, asks[i], func() {
			if changed = i >= len(a.n.workers); changed {
				return
			}
			w := a.n.workers[i]
			if a.n.w.rng.IntN(8) > 0 {
				w.read()
			} else if len(w.queue) > 0 { // the queue is locked
				a.behind = true
			}
			tables, pids = append(tables, w.has), append(pids, w.pid)
			if done = len(pids) == len(a.n.workers); done {
				changed = !slices.EqualFunc(pids, a.n.workers, func(pid int, w *worker) bool { return pid == w.pid })
				a.verified, a.names, a.d.asked = a.n.w.trace.lines, names, true
			}
		})
		if err == nil && changed {
			err = errNewWorkers
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return tables, pids, nil
}

// Abilities implements gateway.Gateway.
func (a *adapter) Abilities() gateway.Abilities {
	able := gateway.Nginx()
	if a.n.routed {
		able.Routes = gateway.AllRoutes()
	}
	return able
}

// Close implements gateway.Gateway.
func (a *adapter) Close() error { return nil }

// Live implements gateway.Gateway.
func (a *adapter) Live(ctx context.Context) (gateway.Live, error) {
	before := 0
	if err := a.call(ctx, "look", func() { before, a.behind = a.n.touched, false }); err != nil {
		return gateway.Live{}, err
	}
	tables, pids, err := a.ask(ctx, nil)
	if err != nil {
		return gateway.Live{}, err
	}
	a.pids, a.touched, a.failed, a.looked = pids, before, false, time.Now()
	return gateway.Live{Set: agreed(tables), Reserved: slices.Sorted(maps.Keys(a.n.own))}, nil
}

// Apply implements gateway.Gateway.
func (a *adapter) Apply(ctx context.Context, c upstream.Changes) (gateway.Receipt, error) {
	var posts []post
	for _, u := range c.Added {
		posts = append(posts, post{u.Name, written(u)})
	}
	for _, u := range c.Updated {
		posts = append(posts, post{u.New.Name, written(u.New)})
	}
	for _, u := range c.Removed {
		posts = append(posts, post{name: u.Name})
	}
	a.older = a.n.w.oracle.overtaken(a.d)
	err := a.apply(ctx, posts)
	a.failed = a.failed || err != nil
	return gateway.Receipt{}, err
}

func (a *adapter) apply(ctx context.Context, posts []post) error {
	names := map[string]bool{}
	for _, p := range posts {
		names[p.name] = true
		what := "post "
		if p.gone() {
			what = "delete "
		}
		var refused error
		err := a.call(ctx, what+p.name, func() {
			a.n.w.oracle.posts(a, p)
			a.n.w.trace.with(p.to.full)
			refused = a.n.take(a, p)
		})
		if err = cmp.Or(err, refused); err != nil {
			return err
		}
	}
	for try := 0; ; try++ {
		tables, pids, err := a.ask(ctx, names)
		switch {
		case err != nil:
			return err
		case a.pids != nil && !slices.Equal(pids, a.pids):
			return errNewWorkers
		}
		shown := !slices.ContainsFunc(tables, func(t *table) bool {
			return slices.ContainsFunc(posts, func(p post) bool { return !p.shown(t) })
		})
		if shown {
			return nil
		}
		if try == 2 {
			return errNotShown
		}
	}
}
