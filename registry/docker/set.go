package docker

import (
	"slices"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// set makes a set of all instances. An address that is offered twice is in if either is usable.
func (r *Registry) set(instances []Instance) upstream.Set {
	services := map[string][]Instance{}
	var out []upstream.Out
	for _, i := range instances {
		if i.apart {
			out = append(out, upstream.Out{Service: safetext.Cut(i.Service, mostText), Reason: i.Out})
			continue
		}
		services[i.Service] = append(services[i.Service], i)
	}
	var all []upstream.Upstream
	for name, of := range services {
		u := upstream.Upstream{Name: name, Options: r.defaults.For(name).Options}
		used := map[string]bool{}
		for _, i := range of {
			if i.ID != "" && i.Reached && i.Out.IsZero() {
				u.Servers = append(u.Servers, i.Server)
				used[i.Server.Addr.String()] = true
			}
		}
		for _, i := range of {
			addr := i.addr()
			if i.ID == "" || i.Out.IsZero() || used[addr] {
				continue
			}
			o := upstream.Out{Service: name, Upstream: name, Addr: addr, Reason: i.Out, Unhealthy: i.Unhealthy}
			if addr == "" {
				o.Instance = safetext.Cut(i.Container, mostText)
			}
			out = append(out, o)
		}
		var outRoutes []upstream.Out
		u.Routes, outRoutes = elect(name, of)
		out = append(out, outRoutes...)
		all = append(all, u)
	}
	return upstream.NewSet(all, out...)
}

// addr returns where an instance is reached, "" if unknown.
func (i *Instance) addr() string {
	if i.Server.Addr.IsValid() {
		return i.Server.Addr.String()
	}
	return ""
}

// elect decides the routes of a service: those of usable instances, or else of all.
func elect(name string, of []Instance) ([]route.Route, []upstream.Out) {
	voters := slices.Clone(of)
	slices.SortFunc(voters, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	usable := slices.DeleteFunc(slices.Clone(voters), func(i Instance) bool { return !i.Out.IsZero() && i.ID != "" })
	if len(usable) > 0 {
		voters = usable
	}
	claims := make([][]route.Route, len(voters))
	for i, v := range voters {
		claims[i] = v.Routes
	}
	won, lost := route.Elect(claims)
	var out []upstream.Out
	note := func(o upstream.Out) {
		o.Service, o.Upstream = name, name
		if !slices.ContainsFunc(out, o.Same) {
			out = append(out, o)
		}
	}
	for _, at := range lost {
		for _, r := range voters[at].Routes {
			note(upstream.Out{Route: r.Where(), Reason: lostRoutes.With()})
		}
	}
	for _, v := range of {
		for _, b := range v.Bad {
			note(upstream.Out{Route: safetext.Cut(b.Text, mostText), Reason: reason.Of(b.Err)})
		}
	}
	return won, out
}
