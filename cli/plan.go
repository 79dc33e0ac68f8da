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
		Short: "What the next pass would do, and what has drifted",
		Long: `plan compares what the registries say with the conf file, and the conf file with what
each gateway really uses. It changes nothing. It exits with 0 where there is nothing to
do, 1 where a registry can't be read or the conf file not be written, 3 where the guard
holds a change, 4 where a gateway has drifted. Without the daemon
it is a dry run of one pass.`,
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
			return cmp.Or(err, said(status.JudgePlan(plan, false).ExitCode))
		}
		st, err := o.client.Status(ctx)
		if err != nil {
			return err
		}
		return said(status.JudgePlan(plan, o.printHindrances(st)).ExitCode)
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

// printHindrances names what keeps changes from coming, and reports whether any of it is trouble.
func (o *operator) printHindrances(st status.Status) (trouble bool) {
	say := func(format string, a ...any) {
		if *o.output == asText {
			o.say(format, a...)
		}
	}
	for _, r := range st.Registries {
		if r.Trouble != "" {
			trouble = true
			say("registry %s can't be read, what is known stays: %s", safetext.Line(r.Name), o.c.bad(safetext.Line(r.Trouble)))
		}
	}
	if st.FileError != "" {
		trouble = true
		say("the conf file can't be written: %s", o.c.bad(safetext.Line(st.FileError)))
	}
	for _, f := range st.Freezes {
		say("frozen: %s: what the registries say of it does not come", freezeWords(f))
	}
	return trouble
}
