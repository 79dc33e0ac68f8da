package main

import (
	"context"
	"crypto/rand"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"swallowkeeper/demo"
	"swallowkeeper/dyups"
	"swallowkeeper/persist"
	"swallowkeeper/registry/consul"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
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
				return exit(exitUsage, err)
			}
			o.Out, o.Terminal, o.Control, o.Plain = p.stdout, p.isTerminal(p.stdout), control, p.findsPlainly
			// A terminal that is closed ends the demo as well as Ctrl-C, its folder included.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
			defer stop()
			if err := demo.Run(ctx, o); err != nil {
				return exit(exitFailed, err)
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

// control runs the daemon's own parts between the demo's registry and gateway.
func control(ctx context.Context, w demo.Wiring) error {
	log := logrus.New()
	log.SetOutput(w.Log)
	log.SetLevel(logrus.ErrorLevel) // the demo tells its own story

	cfg := known().Default()
	from, to := consul.DefaultConfig(), dyups.DefaultConfig()
	from.Address, to.Address = w.Registry, w.Gateway
	cfg.Registries[0].Config, cfg.Gateways[0].Config = &from, &to
	cfg.Persist.Path = w.ConfFile
	cfg.Status = status.Config{Address: w.Page, Token: rand.Text()}

	file, err := persist.Open(cfg.Persist, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := file.Close(); err != nil {
			log.WithError(err).Error("the conf file's lock is not given back cleanly")
		}
	}()
	show := newSurface()
	h, err := build(cfg, log, show.meters)
	if err != nil {
		return err
	}
	defer h.close(log)
	parts := h.parts(cfg, file, log)
	parts.Event = show.observe
	s := syncer.New(parts)
	show.take(work{cfg: cfg, syncer: s, house: h})
	site, err := status.Listen(cfg.Status, show, show.parts(log))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return site.Serve(ctx) })
	group.Go(func() error { return s.Run(ctx) })
	w.Started(s.Status, site.URL()+"#token="+cfg.Status.Token)
	return group.Wait()
}
