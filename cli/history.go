package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

func (p *program) historyCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "history [N]", Args: takes(0, 1),
		Short: "List the kept generations; with N, show what that one changed",
		Long: `history lists the kept generations, newest first: when each was written, why, who ordered
it, and its size. With N it shows what generation N changed, line by line. If the daemon
does not run, it reads the files beside the conf file.`,
		Example: `  swallowkeeper history
  swallowkeeper history 41`,
		ValidArgsFunction: p.complete(generations),
	}, func(ctx context.Context, o *operator, args []string) error {
		kept, err := o.History(ctx)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			n, err := number(args[0])
			if err != nil {
				return err
			}
			i := slices.IndexFunc(kept, func(g status.Generation) bool { return g.Number == n })
			switch {
			case i < 0:
				return o.keptHint(ctx, status.As(status.ErrNotFound, fmt.Errorf("generation %d is not in the history", n)))
			case i+1 == len(kept):
				return fmt.Errorf("generation %d is the oldest that is kept: its changes are not known", n)
			}
			return o.difference(ctx, kept[i+1].Number, n)
		}
		if done, err := o.encoded(map[string]any{"generations": kept}); done || err != nil {
			return err
		}
		for _, g := range kept {
			what := cmp.Or(g.Reason, g.Summary)
			if g.Damaged != "" {
				o.say("%6d  %s", g.Number, o.c.bad("damaged: "+safetext.Line(g.Damaged)))
				continue
			}
			o.say("%6d  %-23s  %4d upstreams  %5d servers  %s%s", g.Number, operate.When(g.Time), g.Upstreams, g.Servers, what, byWords(g.By, g.Why))
		}
		if len(kept) == 0 {
			o.say("no generation is kept yet")
		}
		return nil
	})
}

func (p *program) diffCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "diff A B", Args: takes(2, 2),
		Short: "Show the changes from one kept generation to another",
		Long: `diff shows the changes from generation A to generation B, in lines of nginx syntax. If the
daemon does not run, it reads the files beside the conf file.`,
		Example: `  swallowkeeper diff 41 42
  swallowkeeper diff 42 41     the way back`,
		ValidArgsFunction: p.complete(generations, generations),
	}, func(ctx context.Context, o *operator, args []string) error {
		a, err := number(args[0])
		if err != nil {
			return err
		}
		b, err := number(args[1])
		if err != nil {
			return err
		}
		return o.difference(ctx, a, b)
	})
}

// difference prints the changes from one generation to another.
func (o *operator) difference(ctx context.Context, a, b int) error {
	ch, err := o.Diff(ctx, a, b)
	if err != nil {
		return o.keptHint(ctx, err)
	}
	if done, err := o.encoded(ch); done || err != nil {
		return err
	}
	o.printChanges(fmt.Sprintf("generation %d to %d", a, b), ch)
	return nil
}

// keptHint adds to the error for a missing generation where to look, and which ones exist.
func (o *operator) keptHint(ctx context.Context, err error) error {
	if !errors.Is(err, status.ErrNotFound) {
		return err
	}
	err = fmt.Errorf("%w: swallowkeeper history lists the kept ones", err)
	if kept, failed := o.History(ctx); failed == nil && len(kept) > 0 {
		err = fmt.Errorf("%w; kept now: %s", err, ranges(kept))
	}
	return err
}

// ranges abbreviates the numbers of generations, newest first: 7 to 12, 15.
func ranges(kept []status.Generation) string {
	var parts []string
	for i := len(kept) - 1; i >= 0; i-- {
		first := kept[i].Number
		for i > 0 && kept[i-1].Number == kept[i].Number+1 {
			i--
		}
		part := strconv.Itoa(first)
		if last := kept[i].Number; last != first {
			part += " to " + strconv.Itoa(last)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
