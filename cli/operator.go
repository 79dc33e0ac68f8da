package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/config"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
)

// operator is one call of a command that asks the daemon.
type operator struct {
	*program
	output  *format
	socket  string
	address string
	timeout *length
	reason  reason // why a person gives this order

	steers bool // changes something: who only looks gets an answer with less
	fixed  bool // a flag, or a URL in the environment, names the daemon
	cfg    config.Config
	unread error // why the configuration can't be read, where the daemon is asked all the same
	// Either asks the daemon, and does without it where it does not answer; client is the daemon's alone.
	operate.Either
	client  *client.Client
	missing []string // where else no daemon answers
	c       palette
	fewer   int // lines of what a hold keeps than there might be: the terminal is not high
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
		o.Either = operate.Either{Live: o.client, Offline: o.byItself(), Away: o.gone}
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
		said.Text = safetext.Screen(said.Text)
		if said.Code == http.StatusUnauthorized {
			err = fmt.Errorf("%w: set SWALLOWKEEPER_STATUS_TOKEN or status.token_file, or use the socket on the daemon's machine", err)
			if o.tokenErr != nil {
				err = fmt.Errorf("%w: status.token_file: %w", err, o.tokenErr)
			}
		}
	}
	var coded *operate.ExitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return operate.Exit(status.ExitFailed, err)
}

// gone says that the daemon does not answer and what stands in for it, unless this daemon is meant and no other.
func (o *operator) gone(err error, instead string) error {
	if o.fixed || o.unread != nil {
		return err
	}
	if instead != "" {
		fmt.Fprintf(o.stderr, "swallowkeeper: %v; %s\n", o.nowhere(err), instead)
	}
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
	return operate.Exit(status.ExitUsage, fmt.Errorf("the daemon that answers writes %s, and this configuration names %s: "+
		"give each a status.socket and status.address of its own", safetext.Line(st.File), o.cfg.Persist.Path))
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
	fmt.Fprintln(o.stdout, safetext.Screen(fmt.Sprintf(format, a...)))
}

// byItself does without the daemon.
func (o *operator) byItself() *operate.Offline {
	off := o.offline(o.cfg, "error")
	off.Limit = time.Duration(*o.timeout)
	return off
}

// number reads a generation's number from the command line.
func number(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, operate.Exit(status.ExitUsage, fmt.Errorf("%q: allowed is the number of a generation; swallowkeeper history lists them", arg))
	}
	return n, nil
}
