// Package dns queries name servers for the addresses of services, one name at a time, as DNS can't list.
//
// Names are queried at intervals, whatever their TTL: Docker announces 600 s, but changes at once. NXDOMAIN, no
// records, an error, no answer and a partial answer are five different things. What can't be determined is unknown, and
// unknown is never published: the last known state of the name stays.
//
// The package only reads.
package dns

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/setting"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

// Registry is the names of one table.
type Registry struct {
	poll.Registry
	cfg      Config
	name     string
	defaults upstream.Defaults
	log      logrus.FieldLogger
	metrics  *metrics
	slots    chan struct{}
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	// resolv is the file with the servers to use if the table has none.
	resolv  string
	changed chan struct{}

	mu      sync.Mutex
	entries []*entry // ordered by name; nil: not watching
	unasked int
	all     chan struct{} // closed when each name was queried once
	returns int           // how often the servers came back
}

// New makes the registry of a table.
func (c *Config) New(d registry.Deps) (registry.Registry, error) {
	if len(c.Service) == 0 {
		return nil, &setting.Error{Key: "service", Why: "no name to ask for: " + cannotList, Allowed: "at least one [registry.service.NAME]"}
	}
	m, _ := d.Meter.(*metrics)
	most := mostAtOnce
	if d.Descriptors > 0 {
		most = min(most, d.Descriptors)
	}
	r := &Registry{
		cfg: *c, name: d.Name, defaults: d.Defaults, log: d.Log, metrics: m, slots: make(chan struct{}, most),
		dial: new(net.Dialer).DialContext, resolv: "/etc/resolv.conf", changed: make(chan struct{}, 1),
	}
	r.Read, r.Every, r.Log, r.Changed = r.read, c.Interval, d.Log, r.changed
	return r, nil
}

// Endpoint returns the server, or the first of several.
func (r *Registry) Endpoint() string {
	c, err := r.client()
	if err != nil {
		return ""
	}
	return c.servers[0]
}

// client returns a client for the current servers.
func (r *Registry) client() (*client, error) {
	c := &client{timeout: r.cfg.Timeout, dial: r.dial, slots: r.slots, told: func(network, outcome string) { r.metrics.asked(r.name, network, outcome) }}
	if at := r.cfg.endpoint(); at != "" {
		c.servers = []string{at}
		return c, nil
	}
	var err error
	c.servers, err = resolvConf(r.resolv)
	return c, err
}

// Watch publishes the servers of all names, and again when they change.
func (r *Registry) Watch(ctx context.Context, publish func(upstream.Set)) error {
	ctx, cancel := context.WithCancel(ctx)
	entries := r.fresh()
	r.mu.Lock()
	r.entries, r.unasked, r.all = entries, len(entries), make(chan struct{})
	r.mu.Unlock()
	var asking sync.WaitGroup
	defer func() {
		cancel()
		asking.Wait()
		r.mu.Lock()
		r.entries = nil
		r.mu.Unlock()
	}()
	asking.Go(func() { r.rounds(ctx, entries, &asking) })
	return r.Registry.Watch(ctx, publish)
}

// fresh returns entries without a known state.
func (r *Registry) fresh() (entries []*entry) {
	for name, s := range r.cfg.Service {
		entries = append(entries, &entry{name: name, service: s})
	}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	return entries
}

// rounds queries all names at once, and then each one every interval, spread evenly. It does not query a name that is
// still waiting for its answer, so a slow server gets fewer questions.
func (r *Registry) rounds(ctx context.Context, entries []*entry, asking *sync.WaitGroup) {
	ask := func(e *entry) {
		if e.busy.CompareAndSwap(false, true) {
			asking.Go(func() {
				defer e.busy.Store(false)
				r.ask(ctx, e)
			})
		}
	}
	for _, e := range entries {
		ask(e)
	}
	gap := r.cfg.Interval / time.Duration(len(entries))
	next := time.Now()
	for i := 0; ; i = (i + 1) % len(entries) {
		if next = next.Add(gap); time.Since(next) > r.cfg.Interval { // this machine slept
			next = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
			ask(entries[i])
		}
	}
}

// ask queries one name and records the answer.
func (r *Registry) ask(ctx context.Context, e *entry) {
	var l listed
	var nx string
	r.mu.Lock()
	returns := r.returns
	r.mu.Unlock()
	c, err := r.client()
	if err == nil {
		l, nx, err = c.lookup(ctx, e.service)
	}
	if ctx.Err() == nil {
		r.note(e, returns, l, nx, err)
	}
}

// note records the answer to a query that began when the servers had come back so many times.
func (r *Registry) note(e *entry, returns int, l listed, nx string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := !slices.ContainsFunc(r.entries, func(e *entry) bool { return e.answered })
	said := e.parts.shown
	changed := e.note(r, l, nx, err)
	if lost && e.answered {
		r.again()
	}
	// A query that got no answer because it began before the servers were back says nothing about them now.
	if !e.asked && (err == nil || returns == r.returns) {
		e.asked = true
		if r.unasked--; r.unasked == 0 {
			close(r.all)
		}
	}
	if e.parts.shown && !said {
		r.log.WithFields(logrus.Fields{"service": e.name, "query": shown(e.service.Query), "records": len(l.records)}).
			Warn("the server seems to answer with a part of the records: each answer has as many, and others each time")
	}
	if changed {
		select {
		case r.changed <- struct{}{}:
		default:
		}
		r.metrics.counted(r.name, r.entries)
	}
}

// again makes read wait until each name that got no answer was queried once more: the servers are back, and the answer
// for one name is not yet the whole state. The mutex is held.
func (r *Registry) again() {
	known, failed := r.unasked == 0, false
	for _, e := range r.entries {
		if e.asked && !e.answered {
			failed, e.asked = true, false
			r.unasked++
		}
	}
	if failed {
		r.returns++
	}
	if failed && known {
		r.all = make(chan struct{})
	}
}

// read returns what is known about all names.
func (r *Registry) read(ctx context.Context) (upstream.Set, error) {
	for {
		r.mu.Lock()
		if r.unasked == 0 {
			defer r.mu.Unlock()
			return assemble(r.entries)
		}
		all := r.all
		r.mu.Unlock()
		select {
		case <-all:
		case <-ctx.Done():
			return upstream.Set{}, ctx.Err()
		}
	}
}

// assemble makes a set; it is pure. The known state of a name stays listed. A name that was never known is marked, so
// that its written state stays. If no server answers for any name, there is no set.
func assemble(entries []*entry) (upstream.Set, error) {
	var list []upstream.Upstream
	var out []upstream.Out
	var unknown []*entry
	answered := false
	for _, e := range entries {
		switch {
		case e.gone:
		case e.known:
			list, out = append(list, e.upstream), append(out, e.out...)
		default:
			out = append(out, upstream.Out{Service: e.name, Upstream: e.name, Reason: kept.With(e.why), Unknown: upstream.Whole})
		}
		if e.trouble() {
			unknown = append(unknown, e)
		}
		answered = answered || e.answered
	}
	if len(unknown) == 0 {
		return upstream.NewSet(list, out...), nil
	}
	err := troubles(unknown)
	if !answered {
		return upstream.Set{}, err
	}
	return upstream.NewSet(list, out...), poll.Partial(err)
}

// mostNamed is the maximum number of names in an error.
const mostNamed = 5

// when formats a time like the rest of the program.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// troubles describes what is not known: the first name in full, each with its time if there are several.
func troubles(of []*entry) error {
	text := of[0].name + ": " + of[0].why.String()
	if more := of[1:]; len(more) > 0 {
		text += " (since " + when(of[0].since) + ")"
		var names []string
		for _, e := range more[:min(len(more), mostNamed)] {
			names = append(names, e.name+" (since "+when(e.since)+")")
		}
		if text += "; nor are known: " + strings.Join(names, ", "); len(more) > mostNamed {
			text += ", …"
		}
	}
	return errors.New(text)
}

// every returns the interval as text.
func (r *Registry) every() string { return setting.FormatDuration(r.cfg.Interval) }

// Noticed returns how a change of a name is noticed.
func (r *Registry) Noticed(name string) reason.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if upstream.SameName(e.name, name) {
			return noticed.With(shown(e.service.Query), r.every())
		}
	}
	return reason.Reason{}
}
