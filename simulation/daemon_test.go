package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/retry"
	"swallowkeeper/persist"
	"swallowkeeper/syncer"
)

// daemon is one process: the real syncer, guard, store and delivery, on the simulated world.
type daemon struct {
	w          *world
	name, host string
	process    int // its number: no two starts have the same
	limits     guard.Config
	sources    []*source
	adapters   []*adapter
	witness    *witness       // nil: it has none
	syncer     *syncer.Syncer // nil until it has the conf file
	began      time.Time
	ctx        context.Context //nolint:containedctx // the process
	cancel     context.CancelFunc
	ended      chan error
	next       *guard.Config // it is being reloaded, and goes on with that

	dead    bool      // guarded by the world's mu
	orders  int       // of people, that are being carried out
	ordered time.Time // when the last of them was
	asked   bool      // a gateway has just shown something
	written []generation.Generation
	checked map[string]time.Time // when each gateway's state was looked at last, for the oracle
}

// silent is a log that discards everything at no cost.
func silent() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.SetLevel(logrus.PanicLevel)
	return log
}

// daemons returns the running daemons.
func (w *world) daemons() iter.Seq[*daemon] {
	return func(yield func(*daemon) bool) {
		_ = (w.daemon == nil || yield(w.daemon)) && (w.other == nil || yield(w.other))
	}
}

// quarrels reports whether a second daemon is active, or was a moment ago: each writes and sends things that
// the other does not know yet.
func (w *world) quarrels() bool { return time.Since(w.quarrel) < longestDelivery }

// starts starts a daemon; with an error it ends at once.
func (w *world) starts(name, host string, limits guard.Config) *daemon {
	w.processes++
	d := &daemon{w: w, name: name, host: host, process: w.processes, limits: limits, began: time.Now(), ended: make(chan error, 1), checked: map[string]time.Time{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for _, r := range w.land {
		d.sources = append(d.sources, &source{w: w, r: r, d: d, listed: map[string]time.Time{}, routes: map[string]time.Time{}, gone: map[string]time.Time{}, before: map[string]time.Time{}, last: map[string]time.Time{}})
	}
	for _, n := range w.front {
		d.adapters = append(d.adapters, &adapter{n: n, d: d, actor: name + "/" + n.name, lag: w.between(0, time.Millisecond)})
	}
	if w.script.witness {
		d.witness = &witness{
			d: d, lag: w.between(time.Millisecond, secondTry), wake: make(chan struct{}, 1), wanted: map[netip.AddrPort]bool{}, servers: map[netip.AddrPort]*suspect{},
		}
	}
	w.trace.line("world", name+" starts on "+host)
	w.oracle.begins()
	go func() { d.ended <- d.run() }()
	return d
}

func (d *daemon) run() (err error) {
	config := persist.Config{Path: confPath, CheckTimeout: time.Second, ShardAbove: "0", History: 4}
	if d.w.seed%3 == 0 {
		config.ShardAbove = "1KB"
	}
	file, err := persist.OpenOn(view{d.w, d}, d.writer(), config, silent())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	on := store{file, d}
	if _, err := on.Load(); err != nil {
		return err
	}
	parts := syncer.Parts{
		Guard: d.limits, Store: on, Schedule: patient(), Log: silent(), Event: d.event, Changed: d.rest,
		Retry: retry.Policy{First: 200 * time.Millisecond, Longest: 15 * time.Second, Healthy: 30 * time.Second, Steady: true},
	}
	for _, s := range d.sources {
		parts.Sources = append(parts.Sources, syncer.Source{Name: s.r.name, Registry: s})
	}
	for i, a := range d.adapters {
		parts.Targets = append(parts.Targets, syncer.Target{Name: a.n.name, Gateway: a, Resync: d.w.script.resync + time.Duration(i)*7*time.Millisecond})
	}
	if d.witness != nil {
		parts.Witness = d.witness
	}
	s := syncer.New(parts)
	if err := d.w.turn(turn{daemon: d, actor: d.name, loop: true, what: "begins", do: func() error { d.syncer = s; return nil }}); err != nil {
		return err
	}
	return s.Run(d.ctx)
}

// writer returns the name of the process as it appears in what it writes.
func (d *daemon) writer() string { return fmt.Sprintf("%s (process %d)", d.host, d.process) }

// store is the real one. It begins a Save when it is the daemon's turn: what it reads then is so until it is done. Two
// machines that look at the same moment, and both write, are what a lock is for.
type store struct {
	*persist.File
	d *daemon
}

func (s store) Load() (generation.Generation, error) {
	g, err := s.File.Load()
	if err == nil {
		s.d.w.oracle.reads(s.d)
	}
	return g, err
}

// Save implements syncer.Store.
func (s store) Save(ctx context.Context, g generation.Generation) (generation.Generation, error) {
	if err := s.d.w.turn(turn{daemon: s.d, actor: s.d.name, loop: true, what: "saves", do: func() error { return nil }}); err != nil {
		return generation.Generation{}, err
	}
	return s.File.Save(ctx, g)
}

// patient is the product's schedule, but that no change is taken at once: a decision would come before or after what
// else became known at that moment, and nobody could tell which.
func patient() syncer.Schedule {
	s := syncer.DefaultSchedule()
	s.Calm = 1000 * time.Hour
	return s
}

// rest makes the loop sleep until everybody that it has woken is idle again.
func (d *daemon) rest() {
	_ = d.w.turn(turn{daemon: d, actor: d.name, loop: true, what: "rests", do: func() error { return nil }})
}

func (d *daemon) event(e syncer.Event) {
	d.w.tally("event: " + e.Kind)
	if e.Kind != syncer.EventGeneration {
		return
	}
	text, written := e.Text, e.Written
	_ = d.w.turn(turn{daemon: d, actor: d.name, loop: true, what: "tells of " + text.String(), do: func() error {
		d.written = append(d.written, written)
		return nil
	}})
}

// attend handles daemons that have ended, and sends the first answer to new watches of a registry.
func (w *world) attend() {
	if w.other != nil {
		w.quarrel = time.Now()
	}
	for d := range w.daemons() {
		select {
		case err := <-d.ended:
			w.exited(d, err)
			continue
		default:
		}
		for _, s := range d.sources {
			if s.watched() {
				s.greeted = true
				w.greet(s)
			}
		}
	}
}

// greet sends the first answer if the registry can be read.
func (w *world) greet(s *source) {
	wait := w.between(0, 2*time.Second)
	if away := time.Until(s.r.away); away > 0 {
		s.lapse(true)
		wait += away
	}
	w.after(wait, "", func() {
		if s.d.ctx.Err() != nil {
			return
		}
		if time.Now().Before(s.r.away) {
			w.greet(s)
			return
		}
		w.hear(s, s.r.truth.clone())
	})
}

// exited handles a daemon that has ended by itself, as the machine would.
func (w *world) exited(d *daemon, err error) {
	d.cancel()
	if err != nil {
		w.trace.line("world", d.name+" has ended: "+err.Error())
		if errors.Is(err, persist.ErrForeign) {
			w.fail(3, "the conf file can't be read any more: %s", err)
		}
	} else {
		w.trace.line("world", d.name+" has ended")
	}
	if d == w.other {
		w.other = nil
		return
	}
	limits, wait := d.limits, w.between(time.Second, 5*time.Second)
	if d.next != nil {
		limits, wait = *d.next, w.between(time.Millisecond, 50*time.Millisecond)
	}
	w.daemon = nil
	w.after(wait, "", func() { w.daemon = w.starts("a", "one", limits) })
}

// kill ends a process as signal 9 does, wherever it is. It is gone when this returns.
func (w *world) kill(d *daemon) {
	if d == nil {
		return
	}
	w.trace.line("world", d.name+" is killed")
	w.mu.Lock()
	d.dead = true
	theirs := filter(w.waiting, func(t *turn) bool { return t.daemon == d })
	w.waiting = slices.DeleteFunc(w.waiting, func(t *turn) bool { return t.daemon == d })
	w.mu.Unlock()
	d.cancel()
	for _, t := range theirs {
		t.done <- errKilled
	}
	<-d.ended //nolint:errcheck // it was killed
	for key, holder := range w.disk.locks {
		if holder == d {
			delete(w.disk.locks, key)
		}
	}
	if d == w.daemon {
		w.daemon = nil
	} else {
		w.other = nil
	}
}

// order lets a person give an order, and reports when it was carried out.
func (w *world) order(what string, o syncer.Order, done func(error)) {
	d := w.daemon
	if d == nil || d.syncer == nil || d.ctx.Err() != nil {
		return
	}
	w.trace.line("person", what)
	d.orders++
	by := generation.Signature{By: "alice", Why: "at " + what}
	if !w.script.shielded && w.rng.IntN(8) == 0 {
		by.Why = hostile
	}
	go func() {
		_, err := d.syncer.Do(d.ctx, syncer.Signed(by, o))
		_ = d.w.turn(turn{daemon: d, actor: d.name + "/person", what: "is done", do: func() error {
			d.orders--
			d.ordered = time.Now()
			done(err)
			return nil
		}})
	}()
}
