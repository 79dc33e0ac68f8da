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

// operator is one run of a command that asks the daemon.
type operator struct {
	*program
	output  *format
	socket  string
	address string
	timeout *length
	reason  why // the reason for the order

	steers bool // changes something; commands that only read may get a reduced answer
	fixed  bool // a flag or a URL in the environment names the daemon
	cfg    config.Config
	unread error // why the configuration can't be read, if the daemon is asked anyway
	// Either asks the daemon, and works without it if it does not answer. client only asks the daemon.
	operate.Either
	client  *client.Client
	missing []string // other places where no daemon answers
	c       palette
	fewer   int // how many lines of a hold to leave out, for a small terminal
	// tokenErr is why there is no token to send. Commands that only read need none.
	tokenErr error
}

// operatorCommands are the commands to inspect and control the daemon.
func (p *program) operatorCommands() []*cobra.Command {
	return []*cobra.Command{
		p.statusCommand(), p.upstreamsCommand(), p.routesCommand(), p.explainCommand(), p.planCommand(), p.approveCommand(),
		p.freezeCommand(), p.unfreezeCommand(), p.historyCommand(), p.diffCommand(), p.rollbackCommand(), p.watchCommand(),
	}
}

// asking makes a command that queries a daemon, whether it runs or not.
func (p *program) asking(c *cobra.Command, do func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	return (&operator{program: p}).command(c, do)
}

// steering makes a command that changes something.
func (p *program) steering(c *cobra.Command, do func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	return (&operator{program: p, steers: true}).command(c, do)
}

func (o *operator) command(c *cobra.Command, do func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	f := c.Flags()
	o.output = outputFlag(c, "")
	f.StringVar(&o.socket, "socket", "", "the daemon's unix socket, instead of status.socket")
	f.StringVar(&o.address, "address", "", "the daemon's `URL` instead, e.g. http://10.0.0.5:9180; changes take status.token")
	o.timeout = timeoutFlag(f, "how long to wait for the answer")
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

// coded gives an error without an exit code the one for failure. Control characters that the daemon sent are escaped.
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

// gone reports that the daemon does not answer and what replaces its answer. It fails if this daemon alone was
// requested.
func (o *operator) gone(err error, instead string) error {
	if o.fixed || o.unread != nil {
		return err
	}
	if instead != "" {
		fmt.Fprintf(o.stderr, "swallowkeeper: %v; %s\n", o.nowhere(err), instead)
	}
	return nil
}

// ours checks before a change that the daemon at the configured socket has this configuration: several daemons on one
// machine may share a socket by mistake.
func (o *operator) ours(ctx context.Context) error {
	if o.fixed || o.byToken() {
		return nil
	}
	st, err := o.client.Status(ctx)
	switch {
	case errors.Is(err, client.ErrUnreachable):
		return nil // the change will fail as well
	case err != nil:
		return err
	case filepath.Clean(st.File) == filepath.Clean(o.cfg.Persist.Path):
		return nil
	}
	return operate.Exit(status.ExitUsage, fmt.Errorf("the daemon that answers writes %s, but this configuration has %s: "+
		"give each its own status.socket and status.address", safetext.Line(st.File), o.cfg.Persist.Path))
}

// needed returns the error of a command that can't work without the daemon.
func needed(err error, instead string) error {
	if errors.Is(err, client.ErrUnreachable) {
		return fmt.Errorf("%w: %s", err, instead)
	}
	return err
}

// encoded prints the value if machine-readable output is requested.
func (o *operator) encoded(v any) (bool, error) {
	if *o.output == asText {
		return false, nil
	}
	return true, o.output.encode(o.stdout, v)
}

func (o *operator) say(format string, a ...any) {
	fmt.Fprintln(o.stdout, safetext.Screen(fmt.Sprintf(format, a...)))
}

// byItself returns an operator that works without the daemon.
func (o *operator) byItself() *operate.Offline {
	off := o.offline(o.cfg, "error")
	off.Limit = time.Duration(*o.timeout)
	return off
}

// number parses the number of a generation.
func number(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, operate.Exit(status.ExitUsage, fmt.Errorf("%q: allowed is the number of a generation; swallowkeeper history lists them", arg))
	}
	return n, nil
}
