package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
)

const fromFiles = "this is what is kept beside the conf file"

func (p *program) historyCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "history [N]", Args: cobra.MaximumNArgs(1),
		Short: "The generations that are kept; with N what that one changed",
	}, func(ctx context.Context, o *operator, args []string) error {
		kept, err := o.client.History(ctx)
		if err != nil {
			if err := o.gone(err, fromFiles); err != nil {
				return err
			}
			if kept, err = (&history{path: o.cfg.Persist.Path}).list(); err != nil {
				return err
			}
		}
		if len(args) == 1 {
			n, err := number(args[0])
			if err != nil {
				return err
			}
			i := slices.IndexFunc(kept, func(g status.Generation) bool { return g.Number == n })
			switch {
			case i < 0:
				return fmt.Errorf("generation %d is not kept: swallowkeeper history lists what is", n)
			case i+1 == len(kept):
				return fmt.Errorf("generation %d is the oldest that is kept: there is none before it to compare it with", n)
			}
			return o.difference(ctx, kept[i+1].Number, n)
		}
		if done, err := o.json(map[string]any{"generations": kept}); done || err != nil {
			return err
		}
		for _, g := range kept {
			what := cmp.Or(printable(g.Reason), g.Summary)
			if g.Damaged != "" {
				o.say("%6d  %s", g.Number, o.c.bad("damaged: "+printable(g.Damaged)))
				continue
			}
			o.say("%6d  %s  %4d upstreams  %5d servers  %s", g.Number, when(g.Time), g.Upstreams, g.Servers, what)
		}
		if len(kept) == 0 {
			o.say("nothing is kept yet")
		}
		return nil
	})
}

func (p *program) diffCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "diff A B", Args: cobra.ExactArgs(2),
		Short: "What leads from one generation that is kept to another",
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

// difference asks the daemon, and reads the files where there is none.
func (o *operator) difference(ctx context.Context, a, b int) error {
	ch, err := o.client.Diff(ctx, a, b)
	if errors.Is(err, client.ErrUnreachable) {
		if err := o.gone(err, fromFiles); err != nil {
			return err
		}
		ch, err = (&history{path: o.cfg.Persist.Path}).diff(a, b)
	}
	if err != nil {
		return keptHint(err)
	}
	if done, err := o.json(ch); done || err != nil {
		return err
	}
	o.printChanges(fmt.Sprintf("generation %d to %d", a, b), ch)
	return nil
}

// keptHint adds to the error of a generation that is not there where to look.
func keptHint(err error) error {
	var said *client.Error
	if errors.Is(err, persist.ErrNotKept) || errors.As(err, &said) && said.Code == http.StatusNotFound {
		return fmt.Errorf("%w: swallowkeeper history lists what is", err)
	}
	return err
}
