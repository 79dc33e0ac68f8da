package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/agent"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// agentCommand runs beside a Docker engine. It needs no daemon.
func (p *program) agentCommand() *cobra.Command {
	var f agent.Flags
	c := &cobra.Command{
		Use:   "agent",
		Short: "Register the containers of a Docker engine in etcd or Consul",
		Long: `agent registers the containers of one Docker engine in etcd, under one lease, or in
Consul, with checks that mirror their health. It registers and deregisters containers as
they start and stop. If the engine can't be read, everything stays registered. The agent
has its own configuration file, ` + agent.DefaultPath + ` if it exists.`,
		Example: `  swallowkeeper agent --etcd http://127.0.0.1:2379
  swallowkeeper agent --consul 127.0.0.1:8500 --host-ip 10.0.0.5      containers at their published ports
  swallowkeeper agent stop web-1 --drain 5s
  swallowkeeper agent status`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := agent.Load(p.configPath, f)
			if err != nil {
				return operate.Exit(status.ExitUsage, err)
			}
			level, form := p.logLevel, p.logFormat
			if level == "" {
				level = "info"
			}
			if form == "" {
				form = "text"
			}
			a, err := agent.New(cfg, logs.New(p.stderr, level, form))
			if err != nil {
				return operate.Exit(status.ExitUsage, err)
			}
			if err := a.Run(cmd.Context()); err != nil {
				return operate.Exit(status.ExitFailed, err)
			}
			return nil
		},
	}
	flags := c.PersistentFlags()
	flags.StringVar(&f.Node, "node", "", "`NAME` under which this engine registers (default: the host name)")
	flags.StringVar(&f.Socket, "agent-socket", "", "`PATH` of the agent's socket, for status and stop (default: a path with the node's name)")
	c.Flags().StringVar(&f.Etcd, "etcd", "", "register in etcd at `URL`; separate several with commas")
	c.Flags().StringVar(&f.Consul, "consul", "", "register with the Consul agent at `URL` or host:port")
	c.Flags().StringVar(&f.HostIP, "host-ip", "", "this machine's `IP`: containers are registered at their published ports")
	c.AddCommand(p.agentStopCommand(&f), p.agentStatusCommand(&f))
	return c
}

// agentSocket returns the socket of the agent that the flags refer to.
func (p *program) agentSocket(f agent.Flags) (string, error) {
	cfg, err := agent.Load(p.configPath, f)
	if err != nil && !errors.Is(err, agent.ErrNoTarget) { // a query does not need to say where the agent writes
		return "", operate.Exit(status.ExitUsage, err)
	}
	return cfg.Socket, nil
}

func (p *program) agentStopCommand(f *agent.Flags) *cobra.Command {
	var drain time.Duration
	c := &cobra.Command{
		Use:   "stop CONTAINER",
		Short: "Deregister a container, let it drain, and stop it",
		Long: `stop deregisters a container, waits until every registry has confirmed that and the
drain time is over, and then stops the container. CONTAINER is a name or the beginning of
an ID.`,
		Example: `  swallowkeeper agent stop web-1
  swallowkeeper agent stop web-1 --drain 30s`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if drain < 0 || drain > time.Hour {
				return operate.Exit(status.ExitUsage, fmt.Errorf("--drain %s: allowed is a duration from 0s to 1h", drain))
			}
			socket, err := p.agentSocket(*f)
			if err != nil {
				return err
			}
			name, err := agent.Stop(cmd.Context(), socket, args[0], drain)
			if err != nil {
				return operate.Exit(status.ExitFailed, err)
			}
			fmt.Fprintf(p.stdout, "%s was deregistered, and stopped after %s\n", safetext.Line(name), drain)
			return nil
		},
	}
	c.Flags().DurationVar(&drain, "drain", 5*time.Second, "how `LONG` to let its requests finish")
	return c
}

func (p *program) agentStatusCommand(f *agent.Flags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent has registered, and any trouble",
		Long: `status shows what the agent has registered. It exits with 0 if the engine can be read and
everything is registered, else with 1.`,
		Example: `  swallowkeeper agent status
  swallowkeeper agent status --json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			socket, err := p.agentSocket(*f)
			if err != nil {
				return err
			}
			s, err := agent.Ask(cmd.Context(), socket)
			if err != nil {
				return operate.Exit(status.ExitFailed, err)
			}
			if asJSON {
				text, err := json.MarshalIndent(s, "", "  ")
				if err != nil {
					return err
				}
				fmt.Fprintf(p.stdout, "%s\n", safetext.JSON(text))
			} else {
				p.printAgent(s)
			}
			if !s.Well() {
				return operate.Exit(status.ExitFailed, errors.New("the agent is in trouble"))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "for machines")
	return c
}

func (p *program) printAgent(s agent.Status) {
	fmt.Fprintf(p.stdout, "node %s, since %s\n", safetext.Line(s.Node), s.Since.Format(time.RFC3339))
	switch {
	case s.Docker.Trouble != "":
		fmt.Fprintf(p.stdout, "Docker has not been readable since %s, everything stays registered: %s\n", s.Docker.Since.Format(time.RFC3339), safetext.Line(s.Docker.Trouble))
	case s.Docker.Heard.IsZero():
		fmt.Fprintln(p.stdout, "Docker has not answered yet")
	}
	names := make([]string, 0, len(s.Targets))
	for name := range s.Targets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch t := s.Targets[name]; {
		case t.Trouble != "":
			fmt.Fprintf(p.stdout, "%s: in trouble since %s: %s\n", safetext.Line(name), t.Since.Format(time.RFC3339), safetext.Line(t.Trouble))
		case t.Written.IsZero():
			fmt.Fprintf(p.stdout, "%s: nothing written yet\n", safetext.Line(name))
		default:
			fmt.Fprintf(p.stdout, "%s: %d written, confirmed %s\n", safetext.Line(name), t.Entries, t.Written.Format(time.RFC3339))
		}
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, e := range s.Entries {
		health := "healthy"
		if !e.Healthy {
			health = e.Why
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", safetext.Line(e.Service), e.Address, safetext.Line(e.Container), safetext.Line(health))
	}
	_ = w.Flush()
}
