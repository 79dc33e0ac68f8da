package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"swallowkeeper/status"
)

// watcher prints what happens.
type watcher struct {
	*operator
	live bool // redraw
	last *status.Status
	tail []string // the last events, the newest last
}

const tailLength = 15

// take implements the callback of client.Watch.
func (w *watcher) take(st *status.Status, e *status.Event) bool {
	if w.output == "json" {
		if e != nil {
			_ = json.NewEncoder(w.stdout).Encode(e)
		}
		return true
	}
	if e != nil {
		line := fmt.Sprintf("%s  %s", e.Time.UTC().Format("15:04:05.000"), eventWords(*e))
		if !w.live {
			w.say("%s", line)
			return true
		}
		w.tail = append(w.tail, line)
		w.tail = w.tail[max(0, len(w.tail)-tailLength):]
	}
	if st != nil {
		w.last = st
	}
	if w.live && w.last != nil {
		w.draw()
	}
	return true
}

// draw puts the picture in the place of the one before.
func (w *watcher) draw() {
	var text strings.Builder
	to := *w.operator
	p := *w.program
	p.stdout = &text
	to.program = &p
	to.printStatus(*w.last)
	text.WriteByte('\n')
	for _, l := range w.tail {
		text.WriteString(l + "\n")
	}
	lines := strings.Split(text.String(), "\n")
	if f, ok := w.stdout.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && len(lines) >= height {
			lines = lines[:max(1, height-1)]
		}
	}
	// Home, each line with what was behind it cleared, then what is below.
	fmt.Fprint(w.stdout, "\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[J")
}

func eventWords(e status.Event) string {
	text := printable(e.Text)
	if e.Gateway != "" {
		text = "gateway " + e.Gateway + ": " + text
	}
	if e.TookMS > 0 {
		text += fmt.Sprintf(" (%.1f ms after the registry's answer)", e.TookMS)
	}
	return text
}
