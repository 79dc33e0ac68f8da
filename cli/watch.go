package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/internal/retry"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/status"
)

func (p *program) watchCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "watch", Args: takes(0, 0),
		Short: "Show the verdict and events live",
		Long: `watch shows the verdict, what is held and the most recent events on a terminal, and updates
them with every change. The arrow keys, Page Up and Page Down, Home and End scroll; q quits.
In a pipe it prints one line per event, starting with the last 15. With -o json it always
does so, with -o yaml it prints one document per event. If the daemon goes away, watch waits
for it, and then shows what it missed.`,
		Example: `  swallowkeeper watch
  swallowkeeper watch -o json | jq .text`,
	}, func(ctx context.Context, o *operator, _ []string) error {
		w := &watcher{operator: o, live: *o.output == asText && isTerminal(o.stdout) && o.getenv("TERM") != "dumb"}
		return w.run(ctx)
	})
}

// watcher prints events, or collects them for the screen.
type watcher struct {
	*operator
	live bool // on a terminal

	last *status.Status
	seen uint64   // ID of the last event
	tail []string // the most recent events
	lost string   // since the daemon is gone

	width, height int // of the terminal
	up            int // lines scrolled up from the end
}

// tailLength is how many recent events are requested at once, mostTail how many can be scrolled through.
const tailLength, mostTail = 15, 500

// run watches until the context ends or the user quits. It is an error if the daemon never answered.
func (w *watcher) run(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, time.Duration(*w.timeout))
	defer cancel()
	st, err := w.client.Status(first)
	if err != nil {
		return needed(err, "start it, or see swallowkeeper status")
	}
	w.last = &st
	most := tailLength
	if w.live {
		most = mostTail
	}
	before, err := w.client.Timeline(first, most)
	if err != nil {
		return err
	}
	for _, e := range before {
		w.seen = e.ID
		w.take(e)
	}
	if w.live {
		return w.onTerminal(ctx)
	}
	w.follow(ctx, w.take)
	return nil
}

// lost means that the daemon no longer answers.
type lost string

// follow passes each status, each event, and the loss of the daemon to take, until the context ends.
func (w *watcher) follow(ctx context.Context, take func(any)) {
	again := retry.Policy{First: 200 * time.Millisecond, Longest: 2 * time.Second, Healthy: 10 * time.Second}
	_ = again.Run(ctx, func(ctx context.Context) error { // it returns only when the context ends
		return w.client.Watch(ctx, &w.seen, func(st *status.Status, e *status.Event) bool {
			if st != nil {
				take(*st)
			}
			if e != nil {
				take(*e)
			}
			return true
		})
	}, func(err error, _ time.Duration) {
		take(lost(fmt.Sprintf("lost the daemon at %s, trying again: %s", time.Now().UTC().Format("15:04:05"), safetext.Line(err.Error()))))
	})
}

// take prints a message, or keeps it for the screen.
func (w *watcher) take(what any) {
	switch what := what.(type) {
	case status.Status:
		w.last, w.lost = &what, ""
	case status.Event:
		w.tell(what)
	case lost:
		if w.lost != "" {
			return // already reported
		}
		w.lost = string(what)
		if !w.live {
			fmt.Fprintf(w.stderr, "swallowkeeper: %s\n", w.lost)
		}
	}
}

func (w *watcher) tell(e status.Event) {
	line := fmt.Sprintf("%s  %s", e.Time.UTC().Format("15:04:05.000"), eventWords(e))
	switch {
	case w.live:
		w.tail = append(w.tail, line)
		w.tail = w.tail[max(0, len(w.tail)-mostTail):]
	case *w.output == asJSON: // one line per event
		_ = json.NewEncoder(w.stdout).Encode(e)
	case *w.output == asYAML: // one document per event
		fmt.Fprintln(w.stdout, "---")
		_ = w.output.encode(w.stdout, e)
	default:
		w.say("%s", line)
	}
}

func eventWords(e status.Event) string {
	text := e.Text.String()
	if e.Gateway != "" {
		text = "gateway " + safetext.Line(e.Gateway) + ": " + text
	}
	if e.TookMS > 0 {
		text += fmt.Sprintf(" (%.1f ms after the registry's answer)", e.TookMS)
	}
	return text
}
