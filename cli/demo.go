package cli

import (
	"context"
	"os/signal"
	"strings"
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
		Short: "Try swallowkeeper on this machine, with nothing to install",
		Long: `demo runs the real swallowkeeper between a simulated registry and a simulated nginx that
proxies to some services, in one process and on loopback. It plays a story while a client
sends requests all the time. Then it stays up for you to try things, and prints commands to
copy, such as those that cause a hold and approve it. In another terminal, swallowkeeper
status finds it if no other daemon is running.

The stories:
  ` + strings.Join(demo.Stories(), "\n  ") + `

With --story-only it exits with 0 if no request failed and the story went as told, else 1.
Port 0 in an address means any free port.`,
		Example: `  swallowkeeper demo
  swallowkeeper demo --story docker
  swallowkeeper demo --story-only
  swallowkeeper demo --proxy 127.0.0.1:18080     if port 8080 is taken`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Fill(cmd.Flags().Changed)
			if err := o.Validate(); err != nil {
				return operate.Exit(status.ExitUsage, err)
			}
			o.Out, o.Terminal, o.Control, o.Plain = p.stdout, p.isTerminal(p.stdout), p.Control, p.findsPlainly
			// Closing the terminal ends the demo like Ctrl-C, and removes its folder.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
			defer stop()
			if err := demo.Run(ctx, o); err != nil {
				return operate.Exit(status.ExitFailed, err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Story, "story", "", "`STORY` to play, one of those above (default: the first)")
	f.StringVar(&o.Registry, "registry", "", "`ADDRESS` of the registry's HTTP API (default: "+demo.Usual("registry")+")")
	f.StringVar(&o.API, "api", "", "`ADDRESS` of the gateway's dyups API (default: "+demo.Usual("api")+")")
	f.StringVar(&o.Proxy, "proxy", "127.0.0.1:8080", "`ADDRESS` at which the gateway serves requests")
	f.StringVar(&o.Page, "page", "127.0.0.1:9180", "`ADDRESS` of the page")
	f.BoolVar(&o.StoryOnly, "story-only", false, "end after the story")
	return c
}

// findsPlainly reports whether commands without flags find the daemon that writes this conf file.
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
