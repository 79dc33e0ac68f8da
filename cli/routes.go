package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

func (p *program) routesCommand() *cobra.Command {
	c := p.asking(&cobra.Command{
		Use: "routes [UPSTREAM]", Args: takes(0, 1),
		Short: "List the routes in the order in which they are tried, and those that are out",
		Long: `routes lists which requests go to which upstream, in the order in which the routes are
tried, and then the routes that are registered but out, each with its reason. With UPSTREAM
it lists only the routes of that one; UPSTREAM may contain the wildcards * and ?. If the
daemon does not run, it lists what the conf file has.`,
		Example: `  swallowkeeper routes
  swallowkeeper routes web
  swallowkeeper routes -o json
  swallowkeeper routes match GET http://shop.example/orders/42`,
		ValidArgsFunction: p.complete(upstreamNames),
	}, func(ctx context.Context, o *operator, args []string) error {
		all, err := o.Upstreams(ctx)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			if all, err = chosen(all, args[0]); err != nil {
				return err
			}
		}
		routes := status.AllRoutes(slices.Values(all))
		if done, err := o.encoded(map[string]any{"routes": routes}); done || err != nil {
			return err
		}
		return o.printRoutes(routes)
	})
	c.AddCommand(p.asking(&cobra.Command{
		Use: "match METHOD URL", Args: takes(2, 2),
		Short: "Show which route takes a request, and why the others do not",
		Long: `match shows which route takes a request, the upstream and the path that it is sent to, and
why each other route does not take it. It uses the accepted state, and sends no request. URL
may also be HOST/PATH or /PATH.

It exits with 0 if a route takes the request, and 1 if none does.`,
		Example: `  swallowkeeper routes match GET http://shop.example/orders/42
  swallowkeeper routes match POST /orders -o json`,
	}, func(ctx context.Context, o *operator, args []string) error {
		all, err := o.Upstreams(ctx)
		if err != nil {
			return err
		}
		m, err := status.MatchRoute(status.AllRoutes(slices.Values(all)), args[0], args[1])
		if err != nil {
			return operate.Exit(status.ExitUsage, err)
		}
		if done, err := o.encoded(m); err != nil {
			return err
		} else if !done {
			o.printMatch(m)
		}
		if m.Takes == nil {
			return exitWith(status.ExitFailed)
		}
		return nil
	}))
	return c
}

// printRoutes prints a table of routes.
func (o *operator) printRoutes(routes []status.Route) error {
	if len(routes) == 0 {
		o.say("there are no routes")
		return nil
	}
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tMETHODS\tROUTE\tUPSTREAM\tOPTIONS")
	for _, r := range routes {
		row := []string{r.State, cmp.Or(strings.Join(r.Methods, ","), "any"), r.Route, r.Upstream, routeOptions(r)}
		for i := range row {
			row[i] = safetext.Line(row[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range routes {
		if r.State != status.In {
			o.say("%s %s of %s: %s", o.c.bad(r.State), safetext.Line(r.Route), o.c.name(safetext.Line(r.Upstream)), r.Reason)
		}
		for _, g := range r.Refused {
			o.say("%s at gateway %s: %s: %s", o.c.bad("out"), safetext.Line(g.Gateway), safetext.Line(r.Route), g.Reason)
		}
	}
	return nil
}

// routeOptions describes how requests are changed.
func routeOptions(r status.Route) string {
	var all []string
	for _, option := range strings.Fields(r.Text) {
		if strings.Contains(option, "=") && !strings.HasPrefix(option, "methods=") && !strings.HasPrefix(option, r.Route) {
			all = append(all, option)
		}
	}
	return strings.Join(all, " ")
}

func (o *operator) printMatch(m status.RouteMatch) {
	request := m.Method + " " + m.Host + m.Path
	if m.Takes == nil {
		o.say("%s: %s takes %s", o.c.bad("none"), "no route", safetext.Line(request))
	} else {
		o.say("%s: %s goes to upstream %s, which is asked for %s", o.c.good(safetext.Line(m.Takes.Route)), safetext.Line(request),
			o.c.name(safetext.Line(m.Takes.Upstream)), safetext.Line(m.To))
		if options := routeOptions(*m.Takes); options != "" {
			o.say("  %s", safetext.Line(options))
		}
		for _, g := range m.Takes.Refused {
			o.say("  %s at gateway %s: %s", o.c.bad("not"), safetext.Line(g.Gateway), g.Reason)
		}
	}
	for _, other := range m.Others {
		o.say("  not %s of %s: %s", safetext.Line(other.Route), safetext.Line(other.Upstream), other.Reason)
	}
}

// printUpstreamRoutes prints the routes below their upstream.
func (o *operator) printUpstreamRoutes(routes []status.Route) {
	for _, r := range routes {
		state := o.c.good(r.State)
		if r.State != status.In {
			state = o.c.bad(r.State)
		}
		o.say("  route %s %s: %s", state, safetext.Line(cmp.Or(r.Text, r.Route)), r.Reason)
		for _, g := range r.Refused {
			o.say("      %s at gateway %s: %s", o.c.bad("out"), safetext.Line(g.Gateway), g.Reason)
		}
	}
}
