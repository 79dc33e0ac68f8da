package syncer

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swallowkeeper/upstream"
)

// smallest is the number of servers from which on MaxRemoval counts: of three or
// fewer, taking one away is already a large share.
const smallest = 4

// recovery is how long a registry that comes back piece by piece must stay as it is before
// what is still missing counts as removed.
const recovery = 30 * time.Second

// Rules that can hold a change.
const (
	RuleMinServices = "min_services"
	RuleMaxRemoval  = "max_removal"
)

// Verdict is what the guard says of a set.
type Verdict struct {
	// Accepted may be written and pushed.
	Accepted upstream.Set
	// Out is what is registered and gets no traffic, or would not if the guard did not keep it.
	Out []upstream.Out
	// Hold is what may not, nil where all may.
	Hold *Hold
	// Base goes with Accepted: see upstream.Generation.
	Base int
}

// Hold is a change that the guard does not let through.
type Hold struct {
	ID      string // names exactly this change: another change has another
	Rule    string // RuleMinServices or RuleMaxRemoval
	Reason  string // in words, with the figures
	Removed []Held // the servers that stay because of it
	Of      int    // of so many servers
}

// Held is one server that stays although its registry does not list it any more.
type Held struct {
	Upstream string
	Addr     netip.AddrPort
}

// Judge judges the newest set that the registries gave against the last accepted
// generation. It is pure: the same two get the same verdict, also after what was
// accepted of the one has become the other. released is the ID of a hold that is let
// through all the same, because a person approved it or its time is up.
//
// With the defaults (min_services 1, max_removal 0.5, keep, delete):
//
//	last            seen                 accepted          held
//	-               a: 1 2               a: 1 2
//	a: 1            a: 1 2               a: 1 2
//	a: 1 2          a: 2                 a: 2                             of 2 servers, 1 may go
//	a: 1 2, b: 3    a: none usable, b: 3 a: 1 2, b: 3                     on_unhealthy = keep
//	a: 1 2, b: 3    a: none usable, b: 3 b: 3                             on_unhealthy = remove
//	a: 1, b: 2      b: 2                 b: 2                             on_removed = delete
//	a: 1, b: 2      b: 2                 a: 1 down, b: 2                  on_removed = down
//	a: 1 2          -                    a: 1 2            everything     0 services, 1 needed
//	a: 1 2 3 4      a: 1 2               a: 1 2                           half of 4 may go
//	a: 1 2 3 4      a: 1                 a: 1 2 3 4        2 3 4          3 of 4 may not
//	a: 1 2 3 4      a: 5                 a: 1 2 3 4 5      1 2 3 4        what is new goes through
//	a: 1 2 3, b: 4  b: 4 5               a: 1 2 3, b: 4 5  a              3 of 4 may not
func (c GuardConfig) Judge(written upstream.Generation, seen upstream.Set, released string) Verdict {
	return c.judge(written, seen, released, false)
}

// judge is Judge, and while the registry is recovering it holds every removal, however
// small: see Syncer.judge.
func (c GuardConfig) judge(written upstream.Generation, seen upstream.Set, released string, recovering bool) Verdict {
	last := written.Set
	wanted := c.withoutUnusable(last, seen)
	if hold := c.tooFew(last, seen, wanted); hold != nil && hold.ID != released {
		return verdict(last, keptOut(last, seen.All(), seen.Out(), "a hold on everything"), hold, written.Base)
	} else if hold == nil {
		base := cmp.Or(written.Base, last.Servers())
		if hold = c.tooMany(base, removals(last, wanted), recovering); hold != nil && hold.ID != released {
			wanted = restore(last, wanted, hold.Removed)
			return verdict(c.withoutRemoved(last, seen, wanted), wanted.Out(), hold, base)
		}
	}
	// Nothing is held, or what was is released: then the other rule does not hold it either.
	return verdict(c.withoutRemoved(last, seen, wanted), wanted.Out(), nil, 0)
}

// KeptAllTheSame ends the reason of what is out by its registry, and yet gets traffic.
const KeptAllTheSame = ": it is kept in traffic all the same"

// verdict is what is accepted as nginx takes it, and of what is out it says what is kept
// in traffic all the same.
func verdict(accepted upstream.Set, out []upstream.Out, hold *Hold, base int) Verdict {
	accepted = accepted.Loadable()
	if base == accepted.Servers() {
		base = 0
	}
	for i, o := range out {
		u, ok := accepted.Get(o.Upstream)
		if addr, err := netip.ParseAddrPort(o.Addr); err == nil && ok && u.Name == o.Upstream && serves(u, addr) {
			out[i].Reason += KeptAllTheSame
		}
	}
	return Verdict{Accepted: accepted, Out: out, Hold: hold, Base: base}
}

func serves(u upstream.Upstream, addr netip.AddrPort) bool {
	return slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr == addr && !s.Down })
}

// keptOut adds to what is out the servers of upstreams that are usable and that last does not have:
// what keeps it as it is keeps them out. An address that is out by another instance has its reason.
func keptOut(last upstream.Set, upstreams iter.Seq[upstream.Upstream], out []upstream.Out, by string) []upstream.Out {
	has := make(map[Held]bool, len(out))
	for _, o := range out {
		if addr, err := netip.ParseAddrPort(o.Addr); err == nil {
			has[Held{o.Upstream, addr}] = true
		}
	}
	for u := range upstreams {
		old, _ := last.Get(u.Name)
		name := cmp.Or(old.Name, u.Name)
		for _, addr := range serving(u) {
			if !serves(old, addr) && !has[Held{name, addr}] {
				out = append(out, upstream.Out{
					Service: u.Name, Upstream: name, Addr: addr.String(), Reason: "it is usable, and " + by + " keeps it out",
				})
			}
		}
	}
	return out
}

// withoutUnusable answers OnUnhealthy: afterwards every upstream has a server.
func (c GuardConfig) withoutUnusable(last, seen upstream.Set) upstream.Set {
	if seen.Usable() == seen.Len() {
		return seen
	}
	var list []upstream.Upstream
	for u := range seen.All() {
		if !u.Usable() {
			old, ok := last.Get(u.Name)
			if !ok || !sameService(old, u) || c.OnUnhealthy == Remove {
				continue
			}
			u.Servers = old.Servers
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, seen.Out()...)
}

// tooFew answers MinServices. What counts is what the registries list, not what is kept.
func (c GuardConfig) tooFew(last, seen, wanted upstream.Set) *Hold {
	usable := seen.Usable()
	if usable >= c.MinServices {
		return nil
	}
	change := upstream.Diff(last, wanted)
	return &Hold{
		ID: identify(RuleMinServices, change.Added, change.Updated, change.Removed), Rule: RuleMinServices,
		Reason: fmt.Sprintf("the registries list %d services with a usable server, min_services is %d: everything is held",
			usable, c.MinServices),
		Removed: removals(last, wanted), Of: last.Servers(),
	}
}

// emptied is the hold on what comes from registries that suddenly list nothing usable while
// others go on: to each of them its own part is everything.
func emptied(written upstream.Set, registries []string) *Hold {
	h := &Hold{ID: identify(RuleMinServices, registries), Rule: RuleMinServices, Of: written.Servers()}
	for _, name := range registries {
		h.Removed = append(h.Removed, removals(written.From(name), upstream.Set{})...)
	}
	h.Reason = fmt.Sprintf("%s lists no service with a usable server any more: the %d servers from there are held",
		strings.Join(registries, " and "), len(h.Removed))
	return h
}

// tooMany answers MaxRemoval: how many may go is a share of base. Of what came while removals were held more may go
// than base has: then as many are spoken of.
func (c GuardConfig) tooMany(base int, gone []Held, recovering bool) *Hold {
	within := base < smallest || float64(len(gone)) <= c.MaxRemoval*float64(base)
	if within && (len(gone) == 0 || !recovering) {
		return nil
	}
	total := max(base, len(gone))
	reason := fmt.Sprintf("%d of %d servers would go, max_removal allows %d%%: removals are held",
		len(gone), total, int(c.MaxRemoval*100))
	if within {
		reason = fmt.Sprintf("%d of %d servers are still missing: removals are held until nothing has come back for %s",
			len(gone), total, recovery)
	}
	return &Hold{ID: identify(RuleMaxRemoval, gone), Rule: RuleMaxRemoval, Reason: reason, Removed: gone, Of: total}
}

// partOf reports whether the hold keeps only what the other one kept, and less of it.
func (h *Hold) partOf(other *Hold) bool {
	return other != nil && len(h.Removed) < len(other.Removed) && h.within(other)
}

// within reports whether the hold keeps nothing that the other one did not keep.
func (h *Hold) within(other *Hold) bool {
	return !slices.ContainsFunc(h.Removed, func(r Held) bool { return !slices.Contains(other.Removed, r) })
}

// removals lists the servers that get traffic in last and none in wanted, but those that have moved.
func removals(last, wanted upstream.Set) []Held {
	var gone []Held
	for old := range last.All() {
		now, _ := wanted.Get(old.Name)
		for _, s := range old.Servers {
			if s.Down {
				continue
			}
			i, found := slices.BinarySearchFunc(now.Servers, s, func(a, b upstream.Server) int { return a.Addr.Compare(b.Addr) })
			if (!found || now.Servers[i].Down) && !now.Moved(s) {
				gone = append(gone, Held{Upstream: old.Name, Addr: s.Addr})
			}
		}
	}
	return gone
}

// sameService reports whether both come from one service: upstreams whose names collide do not.
func sameService(a, b upstream.Upstream) bool { return a.Name == b.Name && a.Canary == b.Canary }

// restore puts the held servers back as they were. A newcomer that took the name of an
// upstream that is held is out for as long: what is written stays.
func restore(last, wanted upstream.Set, held []Held) upstream.Set {
	list, out := slices.Collect(wanted.All()), wanted.Out()
	for len(held) > 0 {
		name := held[0].Upstream
		old, _ := last.Get(name)
		back := upstream.Upstream{Name: old.Name, Canary: old.Canary, Options: old.Options}
		for ; len(held) > 0 && held[0].Upstream == name; held = held[1:] {
			addr := held[0].Addr
			s := old.Servers[slices.IndexFunc(old.Servers, func(s upstream.Server) bool { return s.Addr == addr })]
			back.Servers = append(back.Servers, s)
		}
		i := slices.IndexFunc(list, func(u upstream.Upstream) bool { return upstream.SameName(u.Name, name) })
		switch {
		case i < 0:
			list = append(list, back)
		case !sameService(old, list[i]):
			out = append(out, upstream.Out{
				Service: list[i].Name, Upstream: list[i].Name,
				Reason: fmt.Sprintf("its name collides with upstream %s, whose removal is held", old.Name),
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

// withoutRemoved answers OnRemoved for the upstreams that wanted does not have because they
// are deregistered. What OnUnhealthy removes is registered still.
func (c GuardConfig) withoutRemoved(last, seen, wanted upstream.Set) upstream.Set {
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

// identify makes an ID that another change does not have.
func identify(rule string, change ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %v", rule, change))
	return hex.EncodeToString(sum[:6])
}
