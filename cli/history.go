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
		Short: "The generations that are kept; with N what that one changed",
		Long: `history lists the generations that are kept, the newest first: when each was written, why
and by whose order, and what it has. With N it shows what generation N changed, line by line. Without the daemon
it reads the files beside the conf file.`,
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
				return o.keptHint(ctx, status.As(status.ErrNotFound, fmt.Errorf("generation %d: it is not in the history", n)))
			case i+1 == len(kept):
				return fmt.Errorf("generation %d is the oldest that is kept: what it changed is not known", n)
			}
			return o.difference(ctx, kept[i+1].Number, n)
		}
		if done, err := o.encoded(map[string]any{"generations": kept}); done || err != nil {
			return err
		}
		for _, g := range kept {
			what := cmp.Or(safetext.Line(g.Reason), g.Summary)
			if g.Damaged != "" {
				o.say("%6d  %s", g.Number, o.c.bad("damaged: "+safetext.Line(g.Damaged)))
				continue
			}
			o.say("%6d  %-23s  %4d upstreams  %5d servers  %s%s", g.Number, operate.When(g.Time), g.Upstreams, g.Servers, what, byWords(g.By, g.Why))
		}
		if len(kept) == 0 {
			o.say("nothing is kept yet")
		}
		return nil
	})
}

func (p *program) diffCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "diff A B", Args: takes(2, 2),
		Short: "What leads from one generation that is kept to another",
		Long: `diff shows what leads from generation A to generation B, a line for each line of nginx
syntax. Without the daemon it reads the files beside the conf file.`,
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

// difference prints what leads from one generation to another.
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

// keptHint adds to the error of a generation that is not there where to look, and which are.
func (o *operator) keptHint(ctx context.Context, err error) error {
	if !errors.Is(err, status.ErrNotFound) {
		return err
	}
	err = fmt.Errorf("%w: swallowkeeper history lists what is", err)
	if kept, failed := o.History(ctx); failed == nil && len(kept) > 0 {
		err = fmt.Errorf("%w; kept now: %s", err, ranges(kept))
	}
	return err
}

// ranges are the numbers of generations, the newest first, in few words: 7 to 12, 15.
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
