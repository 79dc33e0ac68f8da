// Package daemon runs the program: it starts, reloads its configuration, reports to systemd, serves the status page and
// API, and ends. Decisions are made by the syncer.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/retry"
	"swallowkeeper/operate"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/tracing"
	"swallowkeeper/wiring"
)

// Daemon is the long-running program.
type Daemon struct {
	Version string
	// Load reads the configuration, at startup and at every reload.
	Load   func() (config.Config, error)
	Stderr io.Writer // receives the log
}

// Run runs until the context ends. SIGHUP reloads the configuration. A bad configuration is refused, and the old one
// stays in use.
func (d *Daemon) Run(ctx context.Context) (err error) {
	operate.SurviveBrokenPipe()
	cfg, err := d.Load()
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	log := logs.New(d.Stderr, cfg.Log.Level, cfg.Log.Format)
	out := logs.NewSink(d.Stderr, func(lost int) {
		log.WithField("lines", lost).Warn("log lines were lost: its reader was away or too slow, or its disk was full")
	})
	log.SetOutput(out)
	defer logs.TakeStandard(log, "net/http")()
	defer func() {
		if !out.Close() && err != nil {
			err = operate.Exit(operate.CodeOf(err), operate.ErrReported) // standard error can't be written to
		}
	}()
	supervisor := newNotifier(log)
	show := newSurface(d.Version)
	log.WithFields(logrus.Fields{"version": d.Version, "config": cfg.File, "pid": os.Getpid()}).Info("swallowkeeper starts")

	now, err := beginWhenPossible(ctx, cfg, log, supervisor, show)
	if err != nil || now == nil {
		return err
	}
	supervisor.ready()
	var leaving sync.WaitGroup
	defer leaving.Wait()
	for {
		select {
		case <-hup:
			supervisor.reloading()
			old := now
			now = d.reload(ctx, old, log, supervisor, show)
			if now != old {
				leaving.Go(old.traces.Close) // the new run does not wait for a trace collector
			}
			if now == nil {
				return operate.Exit(status.ExitFailed, operate.ErrReported)
			}
			supervisor.ready()
			continue
		case <-ctx.Done():
		case err := <-now.ended: // on its own, or with the context
			now.ended <- err
		}
		supervisor.stopping()
		err := now.end()
		now.traces.Close()
		log.Info("swallowkeeper ends")
		return err
	}
}

// reload replaces the old run by one with the current configuration. It returns the run that continues, or nil if none
// can.
func (d *Daemon) reload(ctx context.Context, old *running, log *logrus.Logger, n *notifier, show *surface) *running {
	cfg, err := d.Load()
	if err == nil {
		err = usable(cfg, log)
	}
	if err != nil {
		log.WithError(err).Error("the new configuration is refused: the old one stays in use")
		show.reloaded(false, 1)
		return old
	}
	if err := old.end(); err != nil {
		log.WithError(err).Warn("the old run did not end cleanly")
	}
	now, err := beginAgain(ctx, cfg, log, n, show)
	if err == nil {
		logs.Configure(log, cfg.Log.Level, cfg.Log.Format)
		show.reloaded(true, 1)
		log.WithField("config", cfg.File).Info("the configuration was reloaded")
		return now
	}
	log.WithError(err).Error("the new configuration is refused: the old one stays in use")
	show.reloaded(false, 1)
	if now, err = beginAgain(ctx, old.cfg, log, n, show); err != nil {
		log.WithError(err).Error("the old configuration can't go on either")
		return nil
	}
	return now
}

// usable checks what only building the parts can check, before the old run ends.
func usable(cfg config.Config, log *logrus.Logger) error {
	h, err := wiring.Build(cfg, log, wiring.Meters{})
	if err != nil {
		return err
	}
	h.Close(log)
	return cfg.Status.CheckToken()
}

// othersTurn is how long a reload waits for a command that took the conf file's lock between two runs.
const othersTurn = 10 * time.Second

// beginAgain is begin for use after another run. Its lock was free for a moment, so an operator's command may have
// taken it and will soon release it.
func beginAgain(ctx context.Context, cfg config.Config, log *logrus.Logger, n *notifier, show *surface) (*running, error) {
	var now *running
	var final error
	limited, cancel := context.WithTimeout(ctx, othersTurn)
	defer cancel()
	_ = retry.Default().Run(limited, func(context.Context) error {
		now, final = begin(ctx, cfg, log, n, show)
		var locked *persist.LockedError
		if errors.As(final, &locked) {
			return final
		}
		return nil
	}, func(err error, _ time.Duration) {
		log.WithError(err).Warn("a command has the conf file: the new run waits for it")
	})
	return now, final
}

// running is a syncer running with one configuration.
type running struct {
	cfg    config.Config
	syncer *syncer.Syncer
	traces *tracing.Tracer
	cancel context.CancelFunc
	ended  chan error // has room for one error
	close  func()
}

// beginWhenPossible retries begin while the conf file's folder is missing, full or not writable, as that may pass. It
// returns nil if the context ended.
func beginWhenPossible(
	ctx context.Context, cfg config.Config, log *logrus.Logger, n *notifier, show *surface,
) (*running, error) {
	var now *running
	var final error
	_ = retry.Default().Run(ctx, func(ctx context.Context) error {
		var err error
		now, err = begin(ctx, cfg, log, n, show)
		var path *fs.PathError
		var wrong *operate.ExitError
		if errors.As(err, &path) && !errors.As(err, &wrong) {
			return err
		}
		final = err
		return nil
	}, func(err error, wait time.Duration) {
		log.WithError(err).WithField("again_in", wait.Round(time.Millisecond).String()).Error("the conf file can't be used: nothing is pushed")
	})
	var wrong *operate.ExitError
	if final != nil && !errors.As(final, &wrong) {
		final = operate.Exit(status.ExitFailed, final)
	}
	return now, final
}

// begin takes the lock, reads the baseline and starts the syncer.
func begin(ctx context.Context, cfg config.Config, log *logrus.Logger, n *notifier, show *surface) (*running, error) {
	h, err := wiring.Build(cfg, log, show.meters)
	if err != nil {
		return nil, operate.Exit(status.ExitUsage, err)
	}
	file, err := persist.Open(cfg.Persist, log)
	if err != nil {
		return nil, err
	}
	release := func() { file.Release(log) }
	if _, err := file.Load(); err != nil {
		release()
		return nil, err
	}
	parts := h.Parts(cfg, file, log)
	changed := make(chan struct{}, 1)
	parts.Changed = func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	traces, err := tracing.New(cfg.Tracing, show.version, h.GatewayNames(), log)
	if err != nil {
		log.WithError(err).Warn("there are no traces")
	}
	parts.Event = func(e syncer.Event) {
		show.observe(e)
		traces.Observe(e)
	}
	recorder := persist.NewRecorder(cfg.Persist, log)
	parts.Recorder = recorder
	ctx, cancel := context.WithCancel(ctx)
	r := &running{cfg: cfg, syncer: syncer.New(parts), traces: traces, cancel: cancel, ended: make(chan error, 1)}
	show.take(work{cfg: cfg, syncer: r.syncer, components: h})
	telling := n.follow(ctx, r.syncer, changed)
	serving := show.serve(ctx, cfg.Status, log)
	r.close = func() {
		<-telling
		<-serving
		h.Close(log)
		recorder.Close()
		release()
	}
	go func() { r.ended <- r.syncer.Run(ctx) }()
	return r, nil
}

// end stops the run and waits until everything has ended, except for traces that are being sent.
func (r *running) end() error {
	r.cancel()
	err := <-r.ended
	r.close()
	if err != nil {
		return operate.Exit(status.ExitFailed, fmt.Errorf("the syncer ended: %w", err))
	}
	return nil
}
