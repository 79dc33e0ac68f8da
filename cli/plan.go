package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/status"
)

func (p *program) planCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "plan", Args: takes(0, 0),
		Short: "Show what the next pass would do, and what has drifted",
		Long: `plan compares what the registries list with the conf file, and the conf file with what
each gateway really uses. It changes nothing. If the daemon does not run, it is a dry run
of one pass.

It exits with 0 if there is nothing to do, 1 if a registry can't be read or the conf file
can't be written, 3 if the guard holds a change, 4 if a gateway has drifted.`,
		Example: `  swallowkeeper plan
  swallowkeeper plan -o yaml`,
	}, func(ctx context.Context, o *operator, _ []string) error {
		plan, err := o.Plan(ctx)
		if err != nil && plan.Gateways == nil {
			return err
		}
		if err := o.printPlan(plan); err != nil {
			return err
		}
		if err != nil || o.Alone() {
			return cmp.Or(err, exitWith(status.JudgePlan(plan, false).ExitCode))
		}
		st, err := o.client.Status(ctx)
		if err != nil {
			return err
		}
		return exitWith(status.JudgePlan(plan, o.printHindrances(st)).ExitCode)
	})
}

func (o *operator) printPlan(plan status.Plan) error {
	if done, err := o.encoded(plan); done || err != nil {
		return err
	}
	o.printChanges("conf file", plan.File)
	for _, g := range plan.Gateways {
		if g.Error != "" {
			o.say("gateway %s: %s", g.Name, o.c.bad(safetext.Line(g.Error)))
			continue
		}
		o.printChanges("gateway "+g.Name, g.Changes)
	}
	for _, h := range plan.Held() {
		o.printHold(h)
	}
	return nil
}

// printHindrances prints what delays changes, and reports whether any of it is trouble.
func (o *operator) printHindrances(st status.Status) (trouble bool) {
	say := func(format string, a ...any) {
		if *o.output == asText {
			o.say(format, a...)
		}
	}
	for _, r := range st.Registries {
		if r.Trouble != "" {
			trouble = true
			say("registry %s can't be read, its servers stay: %s", safetext.Line(r.Name), o.c.bad(safetext.Line(r.Trouble)))
		}
	}
	if st.FileError != "" {
		trouble = true
		say("the conf file can't be written: %s", o.c.bad(safetext.Line(st.FileError)))
	}
	for _, f := range st.Freezes {
		say("frozen: %s: changes of the registries are not applied", freezeWords(f))
	}
	return trouble
}
