package gateway

import (
	"slices"
	"strconv"

	"swallowkeeper/upstream"
)

// Method is a balancing method that a gateway supports.
type Method struct {
	// Name is as in [upstream.Options]; "" is weighted round robin.
	Name string
	// Backup reports whether backup servers are supported.
	Backup bool
	// Unweighted reports that weights are not supported: all servers get the same share.
	Unweighted bool
}

// Nginx returns what an nginx can do with upstreams, however it receives them.
func Nginx() Abilities {
	var a Abilities
	for _, name := range upstream.Methods() {
		a.Methods = append(a.Methods, Method{Name: name, Backup: upstream.TakesBackup(name)})
	}
	return a
}

// Admit reduces the wanted set to what a gateway supports, and returns the reason for each upstream that is out. It is
// pure, and returns want itself if the gateway supports all of it.
//
//	wanted                              the gateway                admitted
//	a method                            does not have it           out: the live upstream of that name stays as it is
//	backups beside others               not with the method        they serve like the others
//	only backups                        needs another server       they serve like any other server
//	backups beside others               has no backups             they are out; if no other is up, they serve like the others
//	weights                             not with the method        all servers get the same share
//	a route                             lacks a part of it         the upstream without that route, which is out
func Admit(want upstream.Set, a Abilities) (upstream.Set, []upstream.Out) {
	set, out := (&Admission{Abilities: a}).Admit(want)
	return set, slices.Collect(out.All())
}

// Admission is [Admit] for successive sets. Its cost depends on what changed since the last one.
type Admission struct {
	Abilities
	filter upstream.Filter
	routed int // routes of the last set
}

// Admit is like the function Admit.
func (a *Admission) Admit(want upstream.Set) (upstream.Set, upstream.Outs) {
	if a.Methods == nil && want.RouteCount() == 0 && a.routed == 0 {
		return want, upstream.Outs{}
	}
	a.routed = want.RouteCount()
	return a.filter.Apply(want, upstream.Set{}, false, a.admit)
}

func (a *Admission) admit(u, _ upstream.Upstream) (upstream.Upstream, []upstream.Out) {
	u, out := a.Routes.admit(u)
	if a.Methods == nil {
		return u, out
	}
	i := slices.IndexFunc(a.Methods, func(m Method) bool { return m.Name == u.Options.Method })
	if i < 0 {
		return upstream.Upstream{}, []upstream.Out{{
			Service: u.Name, Upstream: u.Name, Reason: noMethod.With(strconv.Quote(u.Options.Method)),
		}}
	}
	if a.NoBackups && spared(u) {
		u, out = withoutBackups(u, out)
	}
	if n := backups(u); n > 0 && (!a.Methods[i].Backup || n == len(u.Servers) && !a.LoneBackups) {
		u.Servers = slices.Clone(u.Servers)
		for i := range u.Servers {
			u.Servers[i].Backup = false
		}
	}
	if a.Methods[i].Unweighted && weighted(u) {
		u.Servers = slices.Clone(u.Servers)
		for i := range u.Servers {
			u.Servers[i].Weight = 1
		}
	}
	return u, out
}

// spared reports whether an upstream has backups, and another server that is up.
func spared(u upstream.Upstream) bool {
	return backups(u) > 0 && slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return !s.Backup && !s.Down })
}

func withoutBackups(u upstream.Upstream, out []upstream.Out) (upstream.Upstream, []upstream.Out) {
	var kept []upstream.Server
	for _, s := range u.Servers {
		if s.Backup {
			out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Addr: s.Addr.String(), Reason: noBackup.With()})
			continue
		}
		kept = append(kept, s)
	}
	u.Servers = kept
	return u, out
}

// weighted reports whether servers have different weights.
func weighted(u upstream.Upstream) bool {
	return slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Weight != u.Servers[0].Weight })
}

// Loadable returns the part of a set that may be written: an nginx may load the conf file, whatever gateways are
// configured. It is for the finally accepted set, because a server that is only a backup in its own registry may back
// up servers from another registry, or servers that are held.
func Loadable(set upstream.Set) upstream.Set { return new(Loader).Loadable(set) }

// Loader is [Loadable] for successive sets. Its cost depends on what changed since the last one.
type Loader struct{ nginx Admission }

// Loadable is like the function Loadable.
func (l *Loader) Loadable(set upstream.Set) upstream.Set {
	if l.nginx.Methods == nil {
		l.nginx.Abilities = Nginx()
		l.nginx.Routes = AllRoutes() // routes are comments
	}
	set, _ = l.nginx.Admit(set)
	return set
}

func backups(u upstream.Upstream) int {
	n := 0
	for i := range u.Servers { // by index: a server is large to copy
		if u.Servers[i].Backup {
			n++
		}
	}
	return n
}
