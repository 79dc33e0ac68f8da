package upstream

import (
	"cmp"
	"iter"
	"slices"

	"swallowkeeper/internal/sorted"
	"swallowkeeper/route"
)

// Set is all upstreams at one moment: sorted by name, without duplicates, immutable. The zero value is the empty set.
//
// Sets derived from one another share unchanged parts, so a change, and a comparison of the sets before and after it,
// cost only what changed.
//
// A registry may publish two upstreams whose names nginx can't tell apart (`Web` and `web`, or a service a_b beside a
// with canary b); [Merge] picks one. Every other set has each name once.
type Set struct {
	list sorted.List[Upstream]
	out  sorted.List[Out]
	counts
}

// counts are totals over a set. They are needed at every decision, so they are kept up to date with each edit.
type counts struct {
	servers, usable, backups int
	rivals                   int // upstreams beyond the first of a name
	bare                     int // upstreams without a server: each differs from all others
	unknown                  int // notes with unknown addresses
	routes                   int
}

// take adds upstreams of one name to the counts, or subtracts them if by is -1.
func (c *counts) take(run iter.Seq[*Upstream], by int) {
	first := true
	for u := range run {
		serving := 0
		for i := range u.Servers {
			if !u.Servers[i].Down {
				serving++
			}
			if u.Servers[i].Backup {
				c.backups += by
			}
		}
		if c.servers += by * serving; serving > 0 {
			c.usable += by
		}
		if len(u.Servers) == 0 {
			c.bare += by
		}
		c.routes += by * len(u.Routes)
		if !first {
			c.rivals += by
		}
		first = false
	}
}

func (c *counts) note(out iter.Seq[*Out], by int) {
	for o := range out {
		if o.Unknown != "" {
			c.unknown += by
		}
	}
}

// NewSet returns a set of the upstreams. Those with the same name and canary are combined. It may keep the slices of
// servers, so the caller must not change them afterwards.
func NewSet(upstreams []Upstream, out ...Out) Set {
	list := make([]Upstream, len(upstreams))
	for i, u := range upstreams {
		list[i] = u.canonical()
	}
	return build(list, slices.Clone(out))
}

// Join is NewSet for upstreams that are already in sets: it looks at servers only if two sets have parts of one
// upstream. For repeated use see [Union].
func Join(sets ...Set) Set {
	n := 0
	for _, s := range sets {
		n += s.Len()
	}
	list := make([]Upstream, 0, n)
	var out []Out
	for _, s := range sets {
		list = slices.AppendSeq(list, s.All())
		out = append(out, s.Out()...)
	}
	return build(list, out)
}

// build takes ownership of both slices. The upstreams must be canonical.
func build(list []Upstream, out []Out) Set {
	s := Set{list: sorted.New(whole(list)), out: sorted.New(distinct(out))}
	var name string
	for u := range s.list.All() { // those of one name are adjacent
		rivals := s.rivals
		s.take(one(u), 1)
		if s.rivals = rivals; name != "" && SameName(name, u.Name) {
			s.rivals++
		}
		name = u.Name
	}
	s.note(s.out.All(), 1)
	return s
}

func one[T any](t *T) iter.Seq[*T] { return func(yield func(*T) bool) { yield(t) } }

// whole sorts upstreams and combines those with the same name and canary. It takes ownership of the slice.
func whole(list []Upstream) []Upstream {
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
	return kept
}

// distinct sorts notes and removes duplicates. It takes ownership of the slice.
func distinct(out []Out) []Out {
	slices.SortFunc(out, compareOut)
	return slices.Compact(out)
}

// compare orders upstreams so that those that nginx can't tell apart are adjacent.
func compare(a, b Upstream) int {
	return cmp.Or(CompareNames(a.Name, b.Name), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Canary, b.Canary))
}

// byName is compare without what nginx can't tell apart: upstreams whose names differ only in case are equal.
func byName(a, b *Upstream) int { return CompareNames(a.Name, b.Name) }

// edit returns the set with edits applied: to its upstreams by name, and to its notes by home.
func (s Set) edit(list []sorted.Edit[Upstream], out []sorted.Edit[Out]) Set {
	for i := range list {
		s.take(s.list.Of(named(list[i].At.Name)), -1)
		s.take(pointers(list[i].Put), 1)
	}
	for i := range out {
		s.note(s.out.Of(homed(out[i].At.home())), -1)
		s.note(pointers(out[i].Put), 1)
	}
	s.list, s.out = s.list.With(list, byName), s.out.With(out, byHome)
	return s
}

func pointers[T any](all []T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range all {
			if !yield(&all[i]) {
				return
			}
		}
	}
}

// named locates the upstreams of a name, and homed the notes on them.
func named(name string) sorted.Place[Upstream] {
	return func(u *Upstream) int { return CompareNames(u.Name, name) }
}

func homed(name string) sorted.Place[Out] {
	return func(o *Out) int { return CompareNames(o.home(), name) }
}

// All yields the upstreams ordered by name. Their slices must not be changed.
func (s Set) All() iter.Seq[Upstream] {
	return func(yield func(Upstream) bool) {
		for u := range s.list.All() {
			if !yield(*u) {
				return
			}
		}
	}
}

// Get returns the upstream with the given name. Case is ignored, as in nginx.
func (s Set) Get(name string) (Upstream, bool) {
	if u := s.list.Find(named(name)); u != nil {
		return *u, true
	}
	return Upstream{}, false
}

// Len returns the number of upstreams.
func (s Set) Len() int { return s.list.Len() }

// Servers returns the number of servers that are not down, over all upstreams.
func (s Set) Servers() int { return s.servers }

// Usable returns the number of upstreams with at least one server that can get traffic.
func (s Set) Usable() int { return s.usable }

// Backups returns the number of backup servers, over all upstreams.
func (s Set) Backups() int { return s.backups }

// RouteCount returns the number of routes, over all upstreams.
func (s Set) RouteCount() int { return s.routes }

// Routes returns the routes of all upstreams in the order in which they are tried.
func (s Set) Routes() []route.Belonging {
	if s.routes == 0 {
		return nil
	}
	all := make([]route.Belonging, 0, s.routes)
	for u := range s.list.All() {
		for _, r := range u.Routes {
			all = append(all, route.Belonging{Route: r, Upstream: u.Name})
		}
	}
	route.Sort(all)
	return all
}

// Names returns the names of all upstreams, in order.
func (s Set) Names() []string {
	names := make([]string, 0, s.Len())
	for u := range s.list.All() {
		names = append(names, u.Name)
	}
	return names
}

// From returns the part of the set that comes from the given registry.
func (s Set) From(registry string) Set {
	return s.part(func(u Upstream) Upstream { return u.From(registry) })
}

// FromNoneOf returns the part of the set that comes from none of the given registries: from one that is no longer
// configured, or of unknown origin.
func (s Set) FromNoneOf(registries []string) Set {
	return s.part(func(u Upstream) Upstream { return u.FromNoneOf(registries) })
}

func (s Set) part(of func(Upstream) Upstream) Set {
	var list []Upstream
	for u := range s.All() {
		if u = of(u); u.Name != "" {
			list = append(list, u)
		}
	}
	return NewSet(list)
}

// WithUnknown returns what a registry lists, plus those of its servers in before whose state it can't tell at
// present, because the addresses of a host name or the servers of an upstream are unknown. Unknown is not gone.
func (s Set) WithUnknown(before Set, registry string) Set {
	if s.unknown == 0 {
		return s
	}
	kept, touched := map[Key][]Upstream{}, names{}
	for o := range s.out.All() {
		old, ok := before.Get(o.Upstream)
		if o.Unknown == "" || !ok || old.Name != o.Upstream {
			continue
		}
		u := Upstream{Name: old.Name, Canary: old.Canary, Options: old.Options}
		if now, listed := s.Get(old.Name); listed {
			u.Canary, u.Options = now.Canary, now.Options
		} else {
			u.Routes = old.From(registry).Routes
		}
		for _, srv := range old.Servers {
			if (srv.Host == o.Unknown || o.Unknown == Whole) && srv.From(registry) {
				srv.Origin = registry
				u.Servers = append(u.Servers, srv)
			}
		}
		touched.add(u.Name)
		kept[KeyOf(u.Name)] = append(kept[KeyOf(u.Name)], u.canonical())
	}
	return s.renew(touched, func(key Key, name string) ([]Upstream, []Out) {
		listed := slices.Collect(values(s.list.Of(named(name))))
		return whole(append(listed, kept[key]...)), slices.Collect(s.Outs().Of(name))
	})
}

// Select returns the set with only the servers for which keep returns true. An upstream that loses all its servers
// stays, with none.
func (s Set) Select(keep func(Upstream, Server) bool) Set {
	var changed []Upstream
	for u := range s.All() {
		kept := func(srv Server) bool { return keep(u, srv) }
		n := slices.IndexFunc(u.Servers, func(srv Server) bool { return !kept(srv) })
		if n < 0 {
			continue
		}
		servers := slices.Clone(u.Servers[:n])
		for _, srv := range u.Servers[n+1:] {
			if kept(srv) {
				servers = append(servers, srv)
			}
		}
		u.Servers = servers
		changed = append(changed, u)
	}
	return s.With(changed, nil)
}

// Without returns the set without the named upstreams.
func (s Set) Without(names []string) Set { return s.With(nil, names) }

// Equal reports whether both sets hold the same upstreams, including origins: whether they are written alike.
func (s Set) Equal(o Set) bool {
	if s.Len() != o.Len() {
		return false
	}
	for a, b := range sorted.Differing(s.list, o.list, byName) {
		if a == nil || b == nil || !untouched(a, b) && !a.Identical(*b) {
			return false
		}
	}
	return true
}

// Identical reports whether both sets agree in everything, notes included, apart from check outputs.
func (s Set) Identical(o Set) bool { return s.Equal(o) && s.Outs().same(o.Outs()) }
