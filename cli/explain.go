package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/status"
)

func (p *program) explainCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "explain NAME [ADDR]", Args: takes(1, 2),
		Short: "Explain why each server of an upstream is in or out",
		Long: `explain tells for every instance of an upstream whether it receives traffic and why: the
check, tag or rule, what the guard keeps, what is frozen, and what the registries answer
now. With ADDR it explains that server only, or without a port all servers at that
address. If the daemon does not run, it reads the conf file and asks the registries itself.`,
		Example: `  swallowkeeper explain web
  swallowkeeper explain web 10.20.5.11:8080
  swallowkeeper explain web 10.20.5.11`,
		ValidArgsFunction: p.complete(upstreamNames, servers),
	}, func(ctx context.Context, o *operator, args []string) error {
		e, err := o.Explain(ctx, args[0])
		if err != nil {
			return o.suggest(ctx, args[0], err)
		}
		if len(args) == 2 {
			all := e.Servers
			e.Servers = slices.DeleteFunc(slices.Clone(all), func(s status.Server) bool { return !isAt(s.Addr, args[1]) })
			e.Instances = slices.DeleteFunc(e.Instances, func(f status.Finding) bool { return !isAt(f.Addr, args[1]) })
			if len(e.Servers)+len(e.Instances) == 0 {
				return fmt.Errorf("upstream %s has no server %q, in or out%s", safetext.Line(e.Name), args[1], serversOf(all))
			}
		}
		if done, err := o.encoded(e); done || err != nil {
			return err
		}
		o.printUpstream(e.Upstream)
		o.printInstances(e)
		for _, n := range e.Notes {
			o.say("  note: %s", n)
		}
		return nil
	})
}

// isAt reports whether a server is the requested one, or one at the requested address.
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

// serversOf names some of the servers.
func serversOf(all []status.Server) string {
	var names []string
	for _, s := range all {
		names = append(names, safetext.Line(s.Addr))
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

// printInstances prints what the registries report beyond the servers' own lines.
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
			o.say("  registry %s, %s:%s", safetext.Line(f.Registry), asked, same)
		}
		if !said(f) {
			verdict := "not usable"
			if f.In {
				verdict = "usable"
			}
			o.say("    %s %s: %s", cmp.Or(safetext.Line(f.Addr), "all of it"), verdict, f.Reason)
		}
	}
}
