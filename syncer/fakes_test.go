package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/registry"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// fakeRegistry publishes what the test says.
type fakeRegistry struct {
	sets    chan upstream.Set
	mu      sync.Mutex
	trouble error
	fail    int  // how many times Watch gives up first
	quiet   bool // it then says no reason
	started int
}

func newRegistry() *fakeRegistry { return &fakeRegistry{sets: make(chan upstream.Set, 100)} }

func (r *fakeRegistry) publish(line string) { r.sets <- set(line) }

func (r *fakeRegistry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	r.mu.Lock()
	r.started++
	failing := r.started <= r.fail
	r.mu.Unlock()
	switch {
	case failing && r.quiet:
		return nil
	case failing:
		return errors.New("the watch broke")
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-r.sets:
			publish(s)
		}
	}
}

func (r *fakeRegistry) Condition() registry.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return registry.Condition{Trouble: r.trouble}
}

func (r *fakeRegistry) setTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = err
}

// Archive implements Archiver.
func (s *fakeStore) Archive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archived = append(s.archived, s.gen.Number)
}

// fakeStore is a conf file in memory.
type fakeStore struct {
	archived []int // generations
	events   *events
	mu       sync.Mutex
	gen      generation.Generation
	fail     error
	failOnce error
	newer    error // somebody else wrote since it was loaded
	load     error
	saves    int
}

func (f *fakeStore) Load() (generation.Generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newer = nil
	return f.gen, f.load
}

// Overtaken implements Overtaken.
func (f *fakeStore) Overtaken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newer
}

func (f *fakeStore) Save(_ context.Context, g generation.Generation) (generation.Generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmp.Or(f.fail, f.newer, g.Signed.Valid()); err != nil {
		return generation.Generation{}, err
	}
	if err := f.failOnce; err != nil {
		f.failOnce = nil
		return generation.Generation{}, err
	}
	same := f.gen.Number > 0 && g.Set.Equal(f.gen.Set) // the first generation is one, whatever it has
	if same && slices.Equal(g.Guard, f.gen.Guard) && sameFreezes(g.Frozen, f.gen.Frozen) && slices.Equal(g.Leaving, f.gen.Leaving) && slices.Equal(g.Pushing, f.gen.Pushing) && slices.Equal(g.Strangers, f.gen.Strangers) {
		return f.gen, nil
	}
	f.saves++
	number := f.gen.Number
	if !same {
		number++
	}
	reason, signed := f.gen.Reason, f.gen.Signed
	if !same {
		reason, signed = g.Reason, g.Signed
	}
	f.gen = generation.Generation{
		Number: number, Time: time.Now(), Set: g.Set, Leaving: g.Leaving, Pushing: g.Pushing, Guard: g.Guard,
		Strangers: g.Strangers, Frozen: g.Frozen, Reason: reason, Signed: signed,
	}
	if !same {
		f.events.add("save " + line(g.Set))
	}
	return f.gen, nil
}

// overtake has another process write a generation.
func (f *fakeStore) overtake(number int, theirs string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gen = generation.Generation{Number: number, Set: set(theirs)}
	f.newer = newerError{fmt.Errorf("generation %d was written by another process", number)}
}

func (f *fakeStore) setFail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *fakeStore) now() (generation.Generation, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gen, f.saves
}

// fakeGateway uses what it is told.
type fakeGateway struct {
	name    string
	events  *events
	mu      sync.Mutex
	live    upstream.Set
	fail    error
	deaf    bool          // takes changes and does not make them
	delay   time.Duration // of every call
	applied int
	asked   int // how often Live was called
	written gateway.Written
	workers []gateway.Worker
	// reserved are names that nginx's own configuration has.
	reserved  []string
	unsettled bool
	// looked is told when what is live was read, and has not been handed over yet.
	looked func()
	// methods are as in gateway.Abilities.
	methods []gateway.Method
	// interval and routes are as in gateway.Abilities.
	interval time.Duration
	routes   gateway.Routes
	// telling is told before it takes changes.
	telling func()
}

func (g *fakeGateway) Abilities() gateway.Abilities {
	return gateway.Abilities{Methods: g.methods, Interval: g.interval, Routes: g.routes}
}

func (g *fakeGateway) Close() error { return nil }

func (g *fakeGateway) Live(ctx context.Context) (gateway.Live, error) {
	if err := g.wait(ctx); err != nil {
		return gateway.Live{}, err
	}
	g.mu.Lock()
	looked := g.looked
	g.mu.Unlock()
	if looked != nil {
		looked()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked++; g.fail != nil {
		return gateway.Live{}, g.fail
	}
	return gateway.Live{Set: g.live, Reserved: g.reserved, Workers: g.workers, Unsettled: g.unsettled}, nil
}

func (g *fakeGateway) wait(ctx context.Context) error {
	g.mu.Lock()
	delay := g.delay
	g.mu.Unlock()
	if delay == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(delay):
		return nil
	}
}

// Apply takes a change at once, and then takes its time.
func (g *fakeGateway) Apply(ctx context.Context, c upstream.Changes) (gateway.Receipt, error) {
	receipt := gateway.Receipt{Posted: time.Now(), Workers: g.workers, Unsettled: g.unsettled}
	if err := g.wait(ctx); err != nil {
		return gateway.Receipt{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return gateway.Receipt{}, g.fail
	}
	if g.applied++; g.telling != nil {
		g.telling()
	}
	if g.deaf {
		return receipt, nil
	}
	var list []upstream.Upstream
	for u := range g.live.All() {
		touched := func(o upstream.Upstream) bool { return o.Name == u.Name }
		updated := slices.ContainsFunc(c.Updated, func(o upstream.Update) bool { return o.New.Name == u.Name })
		if !updated && !slices.ContainsFunc(c.Removed, touched) && !slices.ContainsFunc(c.Added, touched) {
			list = append(list, u)
		}
	}
	list = append(list, c.Added...)
	for _, u := range c.Updated {
		list = append(list, u.New)
	}
	g.live = upstream.NewSet(list)
	g.events.add("apply " + line(g.live))
	return receipt, nil
}

// onLook and onTell set what is told when it is asked, and before it takes changes.
func (g *fakeGateway) onLook(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looked = f
}

func (g *fakeGateway) onTell(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.telling = f
}

func (g *fakeGateway) set(live string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = set(live)
}

func (g *fakeGateway) setFail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = err
}

func (g *fakeGateway) now() (string, int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return line(g.live), g.applied
}

// events is what happened to the outside world, in order.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, what)
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// told is the events that the syncer told of.
type told struct {
	mu   sync.Mutex
	all  []Event
	also func(Event)
}

func (t *told) add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, e)
	if t.also != nil {
		t.also(e)
	}
}

// of takes those of one kind.
func (t *told) of(kind string) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var taken []Event
	for _, e := range t.all {
		if e.Kind == kind {
			taken = append(taken, e)
		}
	}
	t.all = slices.DeleteFunc(t.all, func(e Event) bool { return e.Kind == kind })
	return taken
}

// world is a syncer between fakes, under a fake clock.
type world struct {
	t          *testing.T
	registries []*fakeRegistry
	store      *fakeStore
	file       Store // in its place, where not nil
	gateways   []*fakeGateway
	events     *events
	told       told
	log        *test.Hook
	reach      func() Reach
	taken      func([][]gateway.Worker) map[upstream.Key]Taken
	dotted     bool
	unrouted   bool
	witness    Witness
	routes     []route.Belonging
	wrap       func(registry.Registry) registry.Registry
	syncer     *Syncer
	stop       func()
}

func newWorld(t *testing.T, registries, gateways int) *world {
	w := &world{t: t, events: &events{}}
	w.store = &fakeStore{events: w.events}
	for range registries {
		w.registries = append(w.registries, newRegistry())
	}
	for i := range gateways {
		w.gateways = append(w.gateways, &fakeGateway{name: string(rune('A' + i)), events: w.events})
	}
	return w
}

func (w *world) parts(limits guard.Config) Parts {
	log, hook := test.NewNullLogger()
	log.SetOutput(io.Discard)
	log.SetLevel(logrus.DebugLevel)
	w.log = hook
	p := Parts{
		Guard: limits, Store: w.store, Schedule: DefaultSchedule(), Log: log, Reach: w.reach, Taken: w.taken, Witness: w.witness,
		Routes: w.routes,
	}
	if w.file != nil {
		p.Store = w.file
	}
	for i, r := range w.registries {
		// The servers of set(line) come from "r": with one registry that is its name.
		name := "r"
		if i > 0 {
			name = string(rune('r' + i))
		}
		src := Source{Name: name, Registry: r, Dotted: w.dotted, Unrouted: w.unrouted}
		if w.wrap != nil {
			src.Registry = w.wrap(r)
		}
		p.Sources = append(p.Sources, src)
	}
	for _, g := range w.gateways {
		p.Targets = append(p.Targets, Target{Name: g.name, Gateway: g, Resync: 10 * time.Second, Written: &g.written})
	}
	return p
}

// start runs the syncer until the test ends; it must be called within synctest.
func (w *world) start(limits guard.Config) {
	ctx, cancel := context.WithCancel(w.t.Context())
	p := w.parts(limits)
	p.Event = w.told.add
	w.syncer = New(p)
	ended := make(chan error, 1)
	go func() { ended <- w.syncer.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
	synctest.Wait()
}

// pass lets time go by, and everything that is due in it happen.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // the fake clock's: it takes no time
	synctest.Wait()
}

func (w *world) wantLive(gateway int, want string) {
	w.t.Helper()
	if got, _ := w.gateways[gateway].now(); got != want {
		w.t.Errorf("gateway %s uses %q, want %q", w.gateways[gateway].name, got, want)
	}
}

func (w *world) wantStored(want string) {
	w.t.Helper()
	if g, _ := w.store.now(); line(g.Set) != want {
		w.t.Errorf("the store holds %q, want %q", line(g.Set), want)
	}
}
