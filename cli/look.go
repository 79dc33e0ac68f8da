package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/near"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
	"swallowkeeper/upstream"
)

// Commands that only read. They print to standard output; what they could not find out goes to standard error.

func (p *program) statusCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "status", Args: takes(0, 0),
		Short: "Show whether all is in sync, and what is held and why",
		Long: `status shows the current state: whether every gateway is in sync, what the guard holds and
why, what is frozen, and the state of the registries and the conf file.

It exits with 0 if all is in sync, 1 if the daemon does not run or a registry or the file
is in trouble, 3 if the guard holds a change, 4 if a gateway is out of sync. If the daemon
does not run, it reads the conf file and asks the gateways.`,
		Example: `  swallowkeeper status
  swallowkeeper status -o json
  swallowkeeper status --address http://10.0.0.5:9180     of another machine`,
	}, func(ctx context.Context, o *operator, _ []string) error {
		st, err := o.Status(ctx)
		if err != nil {
			return err
		}
		if done, err := o.encoded(st); err != nil {
			return err
		} else if !done {
			o.printStatus(st)
		}
		return exitWith(status.Judge(st).ExitCode)
	})
}

// exitWith returns an error with an exit code that prints nothing.
func exitWith(code int) error {
	if code == status.ExitInSync {
		return nil
	}
	return operate.Exit(code, operate.ErrReported)
}

func (o *operator) printStatus(st status.Status) {
	v := status.Judge(st)
	line := o.c.bad(v.Text.String())
	if v.Level == status.LevelOK {
		line = o.c.good(v.Text.String())
	}
	if len(st.Reasons) > 0 {
		o.say("%s: %s", line, reason.Join(st.Reasons...))
	} else {
		o.say("%s: generation %d, %d upstreams, %d servers", line, st.Generation.Number, st.Upstreams, st.Servers)
	}
	o.printUnserved(st.Unserved)
	if !st.Generation.Reason.IsZero() {
		o.say("last change: %s, %s%s", operate.When(st.Generation.Time), st.Generation.Reason, byWords(st.Generation.By, st.Generation.Why))
	}
	for _, h := range st.Holds {
		o.printHold(h)
	}
	for _, f := range st.Freezes {
		o.say("%s: %s%s (swallowkeeper unfreeze %s)", o.c.bad("frozen"), freezeWords(f), byWords(f.By, f.Why), unfreezeArg(f))
	}
	for _, r := range st.Registries {
		state := o.c.good("read")
		if r.Trouble != "" {
			state = o.c.bad(safetext.Line(r.Trouble))
			if !r.TroubleSince.IsZero() {
				state += ", since " + operate.When(r.TroubleSince)
			}
		} else if r.Answered.IsZero() {
			state = o.c.bad("no answer yet")
		}
		if !r.Heard.IsZero() {
			state += ", last answer " + operate.When(r.Heard)
		}
		o.say("registry %s: %s", r.Name, state)
	}
	for _, g := range st.Gateways {
		state := o.c.good("in sync")
		if !g.InSync {
			state = o.c.bad(cmp.Or(safetext.Line(g.Error), "out of sync"))
		}
		workers := ""
		if n := len(g.Workers); n > 0 {
			workers = fmt.Sprintf(", %d workers", n)
		}
		o.say("gateway %s: %s (generation %d%s)", g.Name, state, g.Generation, workers)
		for _, w := range g.Workers {
			if w.Error != "" {
				o.say("  worker %s: %s", w.ID, o.c.bad(safetext.Line(w.Error)))
			}
		}
	}
	if st.Out > 0 {
		o.say("left out: %d in %d upstreams (swallowkeeper upstreams)", st.Out, st.OutOf)
	}
	if st.RoutesOut > 0 {
		o.say("routes out: %d of %d (swallowkeeper routes)", st.RoutesOut, st.Routes+st.RoutesOut)
	}
	for _, l := range st.LeftOut {
		o.say("  %s: %d: %s", o.c.name(safetext.Line(l.Upstream)), l.Out, reasonWords(l.Reasons))
	}
	if more := st.OutOf - len(st.LeftOut); len(st.LeftOut) > 0 && more > 0 {
		o.say("  and %d more upstreams", more)
	}
}

// printUnserved names the upstreams without a healthy server, and why.
func (o *operator) printUnserved(unserved []status.Unserved) {
	for i, u := range unserved {
		if i == mostStaying-o.fewer {
			o.say("  and %d more upstreams without a healthy server", len(unserved)-i)
			return
		}
		why := reasonWords(u.Reasons)
		if why == "" {
			why = "no instance is listed"
		}
		o.say("%s: %s: %d still receive traffic: %s", o.c.bad("no healthy server"), o.c.name(safetext.Line(u.Upstream)), u.Servers, why)
	}
}

// reasonWords lists each reason once, with its count.
func reasonWords(reasons []status.Reason) string {
	var words []string
	for _, r := range reasons {
		text := r.Text.String()
		if r.Count > 1 {
			text += fmt.Sprintf(" (%d)", r.Count)
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

func (o *operator) printHold(h status.Hold) {
	since := ""
	if !h.Since.IsZero() { // a plan's hold has not begun
		since = " (since " + operate.When(h.Since) + ")"
	}
	o.say("%s: %s%s", o.c.bad("held"), h.Reason, since)
	o.say("  to let exactly this through: swallowkeeper approve %s", h.ID)
	if h.Rule == guard.RuleMinServices {
		o.say("  the rule holds again after that: if there are fewer services for good, lower guard.min_services and reload")
	}
	if gone, unusable := status.CountHeld(h); gone+unusable > 0 {
		o.say("  %d servers stay: %d deregistered, %d registered but not usable", gone+unusable, gone, unusable)
	}
	for _, c := range h.Causes {
		o.say("  %s", causeWords(c, len(h.Servers)))
	}
	o.printStays(h)
	for i, r := range h.Routes {
		if i == mostStaying {
			o.say("  and %d more routes", len(h.Routes)-i)
			break
		}
		o.say("  stays: %s route %s", o.c.name(safetext.Line(r.Upstream)), safetext.Line(r.Route))
	}
}

// How many upstreams of a hold are shown, and how many servers of each.
const mostStaying, mostOfOne = 20, 6

// causeWords tells how many of a hold's servers would be removed for a reason, and where they run.
func causeWords(c status.Cause, all int) string {
	line := fmt.Sprintf("%d of them: ", c.Servers)
	if c.Servers == all {
		line = fmt.Sprintf("all %d: ", all)
	}
	why := c.Reason.String()
	line += why
	switch {
	case c.Nodes > 1:
		line += fmt.Sprintf(", on %d nodes", c.Nodes)
	case c.Node != "" && !strings.Contains(why, c.Node):
		line += ", on " + safetext.Line(c.Node)
	}
	if !c.Since.IsZero() {
		line += ", since " + operate.When(c.Since)
	}
	return line
}

// printStays prints the servers that a hold keeps, one line per upstream, and how many the upstream would have without
// them.
func (o *operator) printStays(h status.Hold) {
	effects := map[string]status.Effect{}
	for _, e := range h.Effects {
		effects[e.Upstream] = e
	}
	servers := h.Servers
	for shown := 0; len(servers) > 0; shown++ {
		if shown == mostStaying-o.fewer {
			o.say("  and %d more servers", len(servers))
			return
		}
		name := servers[0].Upstream
		n := slices.IndexFunc(servers, func(s status.HeldServer) bool { return s.Upstream != name })
		if n < 0 {
			n = len(servers)
		}
		line := "  stays: " + o.c.name(name)
		for _, s := range servers[:min(n, mostOfOne)] {
			line += " " + s.Addr
		}
		if n > mostOfOne {
			line += fmt.Sprintf(" and %d more", n-mostOfOne)
		}
		if e, known := effects[name]; known {
			line += fmt.Sprintf(" (%d→%d)", e.From, e.To)
		}
		o.say("%s", line)
		servers = servers[n:]
	}
}

func freezeWords(f status.Freeze) string {
	what := f.Name
	if what == status.Everything {
		what = "everything"
	}
	return what + " " + operate.FrozenUntil(f.Until)
}

// byWords tells who ordered something, as the end of a sentence; "" if unknown.
func byWords(by, why string) string {
	if by == "" {
		return ""
	}
	return ", by " + safetext.Line(generation.Signature{By: by, Why: why}.String())
}

func unfreezeArg(f status.Freeze) string {
	if f.Name == status.Everything {
		return "--all"
	}
	return f.Name
}

func (p *program) upstreamsCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "upstreams [NAME]", Args: takes(0, 1),
		Short: "List every upstream with its servers, in and out, and why",
		Long: `upstreams lists every upstream with its servers, in traffic and out, each with its reason.
With NAME it lists only that one; NAME may contain the wildcards * and ?. If the daemon
does not run, it lists what the conf file has.`,
		Example: `  swallowkeeper upstreams
  swallowkeeper upstreams web
  swallowkeeper upstreams 'shop-*' -o json`,
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
		if done, err := o.encoded(map[string]any{"upstreams": all}); done || err != nil {
			return err
		}
		slices.SortStableFunc(all, status.CompareTrouble)
		for _, u := range all {
			o.printUpstream(u)
		}
		return nil
	})
}

// chosen returns the upstreams that match a name or pattern, ignoring case.
func chosen(all []status.Upstream, pattern string) ([]status.Upstream, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, operate.Exit(status.ExitUsage, fmt.Errorf("%q: allowed is the name of an upstream, or a pattern with * and ?", pattern))
	}
	var found []status.Upstream
	for _, u := range all {
		like, _ := path.Match(strings.ToLower(pattern), strings.ToLower(u.Name))
		if like || upstream.SameName(u.Name, pattern) {
			found = append(found, u)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	hint := ""
	if names := meantUpstream(pattern, all); len(names) > 0 {
		hint = "; did you mean " + strings.Join(names, ", ") + "?"
	}
	return nil, fmt.Errorf("there is no upstream %q%s", pattern, hint)
}

func (o *operator) printUpstream(u status.Upstream) {
	note := ""
	if u.Trouble == status.TroubleNoHealthy {
		note = ", " + o.c.bad("no healthy server")
	}
	if u.Frozen {
		note += ", " + o.c.bad("frozen")
	}
	in := 0
	for _, s := range u.Servers {
		if s.State != status.Out && s.State != status.Down {
			in++
		}
	}
	o.say("%s: %d in, %d out%s", o.c.name(safetext.Line(u.Name)), in, len(u.Servers)-in, note)
	for _, alike := range status.Alike(u.Servers) {
		o.printServers(alike)
	}
	o.printUpstreamRoutes(u.Routes)
}

// printServers prints servers that are alike as one row.
func (o *operator) printServers(alike []status.Server) {
	s := alike[0]
	state := o.c.good(s.State)
	if s.State != status.In {
		state = o.c.bad(s.State)
	}
	var addrs []string
	for _, s := range alike[:min(len(alike), mostOfOne)] {
		addrs = append(addrs, cmp.Or(safetext.Line(s.Addr), "all of it"))
	}
	if n := len(alike); n > mostOfOne {
		addrs = append(addrs, fmt.Sprintf("and %d more", n-mostOfOne))
	}
	count := ""
	if len(alike) > 1 {
		count = fmt.Sprintf(" %d alike:", len(alike))
	}
	line := fmt.Sprintf("  %s%s %s: %s", state, count, strings.Join(addrs, " "), s.Reason)
	if detail := s.Detail.String(); detail != "" && len(alike) > 1 {
		line += "; for one, " + detail
	} else if detail != "" {
		line += "; " + detail
	}
	if !s.Since.IsZero() {
		line += ", since " + operate.When(s.Since)
	}
	o.say("%s", line)
	if s.Options != "" {
		o.say("      %s", s.Options)
	}
}

// suggest adds similar names to the error for an unknown upstream.
func (o *operator) suggest(ctx context.Context, name string, err error) error {
	var said *client.Error
	if name == status.Everything || errors.As(err, &said) && said.Code != http.StatusNotFound {
		return err
	}
	all, failed := o.Upstreams(ctx)
	if failed != nil {
		return err
	}
	if names := meantUpstream(name, all); len(names) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(names, ", "))
	}
	return err
}

// meantUpstream returns names that may be meant: the nearest one, then those that contain the name or begin alike.
func meantUpstream(name string, all []status.Upstream) []string {
	var names, alike []string
	for _, u := range all {
		names = append(names, u.Name)
		a, b := strings.ToLower(u.Name), strings.ToLower(name)
		if strings.Contains(a, b) || strings.Contains(b, a) || len(a) > 2 && len(b) > 2 && a[:3] == b[:3] {
			alike = append(alike, safetext.Line(u.Name))
		}
	}
	if nearest := near.Word(name, names); nearest != "" {
		nearest = safetext.Line(nearest)
		alike = append([]string{nearest}, slices.DeleteFunc(alike, func(s string) bool { return s == nearest })...)
	}
	return alike[:min(5, len(alike))]
}

// printChanges prints changes, one line for each line of nginx syntax.
func (o *operator) printChanges(what string, ch status.Changes) {
	var text strings.Builder
	printChanges(&text, o.c, what, ch)
	fmt.Fprint(o.stdout, safetext.Screen(text.String()))
}
