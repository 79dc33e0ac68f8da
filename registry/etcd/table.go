package etcd

import (
	"maps"
	"path"
	"slices"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// table is what is known about the keys, and the set that they make. A change of a key only costs the work for its
// service.
type table struct {
	cfg      *Config
	layout   layout
	origin   string
	defaults upstream.Defaults

	entries  map[string]*entry            // by key
	services map[string]map[string]*entry // by service and key
	foreign  map[string]bool              // keys that don't fit the layout
	touched  map[string]bool              // services whose part of the set is out of date
	broken   int                          // entries whose value can't be parsed
	all      upstream.Union
}

// entry is the meaning of a key. If its value can't be parsed, it keeps its last meaning.
type entry struct {
	key, service, id string
	revision         int64 // of its last change
	leased           bool
	wanted           bool // by include and exclude

	why    error // why its value can't be parsed
	known  bool  // it was parsed before
	marker bool
	server upstream.Server
	down   bool // by its health
	routes []route.Route
	bad    []route.Bad
}

func newTable(cfg *Config, origin string, defaults upstream.Defaults) *table {
	return &table{
		cfg: cfg, layout: layouts[cfg.Layout], origin: origin, defaults: defaults,
		entries: map[string]*entry{}, services: map[string]map[string]*entry{}, foreign: map[string]bool{}, touched: map[string]bool{},
	}
}

// pair is a key and its value in etcd.
type pair struct {
	key      string
	value    []byte
	revision int64
	leased   bool
	// unread reports that the value is too long to be read.
	unread bool
}

// put adds or updates a key.
func (t *table) put(p pair) {
	e := t.entries[p.key]
	if e == nil {
		service, id, fits := t.layout.place(strings.TrimPrefix(p.key, t.cfg.keys()), t.cfg.root())
		if !fits {
			t.foreign[p.key] = true
			return
		}
		e = &entry{key: p.key, service: service, id: id, wanted: t.cfg.unwanted(service).IsZero()}
		t.entries[p.key] = e
		if t.services[service] == nil {
			t.services[service] = map[string]*entry{}
		}
		t.services[service][p.key] = e
	}
	if e.revision == p.revision {
		return
	}
	was := e.why != nil
	e.revision, e.leased = p.revision, p.leased
	if e.wanted {
		t.touched[e.service] = true
		e.take(t, p)
	}
	t.count(was, e.why != nil)
}

func (t *table) count(was, is bool) {
	if was {
		t.broken--
	}
	if is {
		t.broken++
	}
}

// take parses the value. If that fails, the last meaning is kept.
func (e *entry) take(t *table, p pair) {
	next := *e
	if next.why = next.read(t, p); next.why != nil {
		e.why = next.why
		return
	}
	next.known = true
	*e = next
}

func (e *entry) read(t *table, p pair) error {
	if p.unread {
		return tooLongByFar.Err()
	}
	s, err := t.layout.read(p.value)
	if err != nil {
		return err
	}
	if e.marker = s.marker; s.marker {
		e.server, e.down, e.routes, e.bad = upstream.Server{}, false, nil, nil
		return nil
	}
	if e.id == "" { // a value of the service itself only shows that it is registered
		return noField.Err("ID")
	}
	if e.server, err = s.server(t.defaults.For(e.service)); err != nil {
		return err
	}
	e.server.Origin, e.down = t.origin, s.unhealthy
	fallback := t.layout.route
	if t.cfg.DefaultRoute != "" {
		fallback = t.cfg.DefaultRoute
	}
	e.routes, e.bad = s.read(e.service, fallback, t.origin)
	return nil
}

// remove removes a key.
func (t *table) remove(key string) {
	delete(t.foreign, key)
	e := t.entries[key]
	if e == nil {
		return
	}
	t.count(e.why != nil, false)
	delete(t.entries, key)
	delete(t.services[e.service], key)
	if len(t.services[e.service]) == 0 {
		delete(t.services, e.service)
	}
	if e.wanted {
		t.touched[e.service] = true
	}
}

// retain removes all keys that are not listed.
func (t *table) retain(listed map[string]bool) {
	for key := range t.entries {
		if !listed[key] {
			t.remove(key)
		}
	}
	for key := range t.foreign {
		if !listed[key] {
			delete(t.foreign, key)
		}
	}
}

// set returns the whole set.
func (t *table) set() upstream.Set {
	for service := range t.touched {
		t.all.Put(service, t.part(service))
	}
	clear(t.touched)
	return t.all.Set()
}

// part returns the part of the set from one service's keys.
func (t *table) part(service string) upstream.Set {
	entries := t.services[service]
	if len(entries) == 0 {
		return upstream.Set{}
	}
	if err := upstream.ValidName(service); err != nil {
		return upstream.NewSet(nil, upstream.Out{Service: safetext.Cut(service, mostText), Reason: reason.Of(err)})
	}
	u := upstream.Upstream{Name: service, Options: t.defaults.For(service).Options}
	var out []upstream.Out
	var claims [][]route.Route
	var claimants []*entry
	for _, e := range ordered(entries) {
		if e.serves() {
			u.Servers = append(u.Servers, e.server)
		}
		if e.known && !e.marker {
			claims, claimants = append(claims, e.routes), append(claimants, e)
		}
		out = append(out, e.outs(u.Name)...)
	}
	routes, lost := route.Elect(claims)
	u.Routes = routes
	for _, i := range lost {
		for _, r := range claims[i] {
			out = append(out, upstream.Out{Service: service, Upstream: service, Route: r.Where(), Reason: outvoted.With(claimants[i].shown())})
		}
	}
	// An address that is registered twice is in if either is usable.
	in := map[string]bool{}
	for _, s := range u.Servers {
		in[s.Addr.String()] = true
	}
	out = slices.DeleteFunc(out, func(o upstream.Out) bool { return o.Unhealthy && in[o.Addr] })
	return upstream.NewSet([]upstream.Upstream{u}, out...)
}

// serves reports whether the entry gives a server.
func (e *entry) serves() bool { return e.known && !e.marker && !e.down }

func (e *entry) shown() string { return shownKey(e.key) }

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// ordered returns entries ordered by key.
func ordered(entries map[string]*entry) []*entry {
	list := make([]*entry, 0, len(entries))
	for _, key := range sortedKeys(entries) {
		list = append(list, entries[key])
	}
	return list
}

// outs returns what is out of the entry.
func (e *entry) outs(upstreamName string) (out []upstream.Out) {
	o := upstream.Out{Service: e.service, Upstream: upstreamName}
	if e.why != nil {
		o.Addr, o.Reason = safetext.Cut(e.id, mostText), badValue.With(e.shown(), e.why)
		if e.serves() {
			o.Reason = lastStays.With(e.shown(), e.server.Addr, e.why)
		}
		out = append(out, o)
	}
	if e.known && e.down {
		o.Addr, o.Reason, o.Unhealthy = e.server.Addr.String(), unhealthy.With(e.shown()), true
		out = append(out, o)
	}
	if !e.known {
		return out
	}
	for _, b := range e.bad {
		out = append(out, upstream.Out{Service: e.service, Upstream: upstreamName, Route: b.Text, Reason: badRoute.With(e.shown(), b.Err)})
	}
	return out
}

// unwanted returns which rule excludes a service, or the zero Reason.
func (c *Config) unwanted(name string) reason.Reason {
	matching := func(globs []string) (string, bool) {
		for _, g := range globs {
			if ok, err := path.Match(g, name); ok && err == nil {
				return g, true
			}
		}
		return "", false
	}
	if _, in := matching(c.Include); len(c.Include) > 0 && !in {
		return notIncluded.With(safetext.Quote(name))
	}
	if glob, out := matching(c.Exclude); out {
		return excluded.With(safetext.Quote(glob), safetext.Quote(name))
	}
	return reason.Reason{}
}

// forgetRevision makes the next value of a key be parsed whatever its revision.
func (t *table) forgetRevision(key string) {
	if e := t.entries[key]; e != nil {
		e.revision = 0
	}
}
