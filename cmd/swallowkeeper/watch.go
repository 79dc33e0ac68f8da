package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"swallowkeeper/internal/retry"
	"swallowkeeper/status"
)

func (p *program) watchCommand() *cobra.Command {
	return p.asking(&cobra.Command{
		Use: "watch", Args: takes(0, 0),
		Short: "A live view: the verdict and what happens",
		Long: `watch shows on a terminal the verdict, what is held and the last that happened, and
redraws it with every change, until Ctrl-C. In a pipe, and with --output json, it prints
a line an event. A daemon that goes away is waited for; what happened meanwhile comes
then.`,
		Example: `  swallowkeeper watch
  swallowkeeper watch -o json | jq .text`,
	}, func(ctx context.Context, o *operator, _ []string) error {
		w := &watcher{operator: o, live: *o.output == asText && o.isTerminal(o.stdout)}
		return w.run(ctx)
	})
}

// watcher prints what happens.
type watcher struct {
	*operator
	live bool // redraw

	mu    sync.Mutex
	last  *status.Status
	seen  uint64 // the ID of the last event
	tail  []string
	lost  string // since the daemon is away
	drawn bool
}

const tailLength = 15

// run goes on until the context ends. A daemon that was never there is an error.
func (w *watcher) run(ctx context.Context) error {
	defer w.leave()
	defer w.onResize(w.draw)()
	var never error
	again := retry.Policy{First: 200 * time.Millisecond, Longest: 2 * time.Second, Healthy: 10 * time.Second}
	_ = again.Run(ctx, func(ctx context.Context) error { // what it returns is the end of the context
		err := w.client.Watch(ctx, &w.seen, w.take)
		if w.last == nil {
			never = needed(err, "start it, or see swallowkeeper status")
			return nil
		}
		return err
	}, func(err error, _ time.Duration) { w.away(err) })
	if ctx.Err() != nil {
		return nil
	}
	return never
}

// take implements the callback of client.Watch.
func (w *watcher) take(st *status.Status, e *status.Event) bool {
	w.mu.Lock()
	if st != nil {
		w.last, w.lost = st, ""
	}
	if e != nil {
		w.tell(*e)
	}
	w.mu.Unlock()
	w.draw()
	return true
}

// tell prints an event, or keeps it for the next picture. Locked.
func (w *watcher) tell(e status.Event) {
	line := fmt.Sprintf("%s  %s", e.Time.UTC().Format("15:04:05.000"), eventWords(e))
	switch {
	case *w.output == asJSON: // a line an event
		_ = json.NewEncoder(w.stdout).Encode(e)
	case *w.output == asYAML:
		fmt.Fprintln(w.stdout, "---") // a document an event
		_ = w.output.encode(w.stdout, e)
	case w.live:
		w.tail = append(w.tail, line)
		w.tail = w.tail[max(0, len(w.tail)-tailLength):]
	default:
		w.say("%s", line)
	}
}

// away says once that the daemon is.
func (w *watcher) away(err error) {
	w.mu.Lock()
	first := w.lost == ""
	if first {
		w.lost = fmt.Sprintf("lost the daemon at %s, trying again: %s", time.Now().UTC().Format("15:04:05"), printable(err.Error()))
	}
	if first && !w.live {
		fmt.Fprintf(w.stderr, "swallowkeeper: %s\n", w.lost)
	}
	w.mu.Unlock()
	w.draw()
}

// What a terminal is told: to use its other screen without a cursor and without wrapping, so
// that a line is one row however narrow it is, and to have all that back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// draw puts the picture in the place of the one before, on a terminal.
func (w *watcher) draw() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.live || w.last == nil {
		return
	}
	height := math.MaxInt
	if f, ok := w.stdout.(*os.File); ok {
		if _, rows, err := term.GetSize(int(f.Fd())); err == nil && rows > 0 {
			height = rows
		}
	}
	lines := w.picture(height)
	begin := ""
	if !w.drawn {
		w.drawn, begin = true, enterScreen
	}
	// Home, each line with what was behind it cleared, then what is below: nothing flickers.
	fmt.Fprint(w.stdout, begin+"\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[K\x1b[J")
}

// leastTail is how much of what happened last is always shown, as far as there is.
const leastTail = 4

// picture is the status, and below it what happened last, in so many lines. Where they are too few, what
// a hold keeps is cut first, then the end of the status.
func (w *watcher) picture(height int) []string {
	tail := len(w.tail)
	head := w.head(0)
	if over := len(head) + 1 + min(tail, leastTail) - height; over > 0 {
		head = w.head(min(over+1, mostStaying-1)) // one line more, which says how many are not there
	}
	room := max(0, height-1-min(tail, leastTail))
	head = head[:min(len(head), room)]
	tail = max(0, min(tail, height-1-len(head)))
	return append(append(head, ""), w.tail[len(w.tail)-tail:]...)
}

// head is the status in lines, with fewer of what is held.
func (w *watcher) head(fewer int) []string {
	var text strings.Builder
	to := *w.operator
	p := *w.program
	p.stdout = &text
	to.program, to.fewer = &p, fewer
	if w.lost != "" {
		to.say("%s", w.c.bad(w.lost))
	}
	to.printStatus(*w.last)
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
}

// leave gives the terminal back.
func (w *watcher) leave() {
	if w.drawn {
		fmt.Fprint(w.stdout, leaveScreen)
	}
}

// onResize calls f whenever the terminal has another size, until the result is called.
func (w *watcher) onResize(f func()) (stop func()) {
	if !w.live {
		return func() {}
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	var drawing sync.WaitGroup
	drawing.Go(func() {
		for range resized {
			f()
		}
	})
	return func() {
		signal.Stop(resized)
		close(resized)
		drawing.Wait()
	}
}

func eventWords(e status.Event) string {
	text := printable(e.Text)
	if e.Gateway != "" {
		text = "gateway " + printable(e.Gateway) + ": " + text
	}
	if e.TookMS > 0 {
		text += fmt.Sprintf(" (%.1f ms after the registry's answer)", e.TookMS)
	}
	return text
}
