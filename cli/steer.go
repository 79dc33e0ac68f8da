package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/generation"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// Commands that change something. If the daemon is not running, they use the conf file and the gateways where possible.

func (p *program) approveCommand() *cobra.Command {
	return p.steering(&cobra.Command{
		Use: "approve ID", Args: takes(1, 1),
		Short: "Let the hold with this ID through, and only that",
		Long: `approve lets the change with this ID through, and only that; status shows the ID. If the
registry has changed in the meantime, nothing is let through, and the new ID is shown.`,
		Example: `  swallowkeeper status                    shows what is held, and its ID
  swallowkeeper approve 5f56aae6fe61 --reason deploy-42`,
		ValidArgsFunction: p.complete(holds),
	}, func(ctx context.Context, o *operator, args []string) error {
		if err := o.ours(ctx); err != nil {
			return err
		}
		if err := o.Approve(ctx, args[0], string(o.reason)); err != nil {
			return needed(o.heldNow(ctx, args[0], err), "let it through with swallowkeeper --sync-once --approve "+args[0])
		}
		return o.done("hold " + safetext.Line(args[0]) + " is approved: the change goes through")
	})
}

// heldNow lists the current holds in the error for an unknown one.
func (o *operator) heldNow(ctx context.Context, id string, err error) error {
	if !errors.Is(err, status.ErrNotFound) {
		return err
	}
	st, failed := o.client.Status(ctx)
	switch {
	case failed != nil:
		return err
	case len(st.Holds) == 0:
		return fmt.Errorf("no hold %s; nothing is held now", safetext.Line(id))
	}
	var ids []string
	for _, h := range st.Holds {
		ids = append(ids, safetext.Line(h.ID))
	}
	return fmt.Errorf("no hold %s; held now: %s", safetext.Line(id), strings.Join(ids, ", "))
}

// done reports that an order was carried out.
func (o *operator) done(text string) error {
	if done, err := o.encoded(map[string]string{"done": text}); done || err != nil {
		return err
	}
	o.say("%s", text)
	return nil
}

func (p *program) freezeCommand() *cobra.Command {
	var all bool
	var forHow length
	c := p.steering(&cobra.Command{
		Use: "freeze NAME|--all", Args: takes(0, 1),
		Short: "Keep an upstream, or everything, as it is now",
		Long: `freeze keeps an upstream, or everything, as currently written, whatever the registries
list, until unfreeze or for the given time. It survives restarts.`,
		Example: `  swallowkeeper freeze web
  swallowkeeper freeze web --for 1d12h --reason deploy-42
  swallowkeeper freeze --all --for 2h`,
		ValidArgsFunction: p.complete(upstreamNames),
	}, func(ctx context.Context, o *operator, args []string) error {
		name, err := nameOrAll(args, all)
		if err != nil {
			return err
		}
		f := status.FreezeRequest{Name: name}
		if forHow > 0 {
			f.For = time.Duration(forHow).String()
		}
		if err := o.ours(ctx); err != nil {
			return err
		}
		if err := o.Freeze(ctx, f, string(o.reason)); err != nil {
			return o.suggest(ctx, name, err)
		}
		until := " until it is released"
		if f.For != "" {
			until = " for " + f.For
		}
		return o.done(named(name) + " is frozen" + until)
	})
	c.Flags().BoolVar(&all, "all", false, "everything")
	c.Flags().Var(&forHow, "for", "how long, e.g. 2h, 1d or 1d12h (default: until unfreeze)")
	fixed(c, "for", "30m", "2h", "12h", "1d", "1w")
	return c
}

func (p *program) unfreezeCommand() *cobra.Command {
	var all bool
	c := p.steering(&cobra.Command{
		Use: "unfreeze NAME|--all", Args: takes(0, 1),
		Short: "End a freeze, and apply the changes that it kept back",
		Long: `unfreeze ends the freeze of an upstream, or with --all the freeze of everything. Freezes of
single upstreams then stay. The changes that a freeze kept back are applied at once.`,
		Example: `  swallowkeeper unfreeze web
  swallowkeeper unfreeze --all`,
		ValidArgsFunction: p.complete(frozen),
	}, func(ctx context.Context, o *operator, args []string) error {
		name, err := nameOrAll(args, all)
		if err != nil {
			return err
		}
		if err := o.ours(ctx); err != nil {
			return err
		}
		if err := o.Unfreeze(ctx, name, string(o.reason)); err != nil {
			return err
		}
		if name == status.Everything {
			return o.done("the freeze of everything has ended; those of single upstreams stay")
		}
		return o.done(named(name) + " is no longer frozen")
	})
	c.Flags().BoolVar(&all, "all", false, "the freeze of everything; those of single upstreams stay")
	return c
}

func nameOrAll(args []string, all bool) (string, error) {
	switch {
	case all && len(args) == 0:
		return status.Everything, nil
	case !all && len(args) == 1 && args[0] != "":
		return args[0], nil
	default:
		return "", operate.Exit(status.ExitUsage, errors.New("give the name of one upstream, or --all"))
	}
}

func named(name string) string {
	scope, _ := generation.ParseScope(name) // nameOrAll refuses an empty name
	return safetext.Line(scope.Words())
}

// errPresent means that a generation is the current one.
var errPresent = errors.New("it is the current one")

// step shows the changes from the current generation to an earlier one, and the guard's objections.
func (o *operator) step(ctx context.Context, to int) error {
	plan, err := o.RollbackPlan(ctx, to)
	if err != nil {
		return o.keptHint(ctx, err)
	}
	if plan.Present {
		return errPresent
	}
	o.printChanges(fmt.Sprintf("back to generation %d", to), plan.Changes)
	if !plan.Opinion.IsZero() {
		o.say("%s: %s", o.c.bad("the guard would hold it"), plan.Opinion)
	}
	return nil
}

func (p *program) rollbackCommand() *cobra.Command {
	var yes bool
	c := p.steering(&cobra.Command{
		Use: "rollback N", Args: takes(1, 1),
		Short: "Go back to generation N, push it, and freeze everything",
		Long: `rollback writes an earlier generation again, pushes it to every gateway, and freezes
everything until swallowkeeper unfreeze --all. It first shows what would change and the
guard's objections, and asks for confirmation. Without a terminal it needs --yes.`,
		Example: `  swallowkeeper history                lists the generations
  swallowkeeper rollback 41
  swallowkeeper rollback 41 --yes      in a script`,
		ValidArgsFunction: p.complete(generations),
	}, func(ctx context.Context, o *operator, args []string) error {
		n, err := number(args[0])
		if err != nil {
			return err
		}
		ask := o.terminal()
		if !yes && ask == nil {
			return operate.Exit(status.ExitUsage, errors.New("this is not a terminal, so nobody can confirm: --yes skips the question"))
		}
		if err := o.ours(ctx); err != nil {
			return err
		}
		told := false
		if *o.output == asText {
			// A failed preview must not prevent a rollback.
			err := o.step(ctx, n)
			if errors.Is(err, errPresent) {
				o.say("generation %d is the current one: nothing is changed and nothing is frozen", n)
				return nil
			}
			if told = err == nil; !told {
				fmt.Fprintf(o.stderr, "swallowkeeper: can't show what would change: %v\n", o.coded(err))
			}
		}
		if !yes && !agreed(ask, fmt.Sprintf("Go back to generation %d and freeze everything at it?", n)) {
			return operate.Exit(status.ExitFailed, errors.New("nothing was changed"))
		}
		result, err := o.Rollback(ctx, n, string(o.reason))
		if err != nil {
			return o.keptHint(ctx, err)
		}
		behind := slices.ContainsFunc(result.Gateways, func(g status.Gateway) bool { return !g.InSync })
		code := status.ExitCode(false, behind, false)
		if done, err := o.encoded(result); err != nil {
			return err
		} else if done {
			return exitWith(code)
		}
		if result.Present {
			o.say("generation %d is the current one: nothing is changed and nothing is frozen", n)
			return nil
		}
		if !result.Opinion.IsZero() && !told {
			o.say("the guard would have held it: %s", result.Opinion)
		}
		o.say("generation %d has the upstreams of %d; everything is frozen until swallowkeeper unfreeze --all",
			result.Generation.Number, n)
		for _, g := range result.Gateways {
			if !g.InSync {
				o.say("gateway %s: %s", safetext.Line(g.Name), o.c.bad(cmp.Or(safetext.Line(g.Error), "it does not have it yet")))
			}
		}
		return exitWith(code)
	})
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// terminal returns where to ask a question, or nil without a terminal.
func (o *operator) terminal() io.Writer {
	if !isTerminal(os.Stdin) {
		return nil
	}
	for _, w := range []io.Writer{o.stderr, o.stdout} {
		if isTerminal(w) {
			return w
		}
	}
	return nil
}

// agreed asks for confirmation. Anything but a clear yes means no.
func agreed(ask io.Writer, question string) bool {
	fmt.Fprintf(ask, "%s [y/N] ", question)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}
