// Package dyups talks to an nginx whose upstreams can be changed while it runs, by
// the HTTP API of the dyups module: Tengine's, or the standalone one. [Client] is the
// API, [Gateway] brings what nginx uses to what is wanted.
//
// Each nginx worker has its own copy of the upstreams. A change reaches the worker that
// answered at once, and the others when they read a shared queue: at a timer, or
// as soon as they answer any call. Where the answers name their worker, the gateway
// keeps a connection to each and asks every one of them; where not, it can only
// wait for the timer.
package dyups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

// Gateway is one nginx with the dyups module. Its calls come one after the other: it
// is not for concurrent use.
type Gateway struct {
	config  Config
	log     logrus.FieldLogger
	workers *workers
	pace    *pace
	memory  *memory
	crew    []gateway.Worker
	written *gateway.Written // nil once memory has it

	seed     maphash.Seed
	buffer   bytes.Buffer
	noDetail bool // the build has no /detail

	last         upstream.Set // what Live answered for these copies and this memory
	lastReserved []string
	lastCopies   []*copyOf
	lastVersion  int
}

// New makes a gateway. It opens no connection before it is asked.
func New(c Config, log logrus.FieldLogger, options ...Option) *Gateway {
	base, dial := endpoint(c.Address)
	g := &Gateway{
		config: c, log: log, seed: maphash.MakeSeed(),
		pace:   newPace(c.QueueBytes, c.ReadMsgTimeout),
		memory: newMemory(),
	}
	g.workers = &workers{
		base: base, dial: dial, timeout: c.Timeout, patience: 2*c.ReadMsgTimeout + 3*time.Second, log: log,
		slow:    slow{log: log},
		crashed: g.memory.crashed,
		reloaded: func() {
			g.memory.reloaded()
			g.noDetail = false // it may be another build
		},
	}
	for _, option := range options {
		option(g)
	}
	return g
}

// Close closes the connections that are kept.
func (g *Gateway) Close() error {
	g.workers.closeAll()
	return nil
}

// remember takes what nginx loaded into the memory, once. The API shows neither keepalive nor
// the balancing method, so they are taken to be as written until something else is posted.
// What was never written counts as unset, and is posted once where something else is wanted.
func (g *Gateway) remember() {
	if g.written != nil {
		g.memory.assume(g.written.Get())
		g.written = nil
	}
}

// Live reads what nginx uses. Upstreams about which the workers disagree, or may
// disagree in what they do not show, have no servers in the answer.
//
// A worker that starts when something was posted already sleeps for twice the read
// timeout, and then serves what nginx loaded last: the answer is unsettled so long.
func (g *Gateway) Live(ctx context.Context) (gateway.Live, error) {
	g.remember()
	if err := g.workers.meet(ctx, true); err != nil {
		return gateway.Live{}, err
	}
	for try := 1; ; try++ {
		copies, err := g.copies(ctx)
		if err != nil {
			return gateway.Live{}, err
		}
		// A worker that finds the queue locked answers without reading it.
		if try == tries || len(disputed(copies)) == 0 {
			g.muster(true)
			set, reserved := g.together(copies)
			return gateway.Live{Set: set, Reserved: reserved, Workers: g.crew, Unsettled: g.workers.incomplete()}, nil
		}
		if err := wait(ctx, time.Duration(try)*time.Millisecond); err != nil {
			return gateway.Live{}, err
		}
	}
}

// tries is how often a question is asked whose answer may be a moment old.
const tries = 3

// copies asks each worker for all of its upstreams.
func (g *Gateway) copies(ctx context.Context) ([]*copyOf, error) {
	asked := map[*worker]bool{}
	for try := 1; ; try++ {
		var lost error
		copies := make([]*copyOf, 0, len(g.workers.list))
		for _, w := range g.workers.list {
			if !asked[w] {
				switch err := g.readSettled(ctx, w); {
				case err == nil:
					asked[w] = true
				case isAnswer(err) || ctx.Err() != nil:
					return nil, fmt.Errorf("%s: %w", w, err)
				default:
					w.link.close()
					lost = err
					continue
				}
			}
			copies = append(copies, w.copy)
		}
		switch {
		case lost == nil && len(copies) > 0:
			return copies, nil
		case try == tries:
			return nil, errors.Join(errNoWorker, lost)
		}
		if err := g.workers.meet(ctx, false); err != nil {
			return nil, errors.Join(lost, err)
		}
	}
}

// readSettled is read, and where workers can't be told apart asks again for what looks
// new: the worker may have found the queue locked.
func (g *Gateway) readSettled(ctx context.Context, w *worker) error {
	before := w.copy
	err := g.read(ctx, w)
	if err == nil && g.workers.plain && w.copy != before {
		err = g.read(ctx, w)
	}
	return err
}

// together is what all copies agree on, completed by what they do not show, and the names that any of them
// says nginx's own configuration has.
func (g *Gateway) together(copies []*copyOf) (set upstream.Set, reserved []string) {
	if g.lastCopies != nil && g.lastVersion == g.memory.version && slices.Equal(copies, g.lastCopies) {
		return g.last, g.lastReserved
	}
	differ := disputed(copies)
	var list []upstream.Upstream
	for u := range copies[0].set.All() {
		u = g.memory.fill(u, copies[0].shows)
		if differ[upstream.KeyOf(u.Name)] {
			u.Servers = nil
		}
		list = append(list, u)
	}
	for _, c := range copies[1:] {
		for u := range c.set.All() {
			if _, ok := copies[0].set.Get(u.Name); !ok && differ[upstream.KeyOf(u.Name)] {
				delete(differ, upstream.KeyOf(u.Name)) // once
				list = append(list, upstream.Upstream{Name: u.Name})
			}
		}
	}
	for i, c := range copies {
		if i == 0 || c != copies[0] {
			reserved = append(reserved, c.reserved...)
		}
	}
	slices.Sort(reserved)
	g.last, g.lastReserved = upstream.NewSet(list), slices.Compact(reserved)
	g.lastCopies, g.lastVersion = copies, g.memory.version
	return g.last, g.lastReserved
}

// disputed names, in lower case, the upstreams in which some copy differs from the first.
func disputed(copies []*copyOf) map[upstream.Key]bool {
	differ := map[upstream.Key]bool{}
	for _, c := range copies[1:] {
		if c == copies[0] {
			continue
		}
		for u := range c.set.All() {
			o, ok := copies[0].set.Get(u.Name)
			if !ok || u.Name != o.Name || !slices.EqualFunc(u.Servers, o.Servers, upstream.Server.Same) {
				differ[upstream.KeyOf(u.Name)] = true
			}
		}
		for u := range copies[0].set.All() {
			if _, ok := c.set.Get(u.Name); !ok {
				differ[upstream.KeyOf(u.Name)] = true
			}
		}
	}
	return differ
}

var errNoWorker = errors.New("no nginx worker keeps its connection")

func isAnswer(err error) bool {
	return answerOf(err) != nil
}
