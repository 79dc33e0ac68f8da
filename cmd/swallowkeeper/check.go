package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"swallowkeeper/config"
	"swallowkeeper/persist"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

func (p *program) checkCommand() *cobra.Command {
	var output *format
	var limit *length
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration, print it, and ask registry, file and gateways",
		Long: `check validates the configuration and prints it as it holds, then asks each
registry, the conf file and each gateway whether they can be used. Run it as the
daemon's account: whether that may write is tried, with files that are removed at
once. It changes nothing else. It exits with 0 where all is well, 1 where something can't be used, 2
where the configuration is wrong.`,
		Example: `  swallowkeeper check --config /etc/swallowkeeper.toml
  sudo runuser -u swallowkeeper -- swallowkeeper check     as the account that the daemon runs as
  swallowkeeper check -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.check(cmd.Context(), *output, time.Duration(*limit))
		},
	}
	output = outputFlag(c, "")
	limit = timeoutFlag(c.Flags(), "how long each may take to answer")
	return c
}

// check prints the effective configuration and asks everything that it names.
func (p *program) check(ctx context.Context, output format, limit time.Duration) error {
	cfg, err := p.load()
	if err != nil {
		return err
	}
	log := p.logger(config.Log{Level: "error", Format: cfg.Log.Format})
	h, err := build(cfg, log, meters{})
	if err != nil {
		return exit(exitUsage, err)
	}
	defer h.close(log)
	if output == asText {
		fmt.Fprintln(p.stdout, cfg.TOML())
	}

	c := newPalette(p.isTerminal(p.stdout))
	report := checked{Checks: []oneCheck{}}
	say := func(what, found string, err error) {
		one := oneCheck{What: what, OK: err == nil, Found: found}
		verdict := c.good("ok")
		if err != nil {
			report.ExitCode = exitFailed
			one.Found, one.Error = "", printable(err.Error())
			verdict, found = c.bad("failed"), one.Error
		}
		report.Checks = append(report.Checks, one)
		if output == asText {
			fmt.Fprintf(p.stdout, "# %s: %s: %s\n", what, verdict, found)
		}
	}
	if cfg.Status.TokenFile != "" {
		say("status.token_file", "it has a token", cfg.Status.CheckToken())
	}
	for _, src := range h.sources {
		set, err := firstSet(ctx, src, limit)
		say("registry "+src.Name, fmt.Sprintf("%d upstreams, %d servers, %d left out", set.Usable(), set.Servers(), len(set.Out())), err)
	}
	found, err := checkFile(cfg.Persist)
	say("file "+cfg.Persist.Path, found, err)
	if cfg.Status.Socket != "" {
		found, err := cfg.Status.CheckSocket()
		say("socket "+cfg.Status.Socket, found, err)
	}
	for _, t := range h.targets {
		live, err := within(ctx, limit, t.Gateway.Live)
		say("gateway "+t.Name, fmt.Sprintf("%d upstreams live", live.Set.Len()), err)
	}
	if output != asText {
		if _, err := toml.Decode(cfg.TOML(), &report.Configuration); err != nil {
			return exit(exitFailed, fmt.Errorf("write the configuration: %w", err))
		}
		if err := output.encode(p.stdout, report); err != nil {
			return exit(exitFailed, err)
		}
	}
	return said(report.ExitCode)
}

// checked is what is printed for machines.
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

func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// firstSet waits for what the registry publishes first.
func firstSet(ctx context.Context, src syncer.Source, limit time.Duration) (upstream.Set, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.NewTimer(limit)
	defer late.Stop()
	first := make(chan upstream.Set, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- src.Registry.Watch(ctx, func(s upstream.Set) {
			select {
			case first <- s:
			default:
			}
		})
	}()
	var trouble error
	select {
	case s := <-first:
		cancel()
		return s, <-ended
	case <-late.C:
		trouble = src.Registry.Condition().Trouble
		cancel()
		trouble = errors.Join(trouble, <-ended)
	case err := <-ended:
		trouble = err
	}
	if trouble == nil {
		trouble = errors.New("no reason given")
	}
	return upstream.Set{}, fmt.Errorf("no answer within %s: %w", limit, trouble)
}

// checkFile reads the conf file and sees whether it could be written.
func checkFile(cfg persist.Config) (string, error) {
	gen, edited, err := persist.Read(cfg.Path)
	if err == nil {
		err = persist.Writable(cfg)
	}
	if err != nil {
		return "", err
	}
	if gen.Number == 0 {
		return "not written yet", nil
	}
	found := fmt.Sprintf("generation %d of %s, %d upstreams, %d servers",
		gen.Number, gen.Time.Format(time.RFC3339), gen.Set.Len(), gen.Set.Servers())
	if edited {
		found += "; edited by hand since: the next write takes the edits away"
	}
	return found, nil
}
