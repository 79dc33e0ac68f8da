package dyups

import (
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// memory is what nginx uses but does not show: block options, and in some builds server options. Its content was posted
// last, or was in the conf file that nginx loaded.
type memory struct {
	of      map[upstream.Key]remembered
	version int // incremented by each change
}

type remembered struct {
	upstream.Upstream
	// posted reports that the upstream may differ from what nginx loaded: it was posted since, or perhaps before the
	// gateway was created. A worker that starts after a crash does not have it, and may not show that.
	posted bool
	// doubted reports that some worker may not have it.
	doubted bool
}

func newMemory() *memory { return &memory{of: map[upstream.Key]remembered{}} }

// Limits on /detail: several times what was written, plus room for an operator's own upstreams, some 100,000 servers.
const (
	timesWritten = 4
	ownUpstreams = 16 << 20
	serverLine   = 128 // maximum length of a line in /detail
)

// maxDetailSize returns the maximum size of an answer with all upstreams.
func (m *memory) maxDetailSize() int64 {
	written := 0
	for name, u := range m.of {
		written += len(name) + 2 + serverLine*len(u.Servers)
	}
	return ownUpstreams + timesWritten*int64(written)
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

// crashed records that some worker started with what nginx loaded last.
func (m *memory) crashed() {
	for key, r := range m.of {
		if r.posted {
			r.doubted = true
			m.of[key] = r
		}
	}
	m.version++
}

// reloaded records that all workers started with the conf file, which has what was posted.
func (m *memory) reloaded() {
	for key, r := range m.of {
		r.posted = false
		m.of[key] = r
	}
	m.version++
}

// fill adds to an upstream what is remembered but not shown.
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
