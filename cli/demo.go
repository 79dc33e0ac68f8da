package cli

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"swallowkeeper/demo"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

func (p *program) demoCommand() *cobra.Command {
	o := demo.Options{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "See all of it at work on this machine, with nothing installed",
		Long: `demo runs a small registry that speaks Consul's HTTP API, a gateway that speaks the
dyups API and carries traffic, some services, and swallowkeeper between them, on
loopback and in one process. Consul and nginx are simulated; swallowkeeper is the real
one. It tells a story while a client sends requests all the time, then stays up for you to
play with: it prints commands to copy, also those that cause a hold and approve it. In
another terminal, swallowkeeper status finds it where no other daemon runs.

With --story-only it exits with 0 where no request failed and all came true, else 1.
Port 0 in an address is any free port.`,
		Example: `  swallowkeeper demo
  swallowkeeper demo --story-only
  swallowkeeper demo --proxy 127.0.0.1:18080     where port 8080 is taken`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return operate.Exit(status.ExitUsage, err)
			}
			o.Out, o.Terminal, o.Control, o.Plain = p.stdout, p.isTerminal(p.stdout), p.Control, p.findsPlainly
			// A terminal that is closed ends the demo as well as Ctrl-C, its folder included.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
			defer stop()
			if err := demo.Run(ctx, o); err != nil {
				return operate.Exit(status.ExitFailed, err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Registry, "registry", "127.0.0.1:8500", "`ADDRESS` of the registry's HTTP API")
	f.StringVar(&o.API, "api", "127.0.0.1:8081", "`ADDRESS` of the gateway's dyups API")
	f.StringVar(&o.Proxy, "proxy", "127.0.0.1:8080", "`ADDRESS` at which the gateway takes requests")
	f.StringVar(&o.Page, "page", "127.0.0.1:9180", "`ADDRESS` of the page")
	f.BoolVar(&o.StoryOnly, "story-only", false, "end after the story")
	return c
}

// findsPlainly reports whether commands without a flag find the daemon that writes this conf file.
func (p *program) findsPlainly(ctx context.Context, conf string) bool {
	o := p.quietly()
	if err := o.configure(); err != nil {
		return false
	}
	if err := o.reach(ctx); err != nil {
		return false
	}
	defer o.client.Close()
	st, err := o.client.Status(ctx)
	return err == nil && st.File == conf
}
