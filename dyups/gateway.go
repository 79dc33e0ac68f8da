// Package dyups updates the upstreams of a running nginx through the HTTP API of the dyups module: Tengine's, or the
// standalone one. [Client] implements the API, and [Gateway] brings nginx to the wanted state.
//
// Each nginx worker has its own copy of the upstreams. A change takes effect at once in the worker that answers. The
// others make it when they read a shared queue: on a timer, or before they answer a call. If answers identify their
// worker, the gateway keeps a connection to each worker and asks all of them. If not, it can only wait for the timer.
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

// Gateway is one nginx with the dyups module. It is not safe for concurrent use.
type Gateway struct {
	config  Config
	log     logrus.FieldLogger
	workers *workers
	pace    *pace
	memory  *memory
	crew    []gateway.Worker
	written *gateway.Written // nil once it is in memory

	seed     maphash.Seed
	buffer   bytes.Buffer
	noDetail bool // the build has no /detail

	last         upstream.Set // Live's last result, for lastCopies and lastVersion
	lastReserved []string
	lastCopies   []*copyOf
	lastVersion  int
}

// New returns a gateway. It opens no connection before the first call.
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
			g.noDetail = false // may be a different build
		},
	}
	for _, option := range options {
		option(g)
	}
	return g
}

// Close closes the kept connections.
func (g *Gateway) Close() error {
	g.workers.closeAll()
	return nil
}

// remember copies what nginx loaded into the memory, once. The API shows neither keepalive nor the balancing method, so
// they are assumed to be as written until something else is posted. An upstream that was never written counts as having
// none, and is posted once if it should.
func (g *Gateway) remember() {
	if g.written != nil {
		g.memory.assume(g.written.Get())
		g.written = nil
	}
}

// Live returns the upstreams that nginx uses. An upstream has no servers in the result if the workers disagree about
// it, or may disagree about options that they do not show.
//
// A worker that starts after something was posted sleeps for twice the read timeout, and then serves what nginx loaded
// last. For that time, the result is unsettled.
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
		if try == maxTries || len(disputed(copies)) == 0 {
			g.noteWorkers(true)
			set, reserved := g.merge(copies)
			return gateway.Live{Set: set, Reserved: reserved, Workers: g.crew, Unsettled: g.workers.unsettled()}, nil
		}
		if err := wait(ctx, time.Duration(try)*time.Millisecond); err != nil {
			return gateway.Live{}, err
		}
	}
}

// maxTries is how often to ask when an answer may be slightly outdated.
const maxTries = 3

// copies reads the whole copy of each worker.
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
		case try == maxTries:
			return nil, errors.Join(errNoWorker, lost)
		}
		if err := g.workers.meet(ctx, false); err != nil {
			return nil, errors.Join(lost, err)
		}
	}
}

// readSettled reads a copy. If workers can't be distinguished, it reads a changed copy again: the worker may have found
// the queue locked.
func (g *Gateway) readSettled(ctx context.Context, w *worker) error {
	before := w.copy
	err := g.read(ctx, w)
	if err == nil && g.workers.plain && w.copy != before {
		err = g.read(ctx, w)
	}
	return err
}

// merge combines the copies: the upstreams they agree on, completed from memory by what they do not show, and the
// names that any of them reserves.
func (g *Gateway) merge(copies []*copyOf) (set upstream.Set, reserved []string) {
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
				delete(differ, upstream.KeyOf(u.Name)) // only once
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

// disputed returns the upstreams in which some copy differs from the first.
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
