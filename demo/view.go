package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fatih/color"
	"golang.org/x/term"
)

// The few ANSI sequences that a picture needs.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	wrapOff    = "\x1b[?7l" // a line that is too long is cut, not wrapped: each takes one row
	wrapOn     = "\x1b[?7h"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// redraw is how often the picture is drawn anew.
const redraw = 200 * time.Millisecond

// view is what the person sees: lines that stay and, on a terminal, a picture beneath
// them that is redrawn in place. In a pipe there are only the lines.
type view struct {
	palette
	out      io.Writer
	terminal bool
	picture  func(width int) []string
	drawing  sync.WaitGroup
	stop     chan struct{}

	mu    sync.Mutex
	shown bool // the picture is to be seen
	rows  int  // how many rows of it are on the screen, above the cursor
}

// palette is the colours of a terminal, or none in a pipe.
type palette struct{ bold, faint, good, bad, warn, accent func(a ...any) string }

func newPalette(colours bool) palette {
	paint := func(attr ...color.Attribute) func(a ...any) string {
		c := color.New(attr...)
		if colours {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c.SprintFunc()
	}
	return palette{
		bold: paint(color.Bold), faint: paint(color.Faint), good: paint(color.FgGreen), bad: paint(color.FgRed, color.Bold),
		warn: paint(color.FgYellow), accent: paint(color.FgCyan),
	}
}

func newView(out io.Writer, terminal bool, picture func(width int) []string) *view {
	return &view{palette: newPalette(terminal), out: out, terminal: terminal, picture: picture, stop: make(chan struct{})}
}

// start shows the picture.
func (v *view) start() {
	if !v.terminal {
		return
	}
	v.mu.Lock()
	v.shown = true
	v.write(hideCursor)
	v.mu.Unlock()
	v.drawing.Go(func() {
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			select {
			case <-v.stop:
				return
			case <-tick.C:
				v.mu.Lock()
				v.put("")
				v.mu.Unlock()
			}
		}
	})
}

// say adds lines that stay.
func (v *view) say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(fmt.Sprintf(format, args...) + "\n")
}

// Write lets whole lines of others be said.
func (v *view) Write(lines []byte) (int, error) {
	v.say("%s", strings.TrimSuffix(string(lines), "\n"))
	return len(lines), nil
}

// put writes text in the picture's place and the picture beneath it, at one go so that
// nothing flickers. v.mu is held.
func (v *view) put(text string) {
	if !v.shown {
		v.write(text)
		return
	}
	var b strings.Builder
	if v.rows > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", v.rows)
	}
	b.WriteString(strings.ReplaceAll(text, "\n", clearLine+"\n"))
	width, height := v.size()
	lines := v.picture(width)
	lines = lines[:min(len(lines), max(0, height-2))]
	b.WriteString(wrapOff)
	for _, l := range lines {
		b.WriteString(l + clearLine + "\n")
	}
	b.WriteString(clearBelow + wrapOn)
	v.rows = len(lines)
	v.write(b.String())
}

func (v *view) write(text string) {
	_, _ = io.WriteString(v.out, text) // nobody is left to tell where this fails
}

func (v *view) size() (width, height int) {
	if f, ok := v.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return 80, 24
}

// wrap breaks text between words so that it fits a terminal beside an indent of so many columns.
func (v *view) wrap(text string, indent int) string {
	if !v.terminal {
		return text
	}
	width, _ := v.size()
	var b strings.Builder
	column := indent
	for k, word := range strings.Fields(text) {
		n := columns(word)
		switch {
		case k == 0:
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// columns is how wide text is without its colours.
func columns(text string) int {
	n, coloured := 0, false
	for _, r := range text {
		switch {
		case r == '\x1b':
			coloured = true
		case coloured:
			coloured = r != 'm'
		default:
			n++
		}
	}
	return n
}

// close takes the picture away and leaves the terminal as it was. Lines can be said after it.
func (v *view) close() {
	v.hide()
	close(v.stop)
	v.drawing.Wait()
}

// hide takes the picture away until it is shown again.
func (v *view) hide() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.shown {
		return
	}
	up := ""
	if v.rows > 0 {
		up = fmt.Sprintf("\x1b[%dA", v.rows)
	}
	v.write("\r" + up + clearBelow + showCursor)
	v.shown, v.rows = false, 0
}
