package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// watching is a watch under way.
type watching struct {
	t    *testing.T
	d    *desk
	errs buffer
	stop context.CancelFunc
	code chan int
}

func watch(t *testing.T, d *desk, stdout io.Writer, args ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{t: t, d: d, stop: cancel, code: make(chan int, 1)}
	go func() {
		w.code <- run(ctx, append([]string{"watch"}, args...), []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "TERM=xterm"}, stdout, &w.errs)
	}()
	return w
}

func (w *watching) ends() {
	w.t.Helper()
	w.stop()
	if code := <-w.code; code != exitInSync {
		w.t.Errorf("exit code %d: %s", code, w.errs.String())
	}
}

// tells has something happen until the output shows it.
func (w *watching) tells(what string, out fmt.Stringer) {
	w.t.Helper()
	eventually(w.t, 10*time.Second, what, func() bool {
		w.d.fake.Tell(status.Event{Kind: "pushed", Gateway: "edge\x1b[31m", Text: what + "\n\x1b[2J", TookMS: 3.2})
		return strings.Contains(out.String(), what)
	})
}

// comesBack has the daemon go, something happen, and the daemon come back.
func (w *watching) comesBack(says, out fmt.Stringer) {
	w.t.Helper()
	w.d.stop()
	eventually(w.t, 10*time.Second, "the daemon is missed", func() bool { return strings.Contains(says.String(), "lost the daemon") })
	w.d.fake.Tell(status.Event{Kind: "pushed", Text: "what was missed"})
	w.d.start()
	eventually(w.t, 10*time.Second, "what was missed", func() bool { return strings.Contains(out.String(), "what was missed") })
}

func TestWatchInAPipe(t *testing.T) {
	t.Parallel()
	for _, output := range []string{"text", "json"} {
		var out buffer
		w := watch(t, newDesk(t, statustest.New()), &out, "--output", output)
		w.tells("an event", &out)
		w.comesBack(&w.errs, &out)
		w.ends()
		plain(t, out.String())
		for line := range strings.Lines(out.String()) {
			if output == "json" && !json.Valid([]byte(line)) {
				t.Errorf("no line of JSON: %s", line)
			}
		}
	}
}

// TestWatchOnATerminal draws on a real one, a pseudo terminal.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	person, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close()
	s := &screen{t: t, terminal: terminal}
	s.resize(60, 100)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&s.text, person)
	}()

	w := watch(t, newDesk(t, statustest.New()), terminal)
	w.tells("an event", s)
	if shown := s.String(); !s.other || s.cursor || s.wraps || !strings.HasPrefix(shown, "out of sync") && !strings.HasPrefix(shown, "in sync") {
		t.Errorf("on the other screen: %v, cursor: %v, wrapping: %v:\n%s", s.other, s.cursor, s.wraps, shown)
	}
	w.comesBack(s, s)
	if strings.Contains(s.String(), "lost the daemon") {
		t.Errorf("it is there and counts as lost:\n%s", s)
	}

	s.resize(6, 30)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the smaller picture", func() bool { return strings.Count(s.String(), "\n") == 6 })
	w.ends()
	_ = terminal.Close()
	<-read
	_ = s.String()
	if s.other || !s.cursor || !s.wraps {
		t.Errorf("at the end on the other screen: %v, cursor: %v, wrapping: %v", s.other, s.cursor, s.wraps)
	}
}

// screen is what a person sees of a terminal.
type screen struct {
	t        *testing.T
	terminal *os.File
	text     buffer

	rows, cols           int
	other, cursor, wraps bool
}

// resize begins with an empty screen, as what was on it moves in many ways.
func (s *screen) resize(rows, cols int) {
	s.t.Helper()
	if err := pty.Setsize(s.terminal, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}); err != nil {
		s.t.Fatal(err)
	}
	s.rows, s.cols = rows, cols
}

var sequence = regexp.MustCompile(`^\x1b\[(\??)([0-9;]*)([A-Za-z])`)

// String plays all that was written, and takes nothing that it does not know.
func (s *screen) String() string {
	s.other, s.cursor, s.wraps = false, true, true
	all := s.text.String()
	lines := make([]string, s.rows)
	row, most := 0, 0
	for all != "" {
		m := sequence.FindStringSubmatch(all)
		switch {
		case m == nil && all[0] == '\x1b':
			if len(all) > 16 { // else its end has not arrived
				s.t.Errorf("an escape sequence of somebody else: %.20q", all)
			}
			return ""
		case m == nil && all[0] == '\n':
			row++
			all = all[1:]
			continue
		case m == nil:
			r, n := utf8.DecodeRuneInString(all)
			if r < ' ' && r != '\r' {
				s.t.Errorf("a control character: %q", r)
			}
			if r != '\r' && row < s.rows && utf8.RuneCountInString(lines[row]) < s.cols {
				lines[row] += string(r)
			}
			all = all[n:]
			continue
		}
		all = all[len(m[0]):]
		switch on := m[3] == "h"; m[2] + m[3] {
		case "1049h", "1049l":
			s.other = on
		case "25h", "25l":
			s.cursor = on
		case "7h", "7l":
			s.wraps = on
		case "H":
			lines, row = make([]string, s.rows), 0
		case "J":
			most = row + 1
		case "K":
		default:
			if m[3] != "m" {
				s.t.Errorf("an escape sequence of somebody else: %q", m[0])
			}
		}
	}
	if most > s.rows {
		return "" // drawn for a larger screen
	}
	return strings.Join(lines[:most], "\n") + "\n"
}
