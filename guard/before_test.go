package guard

import (
	"net/netip"
	"slices"

	"swallowkeeper/upstream"
)

// before judges as this program did before it had package guard: two neighbouring states, by min_services and
// max_removal alone. It is what a decision's cost is compared with.
type before struct{ Config }

// verdict is what may be written, what is held, and of how many servers where that is not what there is.
type verdict struct {
	accepted upstream.Set
	out      []upstream.Out
	held     []ServerID
	id       string
	base     int
}

func (c before) judge(last, seen upstream.Set) verdict {
	wanted := c.withoutUnusable(last, seen)
	gone := c.removals(last, wanted)
	if usable := seen.Usable(); usable < c.MinServices {
		return c.verdict(last, append(seen.Out(), KeptOut(last, seen.All(), seen.Outs(), outByHold.With())...), gone, RuleMinServices, 0)
	}
	base := last.Servers()
	if base >= smallest && float64(len(gone)) > c.MaxRemoval*float64(base) {
		wanted = c.restore(last, wanted, gone)
		return c.verdict(c.withoutRemoved(last, seen, wanted), wanted.Out(), gone, RuleMaxRemoval, base)
	}
	return c.verdict(c.withoutRemoved(last, seen, wanted), wanted.Out(), nil, "", 0)
}

func (c before) verdict(accepted upstream.Set, out []upstream.Out, held []ServerID, rule string, base int) verdict {
	if base == accepted.Servers() {
		base = 0
	}
	for i, o := range out {
		u, ok := accepted.Get(o.Upstream)
		if addr, err := netip.ParseAddrPort(o.Addr); err == nil && ok && u.Name == o.Upstream && c.serves(u, addr) {
			out[i].Reason = KeptAllTheSame.With(out[i].Reason)
		}
	}
	v := verdict{accepted: accepted, out: out, held: held, base: base}
	if held != nil {
		v.id = identify(rule, held)
	}
	return v
}

func (c before) serves(u upstream.Upstream, addr netip.AddrPort) bool {
	return slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr == addr && !s.Down })
}

func (c before) withoutUnusable(last, seen upstream.Set) upstream.Set {
	if seen.Usable() == seen.Len() {
		return seen
	}
	var list []upstream.Upstream
	for u := range seen.All() {
		if !u.Usable() {
			old, ok := last.Get(u.Name)
			if !ok || !SameService(old, u) || c.OnUnhealthy == Remove {
				continue
			}
			u.Servers = old.Servers
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, seen.Out()...)
}

func (c before) removals(last, wanted upstream.Set) []ServerID {
	var gone []ServerID
	for old := range last.All() {
		now, _ := wanted.Get(old.Name)
		for _, s := range old.Servers {
			if s.Down {
				continue
			}
			i, found := slices.BinarySearchFunc(now.Servers, s, func(a, b upstream.Server) int { return a.Addr.Compare(b.Addr) })
			if (!found || now.Servers[i].Down) && !now.Moved(s) {
				gone = append(gone, ServerID{Upstream: old.Name, Addr: s.Addr})
			}
		}
	}
	return gone
}

func (c before) restore(last, wanted upstream.Set, held []ServerID) upstream.Set {
	list, out := slices.Collect(wanted.All()), wanted.Out()
	for len(held) > 0 {
		name := held[0].Upstream
		old, _ := last.Get(name)
		back := upstream.Upstream{Name: old.Name, Canary: old.Canary, Options: old.Options}
		for ; len(held) > 0 && held[0].Upstream == name; held = held[1:] {
			addr := held[0].Addr
			back.Servers = append(back.Servers, old.Servers[slices.IndexFunc(old.Servers, func(s upstream.Server) bool { return s.Addr == addr })])
		}
		i := slices.IndexFunc(list, func(u upstream.Upstream) bool { return upstream.SameName(u.Name, name) })
		switch {
		case i < 0:
			list = append(list, back)
		case !SameService(old, list[i]):
			out = append(out, upstream.Out{
				Service: list[i].Name, Upstream: list[i].Name,
				Reason: nameHeld.With(old.Name),
			})
			list[i] = old
		default:
			back.Options = list[i].Options
			back.Servers = append(back.Servers, list[i].Servers...)
			list[i] = back
		}
	}
	return upstream.NewSet(list, out...)
}

func (c before) withoutRemoved(last, seen, wanted upstream.Set) upstream.Set {
	if c.OnRemoved != Down {
		return wanted
	}
	list := slices.Collect(wanted.All())
	for old := range last.All() {
		_, stays := wanted.Get(old.Name)
		_, registered := seen.Get(old.Name)
		if stays || registered || len(old.Servers) == 0 {
			continue
		}
		down := old.Servers[0]
		down.Down, down.Backup = true, false
		old.Servers = []upstream.Server{down}
		list = append(list, old)
	}
	return upstream.NewSet(list, wanted.Out()...)
}
