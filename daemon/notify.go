package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"swallowkeeper/operate"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
)

// notifier reports the daemon's state to systemd if NOTIFY_SOCKET is set. Otherwise it does nothing.
type notifier struct {
	log      logrus.FieldLogger
	watchdog time.Duration // interval at which systemd expects a sign of life; 0 for never
}

func newNotifier(log logrus.FieldLogger) *notifier {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.WithError(err).Warn("the watchdog's interval can't be read: it gets no signs of life")
	}
	return &notifier{log: log, watchdog: every}
}

func (n *notifier) ready() { n.tell(daemon.SdNotifyReady) }

func (n *notifier) stopping() { n.tell(daemon.SdNotifyStopping) }

func (n *notifier) reloading() {
	// Type=notify-reload needs the time at which the reload began.
	n.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (n *notifier) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.WithError(err).Debug("systemd was not told")
	}
}

// follow sends systemd the status line whenever it changes, and a sign of life as long as the syncer's loop comes
// round. The channel is closed when it has ended.
func (n *notifier) follow(ctx context.Context, s *syncer.Syncer, changed <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		interval := n.watchdog / 3
		if interval == 0 {
			interval = time.Hour
		}
		alive := time.NewTicker(interval)
		defer alive.Stop()
		sent := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-alive.C:
				if n.watchdog > 0 && time.Since(s.Beat()) < n.watchdog {
					n.tell(daemon.SdNotifyWatchdog)
				}
			case <-changed:
				if line := statusLine(s.Status()); line != sent {
					sent = line
					n.tell("STATUS=" + line)
				}
			}
		}
	}()
	return done
}

// statusLine returns the current state in one line.
func statusLine(st syncer.Status) string {
	shown := operate.ShowStatus(st, nil)
	if shown.Verdict.Level == status.LevelOK {
		return fmt.Sprintf("%s: %d upstreams, %d servers, generation %d",
			shown.Verdict.Text, shown.Upstreams, shown.Servers, shown.Generation.Number)
	}
	parts := []string{shown.Verdict.Text.String()}
	for _, h := range shown.Holds {
		parts = append(parts, operate.Held.With(h.Reason).String())
	}
	for _, r := range shown.Registries {
		if r.Answered.IsZero() {
			parts = append(parts, "no answer yet from "+r.Name)
		} else if r.Trouble != "" {
			parts = append(parts, "trouble with "+r.Name)
		}
	}
	for _, g := range shown.Gateways {
		if g.Error != "" {
			parts = append(parts, "trouble with "+g.Name)
		}
	}
	return strings.Join(parts, "; ")
}
