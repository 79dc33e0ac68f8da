package dyups

import (
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// memory is what nginx uses and does not show: the block options, and in some builds
// options of servers. It holds what was posted last, or what the conf file held that
// nginx loaded.
type memory struct {
	of      map[upstream.Key]remembered
	version int // grows with each change
}

type remembered struct {
	upstream.Upstream
	// posted says that this may differ from what nginx loaded, for it was posted since, or
	// may have been before the gateway was made: a worker that starts after a crash does
	// not have it, and may not show that.
	posted bool
	// doubted says that not every worker is sure to have it.
	doubted bool
}

func newMemory() *memory { return &memory{of: map[upstream.Key]remembered{}} }

// Of what /detail may show: several times what was written, and room for what an operator has by hand,
// some 100,000 servers.
const (
	timesWritten = 4
	byHand       = 16 << 20
	serverLine   = 128 // a line of /detail has fewer bytes
)

// mostShown is how long an answer that shows all upstreams may be.
func (m *memory) mostShown() int64 {
	written := 0
	for name, u := range m.of {
		written += len(name) + 2 + serverLine*len(u.Servers)
	}
	return byHand + timesWritten*int64(written)
}

func (m *memory) assume(s upstream.Set) {
	for u := range s.All() {
		m.of[upstream.KeyOf(u.Name)] = remembered{Upstream: u, posted: true}
	}
	m.version++
}

func (m *memory) posted(u upstream.Upstream) {
	key := upstream.KeyOf(u.Name)
	old, known := m.of[key]
	m.of[key] = remembered{Upstream: u, posted: !known || old.posted || !old.Same(u)}
	m.version++
}

func (m *memory) removed(name string) {
	delete(m.of, upstream.KeyOf(name))
	m.version++
}

// doubt makes an upstream count as different until it is posted again.
func (m *memory) doubt(name string) {
	key := upstream.KeyOf(name)
	r := m.of[key]
	r.doubted = true
	m.of[key] = r
	m.version++
}

// crashed says that some worker has started with what nginx loaded last.
func (m *memory) crashed() {
	for key, r := range m.of {
		if r.posted {
			r.doubted = true
			m.of[key] = r
		}
	}
	m.version++
}

// reloaded says that all workers have started with the conf file, which holds what was posted.
func (m *memory) reloaded() {
	for key, r := range m.of {
		r.posted = false
		m.of[key] = r
	}
	m.version++
}

// fill completes what a copy shows of an upstream by what is remembered of it.
func (m *memory) fill(u upstream.Upstream, shows shown) upstream.Upstream {
	r, ok := m.of[upstream.KeyOf(u.Name)]
	if !ok {
		return u
	}
	u.Options = r.Options
	if r.doubted {
		u.Servers = nil
		return u
	}
	if shows == everyOption {
		return u
	}
	u.Servers = slices.Clone(u.Servers)
	for i, s := range u.Servers {
		at, ok := slices.BinarySearchFunc(r.Servers, s.Addr, byAddr)
		switch {
		case !ok:
		case shows == addressesOnly:
			u.Servers[i] = r.Servers[at]
		default:
			u.Servers[i].MaxConns = r.Servers[at].MaxConns
		}
	}
	return u
}

func byAddr(s upstream.Server, a netip.AddrPort) int { return s.Addr.Compare(a) }
