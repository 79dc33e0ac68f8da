package statustest

import (
	"slices"
	"strings"

	"swallowkeeper/status"
)

// count returns the numbers of upstreams, of their servers, and of instances that are out.
func count(all []status.Upstream) (upstreams, servers, out int) {
	for _, u := range all {
		for _, s := range u.Servers {
			if s.State == status.Out {
				out++
			} else {
				servers++
			}
		}
	}
	return len(all), servers, out
}

func clone(all []status.Upstream) []status.Upstream {
	all = slices.Clone(all)
	for i := range all {
		all[i].Options = slices.Clone(all[i].Options)
		all[i].Servers = slices.Clone(all[i].Servers)
	}
	return all
}

func without(freezes []status.Freeze, name string) []status.Freeze {
	return slices.DeleteFunc(slices.Clone(freezes), func(f status.Freeze) bool { return f.Name == name })
}

// lines returns the upstream in nginx syntax.
func lines(u status.Upstream) []string {
	var all []string
	for _, s := range u.Servers {
		if s.State != status.Out {
			all = append(all, strings.TrimSuffix("server "+s.Addr+" "+s.Options, " ")+";")
		}
	}
	for _, o := range u.Options {
		all = append(all, o+";")
	}
	return all
}

func diff(from, to []status.Upstream) status.Changes {
	before, after := byName(from), byName(to)
	var c status.Changes
	for _, u := range to {
		old, ok := before[u.Name]
		if !ok {
			c.Added = append(c.Added, status.ChangedLines{Name: u.Name, Lines: lines(u)})
			continue
		}
		in, out := missing(lines(u), lines(old)), missing(lines(old), lines(u))
		if len(in)+len(out) > 0 {
			c.Updated = append(c.Updated, status.UpstreamChange{Name: u.Name, In: in, Out: out})
		}
	}
	for _, u := range from {
		if _, ok := after[u.Name]; !ok {
			c.Removed = append(c.Removed, status.ChangedLines{Name: u.Name, Lines: lines(u)})
		}
	}
	c.Summary = counted.With(len(c.Added), len(c.Updated), len(c.Removed))
	return c
}

func byName(all []status.Upstream) map[string]status.Upstream {
	named := make(map[string]status.Upstream, len(all))
	for _, u := range all {
		named[u.Name] = u
	}
	return named
}

// missing returns the elements of some that others lack.
func missing(some, others []string) []string {
	return slices.DeleteFunc(slices.Clone(some), func(s string) bool { return slices.Contains(others, s) })
}

// explainHold sets why the servers of a hold would be removed, and the effect on their upstreams.
func (s *State) explainHold(h *status.Hold) {
	inTraffic := map[string]int{}
	why := map[status.HeldServer]status.Server{}
	for _, u := range s.Upstreams {
		for _, server := range u.Servers {
			if server.State != status.Out && server.State != status.Down {
				inTraffic[u.Name]++
			}
			why[status.HeldServer{Upstream: u.Name, Addr: server.Addr}] = server
		}
	}
	var going []status.Going
	for _, held := range h.Servers {
		g := status.Going{Upstream: held.Upstream, Addr: held.Addr, Reason: deregistered.With(), Since: h.Since}
		if held.Registered {
			server := why[status.HeldServer{Upstream: held.Upstream, Addr: held.Addr}]
			g.Reason, g.Since = server.Reason, server.Since
			if args, is := nodeCheck.Of(server.Reason); is {
				g.Node = strings.Trim(args[1].String(), `"`)
			}
		}
		going = append(going, g)
	}
	h.Causes, h.Effects = status.Causes(going), status.Effects(h.Servers, func(name string) int { return inTraffic[name] })
}
