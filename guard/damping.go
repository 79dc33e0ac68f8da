package guard

import (
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// A server that leaves traffic for the fourth time within the window stays out for a while, twice as long each time,
// up to the window. Damping never keeps a server in.
const (
	dampedFrom = 4
	dampedFor  = 30 * time.Second
)

// penalty returns until when a server that left traffic that many times stays out.
func (c Config) penalty(times int, now time.Time) time.Time {
	if !c.Damping || times < dampedFrom {
		return time.Time{}
	}
	wait := min(dampedFor<<min(times-dampedFrom, 20), c.Window)
	return now.Add(wait)
}

// damped removes servers that flap, but never all usable servers of a service.
func (s *step) damped(seen upstream.Set) upstream.Set {
	if !s.Damping {
		return seen
	}
	var put []upstream.Upstream
	var out []upstream.Out
	for old, u := range upstream.Changed(s.Accepted, seen) { // a damped server is listed but not written
		var addrs []netip.AddrPort
		var why []upstream.Out
		for e := range s.h.left.of(u.Name) {
			if d := e.is; s.Now.Before(d.until) && serves(u)(e.id.Addr) && !serves(old)(e.id.Addr) {
				s.wake(d.until)
				addrs = append(addrs, e.id.Addr)
				why = append(why, upstream.Out{
					Service: u.Name, Upstream: u.Name, Addr: e.id.Addr.String(),
					Reason: leftOften.With(d.times, setting.FormatDuration(s.Window), d.until.UTC().Format(time.RFC3339)),
				})
			}
		}
		if len(addrs) > 0 && len(addrs) < serving(u) {
			u.Servers = slices.DeleteFunc(slices.Clone(u.Servers), func(srv upstream.Server) bool { return slices.Contains(addrs, srv.Addr) })
			put, out = append(put, u), append(out, why...)
		}
	}
	return seen.With(put, nil).AlsoOut(out...)
}
