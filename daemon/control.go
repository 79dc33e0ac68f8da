package daemon

import (
	"context"
	"crypto/rand"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"swallowkeeper/demo"
	"swallowkeeper/operate"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/wiring"
)

// Control runs the daemon between the demo's registry and gateway.
func (d *Daemon) Control(ctx context.Context, w demo.Wiring) error {
	log := logrus.New()
	log.SetOutput(w.Log)
	log.SetLevel(logrus.ErrorLevel) // the demo prints its own story

	cfg := operate.Kinds().Default()
	cfg.Registries[0].Type, cfg.Registries[0].Config = w.RegistryType, w.Registry
	cfg.Gateways[0].Type, cfg.Gateways[0].Config = w.GatewayType, w.Gateway
	cfg.Guard, cfg.Persist.Path = w.Guard, w.ConfFile
	cfg.Status = status.Config{Address: w.Page, Token: rand.Text()}

	file, err := persist.Open(cfg.Persist, log)
	if err != nil {
		return err
	}
	defer file.Release(log)
	show := newSurface(d.Version)
	h, err := wiring.Build(cfg, log, show.meters)
	if err != nil {
		return err
	}
	defer h.Close(log)
	parts := h.Parts(cfg, file, log)
	parts.Event = show.observe
	s := syncer.New(parts)
	show.take(work{cfg: cfg, syncer: s, components: h})
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
