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
		Short: "A live view: the verdict and what happens",
		Long: `watch shows on a terminal the verdict, what is held and the last that happened, and
redraws it with every change. The arrow keys, Page Up and Page Down, Home and End scroll;
q ends it. In a pipe it prints a line an event, the last 15 first; with -o json it does so
anywhere, and with -o yaml a document an event. A daemon that goes away is waited for; what
happened meanwhile comes then.`,
		Example: `  swallowkeeper watch
  swallowkeeper watch -o json | jq .text`,
	}, func(ctx context.Context, o *operator, _ []string) error {
		w := &watcher{operator: o, live: *o.output == asText && isTerminal(o.stdout) && o.getenv("TERM") != "dumb"}
		return w.run(ctx)
	})
}

// watcher prints what happens, or keeps it for the picture on a terminal.
type watcher struct {
	*operator
	live bool // on a terminal

	last *status.Status
	seen uint64   // the ID of the last event
	tail []string // the last events, as far as they are kept
	lost string   // since the daemon is away

	width, height int // of the terminal
	up            int // lines that are scrolled away below
}

// tailLength is how many of the last events come at once, mostTail how many can be scrolled to.
const tailLength, mostTail = 15, 500

// run goes on until the context ends, or a person does. A daemon that was never there is an error.
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

// lost says that the daemon does not answer any more.
type lost string

// follow hands over each status, each event, and that the daemon went, until the context ends.
func (w *watcher) follow(ctx context.Context, take func(any)) {
	again := retry.Policy{First: 200 * time.Millisecond, Longest: 2 * time.Second, Healthy: 10 * time.Second}
	_ = again.Run(ctx, func(ctx context.Context) error { // what it returns is the end of the context
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

// take prints what comes, or keeps it for the next picture.
func (w *watcher) take(what any) {
	switch what := what.(type) {
	case status.Status:
		w.last, w.lost = &what, ""
	case status.Event:
		w.tell(what)
	case lost:
		if w.lost != "" {
			return // it was said
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
	case *w.output == asJSON: // a line an event
		_ = json.NewEncoder(w.stdout).Encode(e)
	case *w.output == asYAML: // a document an event
		fmt.Fprintln(w.stdout, "---")
		_ = w.output.encode(w.stdout, e)
	default:
		w.say("%s", line)
	}
}

func eventWords(e status.Event) string {
	text := safetext.Line(e.Text)
	if e.Gateway != "" {
		text = "gateway " + safetext.Line(e.Gateway) + ": " + text
	}
	if e.TookMS > 0 {
		text += fmt.Sprintf(" (%.1f ms after the registry's answer)", e.TookMS)
	}
	return text
}
