package upstream

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Set is all upstreams at one moment: sorted by name, without duplicates,
// immutable. The zero value is the empty set.
//
// A registry may publish two upstreams whose names nginx cannot tell apart (`Web`
// and `web`, or a service a_b beside a with canary b); [Merge] decides between
// them. Every other set has each name once.
type Set struct {
	list []Upstream
	out  []Out
}

// Out is something registered that gets no traffic, and why. Service, Upstream and
// Addr are what the registry gave: quote them where they are shown.
type Out struct {
	Service  string // as registered
	Upstream string // the upstream it would be in, where that is known
	Addr     string // host:port as registered; "" where the whole service is out
	Reason   string
	// Unknown is the host name and port whose addresses can't be told: see [Set.WithUnknown].
	Unknown string
	// Instance and Node name what is registered, and Output is what the check said that puts it out, on one line and
	// bounded. Reason has none of it, so that what is out alike has the same one.
	Instance string
	Node     string
	Output   string
	// Unhealthy says that its health checks keep it out, and nobody's wish.
	Unhealthy bool
}

// Same reports whether both are out alike. What a check said does not count: it may say something else each time.
func (o Out) Same(p Out) bool {
	o.Output, p.Output = "", ""
	return o == p
}

// Detail says which instance it is and what its check said, "" where neither is known.
func (o Out) Detail() string {
	var parts []string
	if o.Instance != "" {
		parts = append(parts, "it is instance "+strconv.Quote(o.Instance)+" on node "+strconv.Quote(o.Node))
	}
	if o.Output != "" {
		parts = append(parts, "the check says "+strconv.Quote(o.Output))
	}
	return strings.Join(parts, "; ")
}

// Generation is one accepted set as it was written.
type Generation struct {
	Number int
	Time   time.Time
	// Digest is the SHA-256 of the written upstream blocks, in hex.
	Digest string
	Set    Set
	// Leaving names upstreams that are in no set any more and that not every gateway
	// has confirmed to be without yet, so that a restart does not forget them.
	Leaving []string
	// Pushing names upstreams whose options have changed and that not every gateway has
	// confirmed yet: a gateway that can't show them must not be taken to have them.
	Pushing []string
	// Strangers names upstreams that gateways have and swallowkeeper never wrote, in lower case, so that
	// a restart while a gateway can't be asked does not take them for free.
	Strangers []string
	// Base is how many servers there were when the guard began to hold removals, in files of versions that
	// wrote no more of it; it is not written any more.
	Base int
	// Guard is what the guard remembers, in lines that only package guard reads.
	Guard []string
	// Writer names the process that wrote it.
	Writer string
	// Reason is why it was written, in words and on one line.
	Reason string
	// Signed is whose order led to it; the zero value where none did.
	Signed Signature
	// Frozen is what a person wants left as it is, in order of names.
	Frozen []Freeze
}

// Finding is what a registry says of one instance of an upstream, and whether it belongs
// into it. Its text comes from the registry: quote it where it is shown.
type Finding struct {
	Addr   string // host:port as registered
	In     bool
	Reason string // which check, tag or rule
	Index  uint64 // of the registry's answer
}

// NewSet builds a set. Upstreams of one name and canary become one with the servers
// of both. It may keep slices of servers that it is given, so those must not be
// changed afterwards; it changes none itself.
func NewSet(upstreams []Upstream, out ...Out) Set {
	list := make([]Upstream, len(upstreams))
	for i, u := range upstreams {
		list[i] = u.canonical()
	}
	return build(list, out)
}

// Join is NewSet for upstreams that are in sets already: it looks at no server unless two
// sets have halves of one upstream.
func Join(sets ...Set) Set {
	n := 0
	for _, s := range sets {
		n += len(s.list)
	}
	list := make([]Upstream, 0, n)
	var out []Out
	for _, s := range sets {
		list = append(list, s.list...)
		out = append(out, s.out...)
	}
	return build(list, out)
}

// build takes the list over, whose upstreams are canonical.
func build(list []Upstream, out []Out) Set {
	if !slices.IsSortedFunc(list, compare) {
		slices.SortStableFunc(list, compare)
	}
	kept := list[:0]
	for _, u := range list {
		if n := len(kept); n > 0 && compare(kept[n-1], u) == 0 {
			kept[n-1] = union(kept[n-1], u).canonical()
			continue
		}
		kept = append(kept, u)
	}
	if len(out) > 0 {
		out = slices.Clone(out)
		slices.SortFunc(out, compareOut)
		out = slices.Compact(out)
	}
	return Set{list: kept, out: out}
}

// compare orders upstreams so that those that nginx cannot tell apart are neighbours.
func compare(a, b Upstream) int {
	return cmp.Or(CompareNames(a.Name, b.Name), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Canary, b.Canary))
}

func compareOut(a, b Out) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Upstream, b.Upstream),
		cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Unknown, b.Unknown),
		cmp.Compare(a.Node, b.Node), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Output, b.Output))
}

// All yields the upstreams in order of their names. Their slices must not be changed.
func (s Set) All() iter.Seq[Upstream] { return slices.Values(s.list) }

// Out lists what is registered and gets no traffic.
func (s Set) Out() []Out { return slices.Clone(s.out) }

// Get finds an upstream by its name, as nginx does: without regard to case.
func (s Set) Get(name string) (Upstream, bool) {
	i, ok := sort.Find(len(s.list), func(i int) int { return CompareNames(name, s.list[i].Name) })
	if !ok {
		return Upstream{}, false
	}
	return s.list[i], true
}

// Len is the number of upstreams.
func (s Set) Len() int { return len(s.list) }

// Servers is the number of servers that are not down, over all upstreams.
func (s Set) Servers() int {
	n := 0
	for _, u := range s.list {
		for i := range u.Servers { // a server is large to copy, and this is asked at every decision
			if !u.Servers[i].Down {
				n++
			}
		}
	}
	return n
}

// Usable is the number of upstreams in which at least one server can get traffic.
func (s Set) Usable() int {
	n := 0
	for _, u := range s.list {
		if u.Usable() {
			n++
		}
	}
	return n
}

// Names lists the names of all upstreams, in order.
func (s Set) Names() []string {
	names := make([]string, len(s.list))
	for i, u := range s.list {
		names[i] = u.Name
	}
	return names
}

// From is the part of the set that comes from one registry.
func (s Set) From(registry string) Set {
	return s.part(func(srv Server) (Server, bool) {
		from := srv.From(registry)
		srv.Origin = registry
		return srv, from
	})
}

// FromNoneOf is the part of the set that comes from none of the registries: from one
// that is configured no more, or from nobody knows where.
func (s Set) FromNoneOf(registries []string) Set {
	return s.part(func(srv Server) (Server, bool) {
		return srv, !slices.ContainsFunc(registries, srv.From)
	})
}

// WithUnknown is what a registry lists, and beside that the servers of it in before that belong to host names whose
// addresses it can't tell now: unknown is not gone.
func (s Set) WithUnknown(before Set, registry string) Set {
	var kept []Upstream
	for _, o := range s.out {
		old, ok := before.Get(o.Upstream)
		if o.Unknown == "" || !ok || old.Name != o.Upstream {
			continue
		}
		u := Upstream{Name: old.Name, Canary: old.Canary, Options: old.Options}
		if now, listed := s.Get(old.Name); listed {
			u.Canary, u.Options = now.Canary, now.Options
		}
		for _, srv := range old.Servers {
			if srv.Host == o.Unknown && srv.From(registry) {
				srv.Origin = registry
				u.Servers = append(u.Servers, srv)
			}
		}
		kept = append(kept, u)
	}
	if kept == nil {
		return s
	}
	return Join(s, NewSet(kept))
}

// Loadable is the set as nginx takes it. That can be told only of what is accepted in the
// end: a backup that its own registry has nothing beside may back up another registry's
// servers, or some that are held.
func (s Set) Loadable() Set {
	var list []Upstream // nil as long as it stays as it is
	for i := range s.list {
		u := s.list[i].loadable()
		if len(u.Servers) == 0 || shared(u.Servers, s.list[i].Servers) {
			continue
		}
		if list == nil {
			list = slices.Clone(s.list)
		}
		list[i] = u
	}
	if list == nil {
		return s
	}
	return Set{list: list, out: s.out}
}

// Select is the set with the servers for which keep says yes. An upstream of which it leaves none stays
// with none.
func (s Set) Select(keep func(Upstream, Server) bool) Set {
	var list []Upstream // nil as long as all is kept
	for i, u := range s.list {
		kept := func(srv Server) bool { return keep(u, srv) }
		n := slices.IndexFunc(u.Servers, func(srv Server) bool { return !kept(srv) })
		if n < 0 {
			continue
		}
		if list == nil {
			list = slices.Clone(s.list)
		}
		servers := slices.Clone(u.Servers[:n])
		for _, srv := range u.Servers[n+1:] {
			if kept(srv) {
				servers = append(servers, srv)
			}
		}
		list[i].Servers = servers
	}
	if list == nil {
		return s
	}
	return Set{list: list, out: s.out}
}

// Without is the set without the upstreams of these names.
func (s Set) Without(names []string) Set {
	if len(names) == 0 {
		return s
	}
	named := func(u Upstream) bool {
		return slices.ContainsFunc(names, func(n string) bool { return SameName(n, u.Name) })
	}
	return Set{list: slices.DeleteFunc(slices.Clone(s.list), named), out: s.out}
}

func (s Set) part(keep func(Server) (Server, bool)) Set {
	var list []Upstream
	for _, u := range s.list {
		var servers []Server
		for _, srv := range u.Servers {
			if kept, ok := keep(srv); ok {
				servers = append(servers, kept)
			}
		}
		if servers != nil {
			u.Servers = servers
			list = append(list, u)
		}
	}
	return NewSet(list)
}

// Equal reports whether both sets hold the same upstreams, the notes on their
// origin included: whether they are written alike.
func (s Set) Equal(o Set) bool {
	if n := len(s.list); n > 0 && n == len(o.list) && &s.list[0] == &o.list[0] {
		return true
	}
	return slices.EqualFunc(s.list, o.list, Upstream.Identical)
}

// Identical reports whether both sets agree in everything, also in what is out, but for what checks said.
func (s Set) Identical(o Set) bool {
	return s.Equal(o) && slices.EqualFunc(s.out, o.out, Out.Same)
}
