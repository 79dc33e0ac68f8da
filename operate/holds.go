package operate

import (
	"cmp"

	"swallowkeeper/guard"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// showHolds converts holds, and tells which servers are still registered: those are in out. accepted is the set that
// contains the servers, and since tells when instances went out. Both may be empty.
func showHolds(holds []guard.Hold, out upstream.Outs, accepted upstream.Set, since syncer.Since) []status.Hold {
	shown := make([]status.Hold, 0, len(holds))
	if len(holds) == 0 {
		return shown
	}
	registered := make(map[outKey]upstream.Out, out.Len())
	for o := range out.All() {
		if o.Route == "" {
			registered[keyOf(o)] = o
		}
	}
	for _, h := range holds {
		one := status.Hold{
			ID: h.ID, Rule: h.Rule, Upstream: h.Upstream, Reason: h.Reason, Code: h.Reason.Code(), Since: h.Since,
			Servers: []status.HeldServer{}, Of: h.Of, KeptOut: len(h.KeptOut), Routes: []status.HeldRoute{},
		}
		for _, r := range h.Routes {
			one.Routes = append(one.Routes, status.HeldRoute{Upstream: r.Upstream, Route: r.Route})
		}
		found := foundBy(h)
		going := make([]status.Going, 0, len(h.Removed))
		for _, r := range h.Removed {
			addr := r.Addr.String()
			o, there := registered[outKey{upstream.KeyOf(r.Upstream), addr}]
			one.Servers = append(one.Servers, status.HeldServer{Upstream: r.Upstream, Addr: addr, Registered: there, Witness: found[r]})
			if !there { // a rule may leave out the whole service
				o = registered[outKey{upstream.KeyOf(r.Upstream), ""}]
			}
			g := status.Going{Upstream: r.Upstream, Addr: addr, Reason: deregistered.With(), Since: h.Since}
			if !o.Reason.IsZero() {
				g.Reason, g.Node, g.Since = ownReason(o), safetext.Line(o.Node), since.Out(o)
			}
			going = append(going, g)
		}
		one.Causes = status.Causes(going)
		if accepted.Len() > 0 {
			one.Effects = status.Effects(one.Servers, func(name string) int { return serving(accepted, name) })
		}
		shown = append(shown, one)
	}
	return shown
}

// serving counts the servers of an upstream that receive traffic.
func serving(accepted upstream.Set, name string) (n int) {
	u, _ := accepted.Get(name)
	for _, s := range u.Servers {
		if !s.Down {
			n++
		}
	}
	return n
}

// ownReason returns why an instance is out, without the note that it still receives traffic.
func ownReason(o upstream.Out) reason.Reason {
	if args, kept := guard.KeptAllTheSame.Of(o.Reason); kept {
		return args[0]
	}
	return o.Reason
}

// foundBy returns what the witness found out about a hold's servers.
func foundBy(h guard.Hold) map[guard.ServerID]string {
	found := make(map[guard.ServerID]string, len(h.Alive)+len(h.Dead))
	for _, id := range h.Alive {
		found[id] = status.Alive
	}
	for _, id := range h.Dead {
		found[id] = status.Dead
	}
	return found
}

// outKey identifies an instance of an upstream.
type outKey struct {
	upstream upstream.Key
	addr     string
}

func keyOf(o upstream.Out) outKey {
	return outKey{upstream.KeyOf(cmp.Or(o.Upstream, o.Service)), o.Addr}
}
