package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"swallowkeeper/config"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// operator is one call of a command that asks the daemon.
type operator struct {
	*program
	output  *format
	socket  string
	address string
	timeout *length
	reason  reason // why a person gives this order

	steers  bool // changes something: who only looks gets an answer with less
	fixed   bool // a flag, or a URL in the environment, names the daemon
	cfg     config.Config
	unread  error // why the configuration can't be read, where the daemon is asked all the same
	client  *client.Client
	missing []string // where else no daemon answers
	c       palette
	alone   bool // without the daemon, and it was said
	fewer   int  // lines of what a hold keeps than there might be: the terminal is not high
	// tokenErr is why there is no token to send; who only looks needs none.
	tokenErr error
}

// operatorCommands are those with which a person looks at the daemon and steers it.
func (p *program) operatorCommands() []*cobra.Command {
	return []*cobra.Command{
		p.statusCommand(), p.upstreamsCommand(), p.explainCommand(), p.planCommand(), p.approveCommand(),
		p.freezeCommand(), p.unfreezeCommand(), p.historyCommand(), p.diffCommand(), p.rollbackCommand(), p.watchCommand(),
	}
}

// asking makes a command of what is asked of a daemon that may or may not answer.
func (p *program) asking(c *cobra.Command, do func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	return (&operator{program: p}).command(c, do)
}

// steering makes a command of what changes something.
func (p *program) steering(c *cobra.Command, do func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	return (&operator{program: p, steers: true}).command(c, do)
}

func (o *operator) command(c *cobra.Command, do func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	f := c.Flags()
	o.output = outputFlag(c, "")
	f.StringVar(&o.socket, "socket", "", "the daemon's unix socket, instead of status.socket")
	f.StringVar(&o.address, "address", "", "the daemon's `URL` instead, e.g. http://10.0.0.5:9180; changes take status.token")
	o.timeout = timeoutFlag(f, "how long the answer may take")
	if o.steers {
		reasonFlag(c, &o.reason, "")
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.configure(); err != nil {
			return err
		}
		ctx := cmd.Context()
		if err := o.reach(ctx); err != nil {
			return err
		}
		defer o.client.Close()
		o.c = newPalette(o.isTerminal(o.stdout))
		if c.Name() != "watch" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(*o.timeout))
			defer cancel()
		}
		return o.coded(o.nowhere(do(ctx, o, args)))
	}
	return c
}

// coded gives an error that has no exit code the one for failure. What the daemon wrote in it is made harmless.
func (o *operator) coded(err error) error {
	var said *client.Error
	if errors.As(err, &said) {
		said.Text = harmless(said.Text)
		if said.Code == http.StatusUnauthorized {
			err = fmt.Errorf("%w: set SWALLOWKEEPER_STATUS_TOKEN or status.token_file, or use the socket on the daemon's machine", err)
			if o.tokenErr != nil {
				err = fmt.Errorf("%w: status.token_file: %w", err, o.tokenErr)
			}
		}
	}
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return exit(exitFailed, err)
}

// gone says that the daemon does not answer and what stands in for it; any other error ends the command.
func (o *operator) gone(err error, instead string) error {
	if !errors.Is(err, client.ErrUnreachable) || o.fixed || o.unread != nil {
		return err
	}
	if !o.alone {
		fmt.Fprintf(o.stderr, "swallowkeeper: %v; %s\n", o.nowhere(err), instead)
	}
	o.alone = true
	return nil
}

// ours makes sure, before something is changed, that the daemon at the configured socket works
// with this configuration: several on one machine may share a socket by mistake.
func (o *operator) ours(ctx context.Context) error {
	if o.fixed || o.byToken() {
		return nil
	}
	st, err := o.client.Status(ctx)
	switch {
	case errors.Is(err, client.ErrUnreachable):
		return nil // the change will not reach it either
	case err != nil:
		return err
	case filepath.Clean(st.File) == filepath.Clean(o.cfg.Persist.Path):
		return nil
	}
	return exit(exitUsage, fmt.Errorf("the daemon that answers writes %s, and this configuration names %s: "+
		"give each a status.socket and status.address of its own", printable(st.File), o.cfg.Persist.Path))
}

// needed is the error of a command that can do nothing without the daemon.
func needed(err error, instead string) error {
	if errors.Is(err, client.ErrUnreachable) {
		return fmt.Errorf("%w: %s", err, instead)
	}
	return err
}

// encoded prints the value where it is for machines.
func (o *operator) encoded(v any) (bool, error) {
	if *o.output == asText {
		return false, nil
	}
	return true, o.output.encode(o.stdout, v)
}

func (o *operator) say(format string, a ...any) {
	fmt.Fprintln(o.stdout, harmless(fmt.Sprintf(format, a...)))
}

// harmless is a text without what commands a terminal, but for colours and ends of lines: what
// answers at --address need not be a daemon of ours.
func harmless(text string) string {
	var out strings.Builder
	for text != "" {
		n := colour(text)
		one := text[:n]
		if n == 0 {
			_, n = utf8.DecodeRuneInString(text)
			if one = text[:n]; one != "\n" {
				one = printable(one)
			}
		}
		out.WriteString(one)
		text = text[n:]
	}
	return out.String()
}

// colour is how long the command is with which a text begins, where that is one for a colour.
func colour(text string) int {
	rest, is := strings.CutPrefix(text, "\x1b[")
	if !is {
		return 0
	}
	left := strings.TrimLeft(rest, "0123456789;")
	if !strings.HasPrefix(left, "m") {
		return 0
	}
	return len(text) - len(left) + 1
}

// offline is what the conf file and the gateways say, where no daemon does.
func (o *operator) offline(ctx context.Context) (status.Status, upstream.Generation, error) {
	gen, edited, err := persist.Read(o.cfg.Persist.Path)
	if err != nil {
		return status.Status{}, gen, err
	}
	st := status.Status{
		Version: versionText(), Time: time.Now(), Generation: showGeneration(gen), File: o.cfg.Persist.Path,
		Upstreams: gen.Set.Len(), Servers: gen.Set.Servers(), Reasons: []string{"the daemon does not answer"},
		Holds: []status.Hold{}, Freezes: showFreezes(gen.Frozen), Registries: []status.Registry{}, Gateways: []status.Gateway{},
	}
	damaged, err := persist.Damaged(o.cfg.Persist.Path)
	if err != nil {
		return st, gen, err
	}
	showDamaged(&st, damaged)
	if edited {
		st.Reasons = append(st.Reasons, "the conf file was edited by hand")
	}
	h, err := build(o.cfg, o.logger(config.Log{Level: "error", Format: o.cfg.Log.Format}), meters{})
	if err != nil {
		return st, gen, exit(exitUsage, err)
	}
	defer h.close(o.logger(config.Log{Level: "error"}))
	if st.InSync = gen.Number > 0; !st.InSync {
		st.Reasons = append(st.Reasons, fmt.Sprintf("there is no conf file at %s: nothing was written yet", o.cfg.Persist.Path))
	}
	for _, t := range h.targets {
		t.Written.Set(gen.Set.Without(gen.Pushing))
		g := status.Gateway{Name: t.Name, Checked: time.Now(), Workers: []status.Worker{}}
		live, err := t.Gateway.Live(ctx)
		switch {
		case err != nil:
			g.Error = printable(err.Error())
		case !inSync(live.Set, gen.Set):
			g.Error = "what it uses is not what the conf file has: swallowkeeper plan shows it"
		default:
			g.InSync, g.Generation = true, gen.Number
		}
		if !g.InSync {
			st.InSync = false
			st.Reasons = append(st.Reasons, fmt.Sprintf("gateway %s is out of sync: %s", g.Name, g.Error))
		}
		st.Gateways = append(st.Gateways, g)
	}
	return st, gen, nil
}

// inSync reports whether a gateway has all that the conf file has; what else it has is not ours.
func inSync(live, want upstream.Set) bool {
	c := upstream.Diff(live, want)
	return len(c.Added)+len(c.Updated) == 0
}

// order carries out an order without a daemon. It is signed by the user that this process runs as.
func (o *operator) order(ctx context.Context, order syncer.Order) (string, error) {
	surviveBrokenPipe()
	log := o.logger(config.Log{Level: "error", Format: o.cfg.Log.Format})
	h, err := build(o.cfg, log, meters{})
	if err != nil {
		return "", exit(exitUsage, err)
	}
	defer h.close(log)
	file, err := persist.Open(o.cfg.Persist, log)
	var locked *persist.LockedError
	if errors.As(err, &locked) { // nobody is to stop a daemon for that
		return "", fmt.Errorf("process %d is at work and does not answer: it may just read its configuration again; "+
			"try again, and else see whether its status.socket is this one", locked.PID)
	}
	if err != nil {
		return "", err
	}
	remark, gateways, err := syncer.New(h.parts(o.cfg, file, log)).DoOnce(ctx, syncer.Signed(o.reason.signed(), order))
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	for _, g := range gateways {
		if g.Err != nil {
			return remark, exit(exitOutOfSync, fmt.Errorf("gateway %s is out of sync: %w", g.Name, g.Err))
		}
	}
	return remark, nil
}

// number reads a generation's number from the command line.
func number(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, exit(exitUsage, fmt.Errorf("%q: allowed is the number of a generation; swallowkeeper history lists them", arg))
	}
	return n, nil
}
