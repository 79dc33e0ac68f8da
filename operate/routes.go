package operate

import (
	"iter"
	"slices"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
	"swallowkeeper/wiring"
)

// routeKey identifies a route of an upstream by host and path.
type routeKey struct {
	upstream upstream.Key
	where    string
}

// refusals are the routes that gateways can't serve.
type refusals map[routeKey][]status.RefusedRoute

func (r refusals) add(gateway string, out iter.Seq[upstream.Out]) {
	for o := range out {
		if o.Route != "" {
			key := routeKey{upstream.KeyOf(o.Upstream), o.Route}
			r[key] = append(r[key], status.RefusedRoute{Gateway: gateway, Reason: o.Reason, Code: o.Reason.Code()})
		}
	}
}

// refusedBy does not ask the gateways, as their abilities are known.
func refusedBy(targets []wiring.Target, set upstream.Set) refusals {
	all := refusals{}
	for _, t := range targets {
		_, out := gateway.Admit(set, t.Gateway.Abilities())
		all.add(t.Name, slices.Values(out))
	}
	return all
}

// noteRoutes records the routes that are held or refused.
func (l *explainer) noteRoutes(st syncer.Status) {
	l.heldRoutes, l.refused = map[routeKey]bool{}, refusals{}
	for _, h := range st.Holds {
		for _, id := range h.Routes {
			if r, err := route.ParseText(id.Route, id.Upstream); err == nil {
				l.heldRoutes[routeKey{upstream.KeyOf(id.Upstream), r.Where()}] = true
			}
		}
	}
	for _, g := range st.Gateways {
		l.refused.add(g.Name, g.Out.All())
	}
}

// noRoutes becomes an empty list in JSON, where nil would be null.
var noRoutes = []status.Route{}

// routes returns the routes of an upstream.
func (l *explainer) routes(u upstream.Upstream) []status.Route {
	if len(u.Routes) == 0 {
		return noRoutes
	}
	var all []status.Route
	isFrozen := frozenBy(l.frozen, u.Name)
	for _, r := range u.Routes {
		key := routeKey{upstream.KeyOf(u.Name), r.Where()}
		shown := status.NewRoute(r, u.Name)
		why := routeRegistered.With(r.Origin)
		if r.Origin == "" {
			why = routeOrdered.With()
		}
		switch {
		case !isFrozen.IsZero():
			shown.State, why = status.Frozen, isFrozen
		case l.heldRoutes[key]:
			shown.State, why = status.Held, keptHeld.With()
		}
		shown.Reason, shown.Code, shown.Refused = why, why.Code(), l.refused[key]
		all = append(all, shown)
	}
	return all
}

// leaveRoute adds a route that is out.
func (l *explainer) leaveRoute(u *status.Upstream, o upstream.Out) {
	why := reason.Join(o.Reason, o.Detail())
	shown := status.Route{
		Route: safetext.Line(o.Route), Upstream: safetext.Line(u.Name), State: status.Out, Reason: why, Code: o.Reason.Code(), Addr: safetext.Line(o.Addr),
	}
	alike := func(r status.Route) bool {
		return r.State == status.Out && r.Route == shown.Route && r.Code == shown.Code
	}
	if i := slices.IndexFunc(u.Routes, alike); i >= 0 && shown.Addr != u.Routes[i].Addr {
		return // many instances register the same
	}
	u.Routes = append(u.Routes, shown)
}

// routeLines returns the routes of an upstream as in the conf file.
func routeLines(u upstream.Upstream) []string {
	var all []string
	for _, r := range u.Routes {
		r.Origin = ""
		all = append(all, "# route "+r.Text())
	}
	return all
}
