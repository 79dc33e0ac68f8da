package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"swallowkeeper/config"
	"swallowkeeper/demo"
	"swallowkeeper/internal/logs"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// Program is the command line with the parts that it starts.
type Program struct {
	Version string
	Stdin   io.Reader // nil: standard input of the process
	// Daemon runs until the context ends. It calls load at startup and with every reload.
	Daemon func(ctx context.Context, load func() (config.Config, error)) error
	// Control runs swallowkeeper in the demo, between the demo's registry and its gateway.
	Control func(context.Context, demo.Wiring) error
}

// program is one run of the command line, with what all commands share.
type program struct {
	Program
	env            []string
	stdout, stderr io.Writer

	configPath string
	set        []string
	logLevel   string
	logFormat  string
}

// root returns the root command. Without a subcommand it runs the daemon, or one pass.
func (p *program) root() *cobra.Command {
	var once onceFlags
	c := &cobra.Command{
		Use:   "swallowkeeper",
		Short: "Keep nginx upstreams in sync with a service registry, without reloads",
		Long: `swallowkeeper watches service registries, checks every change against safety limits,
writes the accepted upstreams to an nginx conf file, and pushes the changes to each
gateway, without a reload if the gateway supports that.

Without a command it runs as a daemon. SIGTERM and SIGINT stop it, SIGHUP reloads its
configuration.`,
		Example: `  swallowkeeper demo                                                see it work, nothing installed
  swallowkeeper check --config /etc/swallowkeeper.toml              before the first start
  swallowkeeper --config /etc/swallowkeeper.toml                    the daemon
  swallowkeeper --config /etc/swallowkeeper.toml --sync-once        one pass, for scripts
  swallowkeeper --config /etc/swallowkeeper.toml --sync-once --dry-run`,
		Args:          noSuchCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !once.sync {
				if name := once.firstGiven(cmd); name != "" {
					return fmt.Errorf("--%s goes with --sync-once", name)
				}
				return p.Daemon(cmd.Context(), p.load)
			}
			return p.once(cmd.Context(), once)
		},
	}
	c.SetOut(p.stdout)
	c.SetErr(p.stderr)
	flags := c.PersistentFlags()
	flags.StringVarP(&p.configPath, "config", "c", "", "configuration `FILE` (default "+config.DefaultPath+" if it exists)")
	flags.StringArrayVar(&p.set, "set", nil, "set one configuration `KEY=VALUE`, e.g. guard.min_services=30; may be repeated")
	flags.StringVar(&p.logLevel, "log-level", "", "`LEVEL`: trace, debug, info, warning or error")
	flags.StringVar(&p.logFormat, "log-format", "", "`FORMAT`: text or json")
	once.register(c)
	c.Version = p.Version
	c.SetVersionTemplate(p.versionLine())
	c.Flags().BoolP("version", "v", false, "print the version")

	c.AddCommand(p.checkCommand(), p.demoCommand(), p.nginxCommand(), p.agentCommand(), p.versionCommand())
	c.AddCommand(p.packagerCommands()...)
	c.AddCommand(p.doctorCommand(), p.simulateCommand())
	c.AddCommand(p.operatorCommands()...)
	c.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	_ = c.MarkPersistentFlagFilename("config", "toml")
	fixed(c, "log-level", "trace", "debug", "info", "warning", "error")
	fixed(c, "log-format", "text", "json")
	_ = c.RegisterFlagCompletionFunc("approve", p.complete(holds))
	settle(c)
	return c
}

// onceFlags are the flags of one pass.
type onceFlags struct {
	sync, dryRun bool
	output       *format
	approve      string
	reason       why
	timeout      *length
}

func (o *onceFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&o.sync, "sync-once", false, "one pass, then exit: 0 in sync, 1 failed, 2 wrong usage, 3 held, 4 a gateway is out of sync")
	f.BoolVar(&o.dryRun, "dry-run", false, "with --sync-once: print the changes and change nothing")
	o.output = outputFlag(c, "with --sync-once: ")
	f.StringVar(&o.approve, "approve", "", "with --sync-once: let the hold with this `ID` through, and only that")
	reasonFlag(c, &o.reason, "with --approve: ")
	o.timeout = timeoutFlag(f, "with --sync-once: how long to wait for the registries")
}

// firstGiven returns the name of a given flag that only applies to a single pass.
func (o *onceFlags) firstGiven(c *cobra.Command) string {
	for _, name := range []string{"dry-run", "output", "approve", "reason", "timeout"} {
		if c.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

func (o *onceFlags) validate() error {
	if o.reason != "" && o.approve == "" {
		return errors.New("--reason says why --approve lets a change through: give both")
	}
	if o.approve != "" && o.dryRun {
		return errors.New("--approve lets a change through and --dry-run touches nothing: give one of them")
	}
	return nil
}

// overrides returns the keys that the command line sets.
func (p *program) overrides() []string {
	var overrides []string
	if p.logLevel != "" {
		overrides = append(overrides, "log.level="+p.logLevel)
	}
	if p.logFormat != "" {
		overrides = append(overrides, "log.format="+p.logFormat)
	}
	return append(overrides, p.set...)
}

// load reads the configuration, from the flags down to the defaults.
func (p *program) load() (config.Config, error) {
	cfg, err := operate.Kinds().Load(p.configPath, p.env, p.overrides())
	if err != nil {
		return cfg, operate.Exit(status.ExitUsage, err)
	}
	return cfg, nil
}

// offline returns an operator that works without a daemon.
func (p *program) offline(cfg config.Config, level string) *operate.Offline {
	return &operate.Offline{Config: cfg, Version: p.Version, Log: logs.New(p.stderr, level, cfg.Log.Format)}
}

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: takes(0, 0),
		Long: `version prints the version of swallowkeeper, the Go version it was built with, and the
platform it was built for. The flag --version does the same.`,
		Example: `  swallowkeeper version
  swallowkeeper version -o json`,
	}
	output := outputFlag(c, "")
	c.RunE = func(*cobra.Command, []string) error {
		if *output != asText {
			return output.encode(p.stdout, map[string]string{
				"version": p.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			})
		}
		_, err := fmt.Fprint(p.stdout, p.versionLine())
		return err
	}
	return c
}

func (p *program) versionLine() string {
	return fmt.Sprintf("swallowkeeper %s %s %s/%s\n", p.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// isTerminal reports whether w is a terminal, for a person who wants colours.
func (p *program) isTerminal(w io.Writer) bool {
	for _, e := range p.env {
		if (strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR=") || e == "TERM=dumb" {
			return false
		}
	}
	return isTerminal(w)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
