package cli

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// Completions come from the daemon, or without one from the conf file.

// mostCompleting limits the wait for completions.
const mostCompleting = time.Second

// offer returns the possible values of an argument, each optionally with a tab and a description.
type offer func(ctx context.Context, o *operator, args []string) []string

// complete completes each argument by its own offer.
func (p *program) complete(each ...offer) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		o := p.quietly()
		o.socket, _ = c.Flags().GetString("socket") // the root has no such flag
		o.address, _ = c.Flags().GetString("address")
		if err := o.configure(); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), mostCompleting)
		defer cancel()
		if err := o.reach(ctx); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer o.client.Close()
		o.Either = operate.Either{Live: o.client, Offline: o.byItself(), Away: o.gone}
		all := each[len(args)](ctx, o, args)
		return beginning(all, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// quietly returns an operator that does not report what it can't find.
func (p *program) quietly() *operator {
	quiet := *p
	quiet.stderr = io.Discard
	limit := length(mostCompleting)
	return &operator{program: &quiet, timeout: &limit}
}

// beginning returns the words with the given prefix.
func beginning(words []string, begun string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(s string) bool { return !strings.HasPrefix(s, begun) })
}

func upstreamNames(ctx context.Context, o *operator, _ []string) []string {
	all, _ := o.Upstreams(ctx)
	var names []string
	for _, u := range all {
		names = append(names, safetext.Line(u.Name))
	}
	return names
}

func servers(ctx context.Context, o *operator, args []string) []string {
	e, err := o.client.Explain(ctx, args[0])
	if err != nil {
		return nil
	}
	var addrs []string
	for _, s := range e.Servers {
		addrs = append(addrs, safetext.Line(s.Addr)+"\t"+s.State)
	}
	return addrs
}

func frozen(ctx context.Context, o *operator, _ []string) []string {
	st, err := o.client.Status(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range st.Freezes {
		if f.Name != status.Everything {
			names = append(names, safetext.Line(f.Name)+"\t"+operate.FrozenUntil(f.Until))
		}
	}
	return names
}

func holds(ctx context.Context, o *operator, _ []string) []string {
	st, err := o.client.Status(ctx)
	if err != nil {
		return nil
	}
	var ids []string
	for _, h := range st.Holds {
		ids = append(ids, safetext.Line(h.ID)+"\t"+h.Reason.String())
	}
	return ids
}

func generations(ctx context.Context, o *operator, _ []string) []string {
	kept, _ := o.History(ctx)
	var numbers []string
	for _, g := range kept {
		if g.Damaged == "" {
			numbers = append(numbers, strconv.Itoa(g.Number)+"\t"+operate.When(g.Time)+" "+cmp.Or(g.Reason, g.Summary).String())
		}
	}
	return numbers
}

// fixed completes a flag to one of the words.
func fixed(c *cobra.Command, flag string, words ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return beginning(words, begun), cobra.ShellCompDirectiveNoFileComp
	})
}
