package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

func (p *program) checkCommand() *cobra.Command {
	var output *format
	var limit *length
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate and print the configuration, and test registries, conf file and gateways",
		Long: `check validates the configuration, prints the effective values, and tests whether each
registry, the conf file and each gateway can be used. Run it as the daemon's account: it
tests write access with files that it removes at once, and changes nothing else.

It exits with 0 if all is well, 1 if something can't be used, 2 if the configuration is
wrong.`,
		Example: `  swallowkeeper check --config /etc/swallowkeeper.toml
  sudo runuser -u swallowkeeper -- swallowkeeper check     as the account that the daemon runs as
  swallowkeeper check -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.check(cmd.Context(), *output, time.Duration(*limit))
		},
	}
	output = outputFlag(c, "")
	limit = timeoutFlag(c.Flags(), "how long to wait for each answer")
	return c
}

// check prints the effective configuration and checks everything that it names.
func (p *program) check(ctx context.Context, output format, limit time.Duration) error {
	cfg, err := p.load()
	if err != nil {
		return err
	}
	c := newPalette(p.isTerminal(p.stdout))
	report := checked{Checks: []oneCheck{}}
	printed := sync.OnceFunc(func() {
		if output == asText {
			fmt.Fprintln(p.stdout, cfg.TOML())
		}
	})
	say := func(what, found string, err error) {
		printed()
		one := oneCheck{What: what, OK: err == nil, Found: found}
		verdict := c.good("ok")
		if err != nil {
			report.ExitCode = status.ExitFailed
			one.Found, one.Error = "", safetext.Line(err.Error())
			verdict, found = c.bad("failed"), one.Error
		}
		report.Checks = append(report.Checks, one)
		if output == asText {
			fmt.Fprintf(p.stdout, "# %s: %s: %s\n", what, verdict, found)
		}
	}
	if err := p.offline(cfg, "error").Check(ctx, limit, say); err != nil {
		return err
	}
	if output != asText {
		if _, err := toml.Decode(cfg.TOML(), &report.Configuration); err != nil {
			return operate.Exit(status.ExitFailed, fmt.Errorf("write the configuration: %w", err))
		}
		if err := output.encode(p.stdout, report); err != nil {
			return operate.Exit(status.ExitFailed, err)
		}
	}
	return exitWith(report.ExitCode)
}

// checked is the machine-readable output.
type checked struct {
	ExitCode      int            `json:"exit_code"`
	Configuration map[string]any `json:"configuration"` // as in the file
	Checks        []oneCheck     `json:"checks"`
}

type oneCheck struct {
	What  string `json:"what"`
	OK    bool   `json:"ok"`
	Found string `json:"found,omitempty"`
	Error string `json:"error,omitempty"`
}
