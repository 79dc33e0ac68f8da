package record

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/upstream"
)

// Encoder makes the lines of a record. It remembers what the last one said.
type Encoder struct {
	told      bool // something was encoded
	limits    string
	seen      upstream.Set
	written   upstream.Set // after the last decision
	differs   map[upstream.Key]bool
	unhealthy map[string][]string
	empty     []string
	away      map[string]time.Time
	indexes   map[string]uint64
	answers   map[netip.AddrPort]guard.Answer
	here      map[netip.Addr]bool
}

// Encode returns the lines of a decision: with all that was true before it, where whole is set or nothing was
// encoded yet, else with what has changed. Whoever could not write them begins with another Encoder.
func (e *Encoder) Encode(m replay.Moment, whole bool) ([]byte, error) {
	limits, err := encodeLimits(m.Limits)
	if err != nil {
		return nil, err
	}
	whole = whole || !e.told
	if whole {
		*e = Encoder{told: true}
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

// Calm returns the line that says that nothing had to be decided.
func Calm(now time.Time) ([]byte, error) { return encodeLine(&line{Time: now, Calm: true}) }

// changes puts into a line what has changed since the last one.
func (e *Encoder) changes(l *line, m replay.Moment, written upstream.Set) {
	e.see(l, m.Seen)
	e.write(l, written)
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

// full is a map that is there though it be empty: null would say nothing.
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
	for old, u := range upstream.Pairs(e.seen, seen) {
		switch {
		case u.Name == "":
			put(&l.Seen, old.Name, nil)
		case !u.Identical(old):
			b := toBlock(u)
			put(&l.Seen, u.Name, &b)
		}
	}
	e.seen = seen
	unhealthy := map[string][]string{}
	for _, o := range seen.Out() {
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

// write notes what is written otherwise than it is seen. e.seen is what is seen now, and l.Seen what of that is new.
func (e *Encoder) write(l *line, set upstream.Set) {
	differs := map[upstream.Key]bool{}
	note := func(name string, changed bool, w *written) {
		key := upstream.KeyOf(name)
		differs[key] = true
		if changed || !e.differs[key] {
			put(&l.Written, string(key), w)
		}
	}
	for seen, u := range upstream.Pairs(e.seen, set) {
		if u.Identical(seen) {
			continue
		}
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
