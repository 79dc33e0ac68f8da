package record

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/upstream"
)

// Encoder encodes the lines of a record. It keeps the state of the last line.
type Encoder struct {
	begun     bool // something was encoded
	limits    string
	seen      upstream.Set
	written   upstream.Set // after the last decision
	differs   map[upstream.Key]bool
	unhealthy map[string][]string
	frozen    int
	behind    map[string]upstream.Upstream
	empty     []string
	away      map[string]time.Time
	indexes   map[string]uint64
	answers   map[netip.AddrPort]guard.Answer
	here      map[netip.Addr]bool
}

// Encode returns the lines of a decision: with the complete state before it if whole is set or nothing was encoded yet,
// else with the changes. If the lines can't be written, continue with a new Encoder.
func (e *Encoder) Encode(m replay.Moment, whole bool) ([]byte, error) {
	limits, err := encodeLimits(m.Limits)
	if err != nil {
		return nil, err
	}
	whole = whole || !e.begun
	if whole {
		*e = Encoder{begun: true}
	}
	var text []byte
	if whole || m.Began || m.Fresh || limits != e.limits || !m.Accepted.Equal(e.written) {
		e.limits = limits
		l := line{Time: m.Now, Begin: &begin{
			Version: version, Whole: whole, Began: m.Began, Fresh: m.Fresh, Limits: limits, Account: m.History.Lines(),
		}}
		e.changes(&l, m, m.Accepted)
		if text, err = encodeLine(&l); err != nil {
			return nil, err
		}
	}
	l := line{Time: m.Now, Approved: m.Approved, Waiting: m.Waiting, Unsaved: m.Unsaved}
	e.changes(&l, m, m.Result)
	decision, err := encodeLine(&l)
	return append(text, decision...), err
}

// Calm returns the line for a period without decisions.
func Calm(now time.Time) ([]byte, error) { return encodeLine(&line{Time: now, Calm: true}) }

// changes adds to a line what changed since the last one.
func (e *Encoder) changes(l *line, m replay.Moment, written upstream.Set) {
	e.see(l, m.Seen)
	e.write(l, written)
	e.freeze(l, m)
	if !slices.Equal(e.empty, m.Empty) {
		e.empty = append([]string{}, m.Empty...)
		l.Empty = &e.empty
	}
	if !maps.EqualFunc(e.away, m.Away, time.Time.Equal) {
		e.away = full(m.Away)
		l.Away = &e.away
	}
	if !maps.Equal(e.indexes, m.Indexes) {
		e.indexes = full(m.Indexes)
		l.Indexes = &e.indexes
	}
	for addr := range e.answers {
		if _, known := m.Answers[addr]; !known {
			put(&l.Witness, addr.String(), nil)
		}
	}
	for addr, a := range m.Answers {
		if word, is := answers[a]; is && e.answers[addr] != a {
			put(&l.Witness, addr.String(), &word)
		}
	}
	e.answers = m.Answers
	if !maps.Equal(e.here, m.Local) {
		here := []string{}
		for _, addr := range slices.SortedFunc(maps.Keys(m.Local), netip.Addr.Compare) {
			here = append(here, addr.String())
		}
		e.here, l.Here = m.Local, &here
	}
}

// full replaces a nil map with an empty one: null would mean no change.
func full[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

func (e *Encoder) see(l *line, seen upstream.Set) {
	for old, u := range upstream.Changed(e.seen, seen) {
		if u.Name == "" {
			put(&l.Seen, old.Name, nil)
		} else {
			b := toBlock(u)
			put(&l.Seen, u.Name, &b)
		}
	}
	e.seen = seen
	unhealthy := map[string][]string{}
	for o := range seen.Outs().All() {
		addr, err := netip.ParseAddrPort(o.Addr)
		if err == nil && o.Unhealthy && upstream.ValidName(o.Upstream) == nil {
			unhealthy[o.Upstream] = append(unhealthy[o.Upstream], addr.String())
		}
	}
	for name, addrs := range unhealthy {
		slices.Sort(addrs)
		addrs = slices.Compact(addrs)
		unhealthy[name] = addrs
		if !slices.Equal(addrs, e.unhealthy[name]) {
			put(&l.Unhealthy, name, addrs)
		}
	}
	for name := range e.unhealthy {
		if unhealthy[name] == nil {
			put(&l.Unhealthy, name, nil)
		}
	}
	e.unhealthy = unhealthy
}

// freeze adds what the registries list of frozen upstreams, as far as the guard may ask for it.
func (e *Encoder) freeze(l *line, m replay.Moment) {
	if e.frozen != m.Frozen {
		e.frozen = m.Frozen
		l.Frozen = &m.Frozen
	}
	behind := map[string]upstream.Upstream{}
	if m.Behind != nil {
		for old, seen := range upstream.Pairs(m.Accepted, m.Seen) {
			name := cmp.Or(seen.Name, old.Name)
			if u, frozen := m.Behind(name); frozen && !u.Identical(seen) {
				behind[name] = u
			}
		}
	}
	for name, u := range behind {
		if was, is := e.behind[name]; !is || !u.Identical(was) {
			put(&l.Behind, name, &written{block: toBlock(u), Out: u.Name == ""})
		}
	}
	for name := range e.behind {
		if _, is := behind[name]; !is {
			put(&l.Behind, name, nil)
		}
	}
	e.behind = behind
}

// write adds what is written differently from what is seen. e.seen is the current set, and l.Seen its changes.
func (e *Encoder) write(l *line, set upstream.Set) {
	differs := map[upstream.Key]bool{}
	note := func(name string, changed bool, w *written) {
		key := upstream.KeyOf(name)
		differs[key] = true
		if changed || !e.differs[key] {
			put(&l.Written, string(key), w)
		}
	}
	for seen, u := range upstream.Changed(e.seen, set) {
		if u.Name == "" {
			_, was := e.written.Get(seen.Name)
			note(seen.Name, was, &written{Out: true})
			continue
		}
		old, _ := e.written.Get(u.Name)
		note(u.Name, !u.Identical(old), &written{block: toBlock(u)})
	}
	for key := range e.differs {
		if !differs[key] {
			put(&l.Written, string(key), nil)
		}
	}
	e.written, e.differs = set, differs
}
