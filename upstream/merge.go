package upstream

import (
	"slices"

	"swallowkeeper/reason"
	"swallowkeeper/route"
)

// Merge joins the sets of several registries into one in which each name occurs once. Upstreams with the same name
// and canary are combined. If names collide, the upstream that is already written wins and the newcomer is out, so
// that nobody can push a service out of nginx by registering a similar name:
//
//	written    published            kept    out
//	web        web, Web             web     Web
//	a_b (b)    a_b, a canary b      a_b (b) service a_b
//	-          web, Web             Web     web       first in order of bytes
//	-          a_b, a canary b      a_b     a canary b
func Merge(written Set, parts ...Set) Set {
	var m Merger
	return m.Merge(written, parts...)
}

// Merger is [Merge] for repeated use: its cost depends on what changed since the last call. The zero value is ready
// to use.
type Merger struct {
	parts     []Set
	written   Set
	merged    Set
	contested map[Key]string // names that occur in more than one part, or twice in one part
}

// Merge joins sets as the function [Merge] does.
func (m *Merger) Merge(written Set, parts ...Set) Set {
	if len(parts) == 1 && parts[0].rivals == 0 {
		*m = Merger{}
		return parts[0]
	}
	changed := names{}
	for i := range max(len(parts), len(m.parts)) {
		changed.between(at(m.parts, i), at(parts, i))
	}
	for key, name := range m.contested {
		if old, was := m.written.Get(name); !was || !sameService(old, written, name) {
			changed[key] = name
		}
	}
	if m.contested == nil {
		m.contested = map[Key]string{}
	}
	m.parts, m.written = slices.Clone(parts), written
	m.merged = m.merged.renew(changed, func(key Key, name string) (kept []Upstream, out []Out) {
		var rivals []Upstream
		for _, s := range parts {
			rivals = slices.AppendSeq(rivals, values(s.list.Of(named(name))))
			out = slices.AppendSeq(out, s.Outs().Of(name))
		}
		if delete(m.contested, key); len(rivals) > 1 {
			m.contested[key] = name
		}
		halves := slices.Clone(rivals)
		rivals = whole(rivals)
		if len(rivals) == 0 {
			return nil, out
		}
		winner := choose(written, rivals)
		out = append(out, outvotedRoutes(halves, rivals[winner])...)
		for i, u := range rivals {
			if i != winner {
				out = append(out, Out{Service: u.Name, Upstream: u.Name, Reason: collision(rivals[winner])})
			}
		}
		return rivals[winner : winner+1], out
	})
	return m.merged
}

// outvotedRoutes returns notes for the routes that one half of an upstream has and the whole has not: in another registry it
// has more servers.
func outvotedRoutes(halves []Upstream, merged Upstream) (out []Out) {
	for _, p := range halves {
		if compare(p, merged) != 0 {
			continue
		}
		for _, r := range p.Routes {
			r.Side = 0
			if !slices.ContainsFunc(merged.Routes, func(o route.Route) bool { o.Side = 0; return o.Same(r) }) {
				out = append(out, Out{Service: p.Name, Upstream: p.Name, Route: r.Where(), Reason: outvoted.With()})
			}
		}
	}
	return out
}

func at(parts []Set, i int) Set {
	if i < len(parts) {
		return parts[i]
	}
	return Set{}
}

// sameService reports whether the set has an upstream of that name with the name and canary of u.
func sameService(u Upstream, in Set, name string) bool {
	o, there := in.Get(name)
	return there && o.Name == u.Name && o.Canary == u.Canary
}

func choose(written Set, rivals []Upstream) int {
	if old, ok := written.Get(rivals[0].Name); ok {
		same := func(u Upstream) bool { return u.Name == old.Name && u.Canary == old.Canary }
		if i := slices.IndexFunc(rivals, same); i >= 0 {
			return i
		}
	}
	return 0
}

func collision(with Upstream) reason.Reason {
	if with.Canary != "" {
		return collidesCanary.With(with.Name, with.Canary)
	}
	return collides.With(with.Name)
}
