package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/guard"
	"swallowkeeper/registry"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

func (p *program) explainCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "explain NAME [ADDR]", Args: takes(1, 2),
		Short: "Why each server of an upstream is in or out",
		Long: `explain says of every instance of an upstream whether it gets traffic and why: which
check, tag or rule, what the guard keeps, what is frozen, and what the registries
answer now. With ADDR it speaks of that one server, or without a port of all servers at
that address. Without the daemon it speaks of the conf file, and asks the registries itself.`,
		Example: `  swallowkeeper explain web
  swallowkeeper explain web 10.20.5.11:8080
  swallowkeeper explain web 10.20.5.11`,
		ValidArgsFunction: p.complete(upstreamNames, servers),
	}, func(ctx context.Context, o *operator, args []string) error {
		e, err := o.client.Explain(ctx, args[0])
		if err != nil {
			if err := o.gone(err, "this is what the conf file has, beside what the registries say"); err != nil {
				return o.suggest(ctx, args[0], err)
			}
			if e, err = o.explanation(ctx, args[0]); err != nil {
				return o.suggest(ctx, args[0], err)
			}
		}
		if len(args) == 2 {
			all := e.Servers
			e.Servers = slices.DeleteFunc(slices.Clone(all), func(s status.Server) bool { return !isAt(s.Addr, args[1]) })
			e.Instances = slices.DeleteFunc(e.Instances, func(f status.Finding) bool { return !isAt(f.Addr, args[1]) })
			if len(e.Servers)+len(e.Instances) == 0 {
				return fmt.Errorf("upstream %s has no server %q, in or out%s", printable(e.Name), args[1], serversOf(all))
			}
		}
		if done, err := o.encoded(e); done || err != nil {
			return err
		}
		o.printUpstream(e.Upstream)
		o.printInstances(e)
		for _, n := range e.Notes {
			o.say("  note: %s", printable(n))
		}
		return nil
	})
}

// isAt reports whether a server is the one that is meant, or one of those at that address.
func isAt(server, meant string) bool {
	if server == meant {
		return true
	}
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	one, err := netip.ParseAddr(strings.Trim(meant, "[]"))
	if err != nil {
		return host == meant
	}
	other, err := netip.ParseAddr(host)
	return err == nil && one.Unmap() == other.Unmap()
}

// serversOf names some of the servers that there are.
func serversOf(all []status.Server) string {
	var names []string
	for _, s := range all {
		names = append(names, printable(s.Addr))
	}
	if len(names) == 0 {
		return ""
	}
	const most = 5
	more := ""
	if n := len(names) - most; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return "; it has " + strings.Join(names[:min(most, len(names))], ", ") + more
}

// explanation is one without the daemon.
func (o *operator) explanation(ctx context.Context, name string) (status.Explanation, error) {
	e := status.Explanation{Instances: []status.Finding{}, Notes: []string{}}
	all, err := o.written()
	if err != nil {
		return e, err
	}
	e.Upstream = status.Upstream{Name: name, Options: []string{}, Servers: []status.Server{}}
	if i := slices.IndexFunc(all, func(u status.Upstream) bool { return upstream.SameName(u.Name, name) }); i >= 0 {
		e.Upstream, e.Written = all[i], true
	}
	quiet := silent()
	h, err := build(o.cfg, quiet, meters{})
	if err != nil {
		return e, err
	}
	defer h.close(quiet)
	instances, notes := explain(ctx, h.sources, e.Name)
	e.Instances, e.Notes = append(e.Instances, instances...), append(e.Notes, notes...)
	nameReasons(e.Servers, instances)
	if e.Frozen {
		keptOut(&e, "it is frozen")
	}
	if !e.Written && len(instances) == 0 {
		return e, fmt.Errorf("upstream %q is not in the conf file: %s", name, strings.Join(notes, "; "))
	}
	return e, nil
}

// printInstances adds what each registry says beyond what the servers' lines say already.
func (o *operator) printInstances(e status.Explanation) {
	said := func(f status.Finding) bool {
		return slices.ContainsFunc(e.Servers, func(s status.Server) bool {
			in := s.State == status.In
			return s.Addr == f.Addr && s.Reason == f.Reason && in == f.In && (!in || s.Origin == f.Registry)
		})
	}
	for i, f := range e.Instances {
		if i == 0 || e.Instances[i-1].Registry != f.Registry {
			same := " as above"
			if slices.ContainsFunc(e.Instances, func(o status.Finding) bool { return o.Registry == f.Registry && !said(o) }) {
				same = ""
			}
			asked := "asked now"
			if f.Index > 0 {
				asked += fmt.Sprintf(" (index %d)", f.Index)
			}
			o.say("  registry %s, %s:%s", printable(f.Registry), asked, same)
		}
		if !said(f) {
			verdict := "not usable"
			if f.In {
				verdict = "usable"
			}
			o.say("    %s %s: %s", cmp.Or(printable(f.Addr), "all of it"), verdict, printable(f.Reason))
		}
	}
}

// explainLimit is how long a registry may take to explain: somebody waits for it.
const explainLimit = 3 * time.Second

// explain asks all registries at once what they have for an upstream. What they can't tell
// is in the notes.
func explain(ctx context.Context, sources []syncer.Source, name string) (instances []status.Finding, notes []string) {
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	type answer struct {
		findings []upstream.Finding
		err      error
	}
	answers := make([]answer, len(sources))
	var asking sync.WaitGroup
	for i, src := range sources {
		if r, ok := src.Registry.(registry.Explainer); ok {
			asking.Go(func() { answers[i].findings, answers[i].err = r.Explain(ctx, name) })
		}
	}
	asking.Wait()
	for i, a := range answers {
		from := sources[i].Name
		switch {
		case a.err != nil:
			notes = append(notes, fmt.Sprintf("registry %s: %s", from, printable(a.err.Error())))
		case len(a.findings) == 0:
			notes = append(notes, fmt.Sprintf("registry %s has nothing of this name now", from))
		}
		for _, f := range a.findings {
			instances = append(instances, status.Finding{
				Registry: from, Addr: printable(f.Addr), In: f.In, Reason: printable(f.Reason), Index: f.Index,
			})
		}
	}
	return instances, notes
}

// keepsOut says what keeps a usable instance of an upstream out of traffic, "" for nothing.
func keepsOut(st syncer.Status, name string) string {
	for _, f := range st.Generation.Frozen {
		switch {
		case f.Name == "":
			return "everything is frozen " + frozenUntil(f.Until)
		case upstream.SameName(f.Name, name):
			return "the upstream is frozen " + frozenUntil(f.Until)
		}
	}
	for _, h := range st.Holds {
		if h.Rule == guard.RuleMinServices {
			return "the guard holds everything"
		}
	}
	return ""
}

// keptOut says of instances that are usable and out what keeps them out.
func keptOut(e *status.Explanation, why string) {
	for _, f := range e.Instances {
		if !f.In || why == "" {
			continue
		}
		i := slices.IndexFunc(e.Servers, func(s status.Server) bool { return s.Addr == f.Addr })
		if i < 0 {
			i = len(e.Servers)
			e.Servers = append(e.Servers, status.Server{Addr: f.Addr, State: status.Out, Origin: f.Registry})
		}
		if s := &e.Servers[i]; s.State == status.Out {
			s.Reason = fmt.Sprintf("its registry lists it (%s), but %s", f.Reason, why)
		}
	}
}

// nameReasons says of each server that is in by which check, tag or rule.
func nameReasons(servers []status.Server, instances []status.Finding) {
	for i, s := range servers {
		n := slices.IndexFunc(instances, func(f status.Finding) bool {
			return f.In && f.Addr == s.Addr && f.Registry == s.Origin
		})
		if s.State == status.In && n >= 0 {
			servers[i].Reason = instances[n].Reason
		}
	}
}
