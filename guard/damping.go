package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// A server that leaves traffic for the fourth time within the window stays out for a while, each time twice
// as long as before, up to the window. Damping only keeps a server out: it keeps none in.
const (
	dampedFrom = 4
	dampedFor  = 30 * time.Second
)

// penalty is until when a server stays out that left traffic so often.
func (c Config) penalty(times int, now time.Time) time.Time {
	if !c.Damping || times < dampedFrom {
		return time.Time{}
	}
	wait := min(dampedFor<<min(times-dampedFrom, 20), c.Window)
	return now.Add(wait)
}

// damped takes out what flapped, but never the last servers of a service that are usable.
func (s *step) damped(seen upstream.Set) upstream.Set {
	flapped := map[upstream.Key][]netip.AddrPort{}
	for id, d := range s.h.left {
		if !s.Damping || !s.Now.Before(d.until) {
			continue
		}
		u, listed := seen.Get(id.Upstream)
		old, _ := s.Accepted.Get(id.Upstream)
		if listed && serves(u)(id.Addr) && !serves(old)(id.Addr) {
			flapped[upstream.KeyOf(id.Upstream)] = append(flapped[upstream.KeyOf(id.Upstream)], id.Addr)
			s.wake(d.until)
		}
	}
	if len(flapped) == 0 {
		return seen
	}
	list, out := make([]upstream.Upstream, 0, seen.Len()), seen.Out()
	for u := range seen.All() {
		addrs := flapped[upstream.KeyOf(u.Name)]
		if len(addrs) > 0 && len(addrs) < serving(u) {
			u.Servers = slices.DeleteFunc(slices.Clone(u.Servers), func(srv upstream.Server) bool { return slices.Contains(addrs, srv.Addr) })
			for _, addr := range addrs {
				d := s.h.left[ServerID{u.Name, addr}]
				out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Addr: addr.String(), Reason: fmt.Sprintf(
					"it left traffic %d times within %s: it stays out until %s", d.times, setting.FormatDuration(s.Window), d.until.UTC().Format(time.RFC3339))})
			}
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, out...)
}
