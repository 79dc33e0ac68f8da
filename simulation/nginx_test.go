package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

// nginx has workers with a copy of the upstreams each. A change reaches the worker that answers, and the others when
// they are asked for something next.
type nginx struct {
	w       *world
	name    string
	local   bool             // on the machine of the daemon: it goes with its power
	own     map[string]block // of nginx.conf itself
	loaded  map[string]block // by the last start: what a new worker begins with
	workers []*worker
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
	has   map[string]block
	queue []post
}

// post is what a gateway is told of one upstream; without servers: delete it.
type post struct {
	name string
	to   block
}

func (p post) gone() bool { return len(p.to.servers) == 0 }

func (p post) makes(has map[string]block) {
	if p.gone() {
		delete(has, p.name)
	} else {
		has[p.name] = p.to
	}
}

func (p post) shown(has map[string]block) bool {
	is, there := has[p.name]
	if p.gone() {
		return !there
	}
	return there && is.text == p.to.text
}

// start is what nginx does at its start: it reads its configuration, or it does not come up.
func (n *nginx) start() {
	n.loaded = maps.Clone(n.own)
	if text := n.w.disk.visible(); len(text) > 0 {
		c, err := readConf(string(text), n.w.oracle.blocks)
		if err != nil {
			n.w.fail(12, "nginx %s does not start: %s", n.name, err)
			return
		}
		for name, b := range c.upstream {
			if _, twice := n.own[name]; twice {
				n.w.fail(12, "nginx %s does not start: upstream %s is in nginx.conf too", n.name, name)
				return
			}
			n.loaded[name] = b
		}
	}
	for i := range n.workers {
		n.spawn(i)
	}
}

// spawn puts a new worker in a place, with what was loaded last.
func (n *nginx) spawn(i int) {
	n.pids++
	n.touched++
	n.workers[i] = &worker{pid: n.pids, since: time.Now(), has: maps.Clone(n.loaded)}
	n.w.oracle.comesBack(n, n.workers[i])
	n.ill()
}

func (n *nginx) ill() { n.well = time.Now() }

// take is what becomes of a call that changes something.
func (n *nginx) take(a *adapter, p post) {
	if n.touched == a.touched {
		a.touched++
	}
	n.touched++
	first := n.w.rng.IntN(len(n.workers))
	if time.Now().Before(n.deaf) {
		if n.w.rng.IntN(2) == 0 {
			return // it says 200
		}
		p.makes(n.workers[first].has) // and tells nobody
		return
	}
	for i, w := range n.workers {
		if i == first {
			w.read()
			p.makes(w.has)
		} else {
			w.queue = append(w.queue, p)
		}
	}
}

func (w *worker) read() {
	for _, p := range w.queue {
		p.makes(w.has)
	}
	w.queue = nil
}

// byHand has a person change it at its interface.
func (n *nginx) byHand(p post) {
	n.touched++
	for _, w := range n.workers {
		w.read()
		p.makes(w.has)
	}
}

// everywhere reports whether all workers show it, those that have not read their queue yet as if they had.
func (n *nginx) everywhere(p post) bool {
	for _, w := range n.workers {
		has := maps.Clone(w.has)
		for _, q := range w.queue {
			q.makes(has)
		}
		if !p.shown(has) {
			return false
		}
	}
	return true
}

// adapter is a daemon's gateway to an nginx. It trusts nothing but what every worker shows.
type adapter struct {
	n *nginx
	d *daemon
	// lag is how long the next call is on its way.
	lag  time.Duration
	pids []int
	// What follows is for the oracle, and changes in turns alone.
	touched  int             // of nginx when all was read last
	failed   bool            // something went wrong since
	looked   time.Time       // when that was
	verified int             // the turn in which something was read back of all workers
	names    map[string]bool // of what; nil is all
}

var (
	errNoAnswer   = errors.New("no answer")
	errNotShown   = errors.New("not every worker shows it")
	errNewWorkers = errors.New("workers started meanwhile")
)

const callTimeout = 5 * time.Second

// call has something happen in nginx.
func (a *adapter) call(ctx context.Context, what string, do func()) error {
	if err := pause(ctx, a.lag); err != nil {
		return err
	}
	w := a.n.w
	err := w.turn(turn{daemon: a.d, actor: a.d.name + "/" + a.n.name, what: what, do: func() error {
		now := time.Now()
		most := 3 * time.Millisecond
		if now.Before(a.n.slow) {
			most = time.Second
		}
		a.lag = w.between(0, most)
		if now.Before(a.n.hung) {
			a.failed = true
			return errNoAnswer
		}
		do()
		return nil
	}})
	if errors.Is(err, errNoAnswer) {
		if err := pause(ctx, callTimeout); err != nil {
			return err
		}
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ask reads all workers, one by one.
func (a *adapter) ask(ctx context.Context, names map[string]bool) (copies []map[string]block, pids []int, err error) {
	last := len(a.n.workers) - 1
	for i := range a.n.workers {
		err := a.call(ctx, "ask "+strconv.Itoa(i), func() {
			w := a.n.workers[i]
			w.read()
			copies, pids = append(copies, maps.Clone(w.has)), append(pids, w.pid)
			if i == last {
				a.verified, a.names, a.d.asked = a.n.w.trace.lines, names, true
			}
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return copies, pids, nil
}

// Abilities implements gateway.Gateway.
func (a *adapter) Abilities() gateway.Abilities { return gateway.Abilities{} }

// Close implements gateway.Gateway.
func (a *adapter) Close() error { return nil }

// Live implements gateway.Gateway.
func (a *adapter) Live(ctx context.Context) (gateway.Live, error) {
	before := 0
	if err := a.call(ctx, "look", func() { before = a.n.touched }); err != nil {
		return gateway.Live{}, err
	}
	copies, pids, err := a.ask(ctx, nil)
	if err != nil {
		return gateway.Live{}, err
	}
	a.pids, a.touched, a.failed, a.looked = pids, before, false, time.Now()
	agreed := map[string]bool{}
	var list []upstream.Upstream
	for _, has := range copies {
		for name, b := range has {
			if agreed[name] {
				continue
			}
			agreed[name] = true
			u := upstream.Upstream{Name: name}
			if !slices.ContainsFunc(copies, func(o map[string]block) bool { return !(post{name, b}).shown(o) }) {
				u = words(name, b)
			}
			list = append(list, u)
		}
	}
	return gateway.Live{Set: upstream.NewSet(list), Reserved: slices.Sorted(maps.Keys(a.n.own))}, nil
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
		if err := a.call(ctx, what+p.name, func() {
			a.n.w.oracle.posts(a, p)
			a.n.take(a, p)
		}); err != nil {
			return err
		}
	}
	for try := 0; ; try++ {
		copies, pids, err := a.ask(ctx, names)
		switch {
		case err != nil:
			return err
		case a.pids != nil && !slices.Equal(pids, a.pids):
			return errNewWorkers
		}
		shown := !slices.ContainsFunc(copies, func(has map[string]block) bool {
			return slices.ContainsFunc(posts, func(p post) bool { return !p.shown(has) })
		})
		if shown {
			return nil
		}
		if try == 2 {
			return errNotShown
		}
	}
}

// words is a block in the product's words, and written the other way round.
func words(name string, b block) upstream.Upstream {
	u := upstream.Upstream{Name: name}
	for option := range strings.SplitSeq(b.options, ";") {
		if n, is := strings.CutPrefix(option, "keepalive "); is {
			u.Options.Keepalive, _ = strconv.Atoi(n)
		} else {
			u.Options.Method += option
		}
	}
	for _, e := range b.servers {
		s := upstream.Server{Addr: netip.MustParseAddrPort(e.addr), Down: e.down}
		for word := range strings.FieldsSeq(e.rest) {
			key, value, _ := strings.Cut(word, "=")
			n, _ := strconv.Atoi(strings.TrimSuffix(value, "s"))
			switch key {
			case "weight":
				s.Weight = n
			case "max_fails":
				s.MaxFails = n
			case "fail_timeout":
				s.FailTimeout = time.Duration(n) * time.Second
			}
		}
		u.Servers = append(u.Servers, s)
	}
	return u
}

func written(u upstream.Upstream) (b block) {
	if u.Options.Method != "" {
		b.options = u.Options.Method + ";"
	}
	if u.Options.Keepalive > 0 {
		b.options += fmt.Sprintf("keepalive %d;", u.Options.Keepalive)
	}
	for _, s := range u.Servers {
		e := entry{
			addr: s.Addr.String(), down: s.Down,
			rest: fmt.Sprintf("weight=%d max_fails=%d fail_timeout=%ds", s.Weight, s.MaxFails, int(s.FailTimeout.Seconds())),
		}
		if s.Down {
			e.rest += " down"
		}
		b.servers = append(b.servers, e)
	}
	return b.sealed()
}
