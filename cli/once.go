package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"swallowkeeper/operate"
	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// once makes one pass. It prints what it found to standard output and errors to standard error. The exit code is the
// verdict.
func (p *program) once(ctx context.Context, flags onceFlags) error {
	if err := flags.validate(); err != nil {
		return err
	}
	operate.SurviveBrokenPipe() // better to finish the pass than to stop because nobody reads its output
	cfg, err := p.load()
	if err != nil {
		return err
	}
	pass, err := p.offline(cfg, cfg.Log.Level).Pass(ctx, operate.Once{
		Limit: time.Duration(*flags.timeout), DryRun: flags.dryRun, Approve: flags.approve, Signed: operate.Own(string(flags.reason)),
	})
	if pass.Gateways == nil { // the pass did not take place
		return err
	}
	if *flags.output != asText {
		if printErr := flags.output.encode(p.stdout, pass); printErr != nil {
			return operate.Exit(status.ExitFailed, printErr)
		}
	} else {
		printPass(p.stdout, newPalette(p.isTerminal(p.stdout)), pass)
	}
	if err != nil {
		return operate.Exit(pass.ExitCode, err)
	}
	return exitWith(pass.ExitCode)
}

// printPass prints for people what a pass found and did.
func printPass(w io.Writer, c palette, pass operate.Pass) {
	for _, u := range pass.Unserved {
		fmt.Fprintf(w, "%s: %s: %d still receive traffic\n", c.bad("no healthy server"), c.name(u.Upstream), u.Servers)
	}
	if len(pass.Gateways) > 0 {
		verb := "conf file"
		if pass.DryRun {
			verb = "conf file, not written"
		}
		printChanges(w, c, verb, pass.File)
	}
	for _, g := range pass.Gateways {
		switch {
		case g.Error != "":
			fmt.Fprintf(w, "gateway %s: %s: %s\n", g.Name, c.bad("out of sync"), g.Error)
		case !g.InSync:
			printChanges(w, c, "gateway "+g.Name+", not pushed", g.Changes)
		default:
			fmt.Fprintf(w, "gateway %s: %s (%s)\n", g.Name, c.good("in sync"), g.Changes.Summary)
		}
	}
	for _, h := range pass.Plan().Held() {
		fmt.Fprintf(w, "%s: %s\n", c.bad("held"), h.Reason)
		for _, s := range h.Servers {
			fmt.Fprintf(w, "  stays: %s %s\n", c.name(s.Upstream), s.Addr)
		}
		fmt.Fprintf(w, "  to let exactly this through: --sync-once --approve %s\n", h.ID)
	}
	for _, o := range pass.LeftOut {
		where := strconv.Quote(o.Service)
		if o.Addr != "" {
			where += " " + strconv.Quote(o.Addr)
		}
		if o.Route != "" {
			where += " route " + strconv.Quote(o.Route)
		}
		fmt.Fprintf(w, "left out: %s: %s\n", where, reason.Join(o.Reason, o.Detail))
	}
}

// printChanges prints changes, one line for each line of nginx syntax.
func printChanges(w io.Writer, c palette, what string, ch status.Changes) {
	fmt.Fprintf(w, "%s: %s\n", what, ch.Summary)
	block := func(mark, name string, in, gone []string) {
		fmt.Fprintf(w, "%s upstream %s\n", mark, c.name(name))
		for _, l := range gone {
			fmt.Fprintln(w, c.out("-     "+l))
		}
		for _, l := range in {
			fmt.Fprintln(w, c.in("+     "+l))
		}
	}
	for _, u := range ch.Added {
		block(c.in("+"), u.Name, u.Lines, nil)
	}
	for _, u := range ch.Updated {
		block(" ", u.Name, u.In, u.Out)
	}
	for _, u := range ch.Removed {
		block(c.out("-"), u.Name, nil, u.Lines)
	}
}
