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

	"swallowkeeper/guard"
	"swallowkeeper/internal/near"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
	"swallowkeeper/upstream"
)

// The commands with which a person looks. Their text goes to standard output; what they
// could not find out goes to standard error.

func (p *program) statusCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "status", Args: takes(0, 0),
		Short: "The verdict now: in sync or not, what is held and why",
		Long: `status says what is true now: whether every gateway is in sync, what the guard holds
and why, what is frozen, and how the registries and the conf file are.

It exits with 0 where all is in sync, 1 where the daemon does not run or a registry or
the file is in trouble, 3 where the guard holds a change, 4 where a gateway is not in
step. Without the daemon it says what the conf file and the gateways show.`,
		Example: `  swallowkeeper status
  swallowkeeper status -o json
  swallowkeeper status --address http://10.0.0.5:9180     that of another machine`,
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
		return said(status.Judge(st).ExitCode)
	})
}

// said is a code without further words.
func said(code int) error {
	if code == status.ExitInSync {
		return nil
	}
	return operate.Exit(code, operate.ErrSaid)
}

func (o *operator) printStatus(st status.Status) {
	v := status.Judge(st)
	line := o.c.bad(v.Text)
	if v.Level == status.LevelOK {
		line = o.c.good(v.Text)
	}
	if len(st.Reasons) > 0 {
		o.say("%s: %s", line, strings.Join(st.Reasons, "; "))
	} else {
		o.say("%s: generation %d, %d upstreams, %d servers", line, st.Generation.Number, st.Upstreams, st.Servers)
	}
	o.printUnserved(st.Unserved)
	if st.Generation.Reason != "" {
		o.say("last change: %s, %s%s", operate.When(st.Generation.Time), safetext.Line(st.Generation.Reason), byWords(st.Generation.By, st.Generation.Why))
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
	for _, l := range st.LeftOut {
		o.say("  %s: %d: %s", o.c.name(safetext.Line(l.Upstream)), l.Out, reasonWords(l.Reasons))
	}
	if more := st.OutOf - len(st.LeftOut); len(st.LeftOut) > 0 && more > 0 {
		o.say("  and %d upstreams more", more)
	}
}

// printUnserved names the upstreams that have no healthy server, with why.
func (o *operator) printUnserved(unserved []status.Unserved) {
	for i, u := range unserved {
		if i == mostStaying-o.fewer {
			o.say("  and %d upstreams more without a healthy server", len(unserved)-i)
			return
		}
		why := reasonWords(u.Reasons)
		if why == "" {
			why = "no instance is listed"
		}
		o.say("%s: %s: %d stay all the same: %s", o.c.bad("no healthy server"), o.c.name(safetext.Line(u.Upstream)), u.Servers, why)
	}
}

// reasonWords says each reason once, with how many have it.
func reasonWords(reasons []status.Reason) string {
	var words []string
	for _, r := range reasons {
		text := safetext.Line(r.Text)
		if r.Count > 1 {
			text += fmt.Sprintf(" (%d)", r.Count)
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

func (o *operator) printHold(h status.Hold) {
	since := ""
	if !h.Since.IsZero() { // a plan's hold has none yet
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
	o.printStays(h.Servers)
}

// What is shown of the servers that stay: upstreams, and servers of each.
const mostStaying, mostOfOne = 20, 6

// printStays names the servers that a hold keeps, an upstream a line.
func (o *operator) printStays(servers []status.HeldServer) {
	for shown := 0; len(servers) > 0; shown++ {
		if shown == mostStaying-o.fewer {
			o.say("  and %d servers more", len(servers))
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

// byWords says whose order something was, in words to follow others; nothing where that is not known.
func byWords(by, why string) string {
	if by == "" {
		return ""
	}
	return ", by " + safetext.Line(upstream.Signature{By: by, Why: why}.String())
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
		Short: "Every upstream with its servers, in and out, and why",
		Long: `upstreams lists every upstream with its servers, in traffic and out, each with its reason.
With NAME it lists that one alone; * and ? in it stand for any letters. Without the daemon
it lists what the conf file has.`,
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

// chosen are the upstreams that a name or a pattern stands for, in whatever case.
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
	line := fmt.Sprintf("  %s%s %s: %s", state, count, strings.Join(addrs, " "), safetext.Line(s.Reason))
	if detail := safetext.Line(s.Detail); detail != "" && len(alike) > 1 {
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

// meantUpstream are the names that somebody may mean: the nearest one, then those that have it in
// them, or begin alike.
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

// printChanges prints a difference, a line for each line of nginx syntax.
func (o *operator) printChanges(what string, ch status.Changes) {
	var text strings.Builder
	printChanges(&text, o.c, what, ch)
	fmt.Fprint(o.stdout, safetext.Screen(text.String()))
}
