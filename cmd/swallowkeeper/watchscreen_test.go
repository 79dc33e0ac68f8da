package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// screen is what a person sees of a program on a terminal, and its keys.
type screen struct {
	t      *testing.T
	cmd    *exec.Cmd
	person *os.File
	ended  chan struct{}

	mu    sync.Mutex
	shown *vt.Emulator
	other bool // the other screen is shown, which gives the first one back
}

// onScreen starts a watch on a terminal of its own.
func onScreen(t *testing.T, d *desk, rows, cols int) *screen {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, cmd: exec.CommandContext(t.Context(), self, "watch"), ended: make(chan struct{}), shown: vt.NewEmulator(cols, rows)}
	s.shown.SetCallbacks(vt.Callbacks{AltScreen: func(on bool) { s.other = on }})
	s.cmd.Env = []string{asProgram + "=1", "GORACE=atexit_sleep_ms=0", "TERM=xterm-256color", "SWALLOWKEEPER_STATUS_SOCKET=" + d.socket}
	if s.person, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() { // what a terminal answers when it is asked
		defer close(answered)
		_, _ = io.Copy(s.person, s.shown)
	}()
	go func() {
		defer close(s.ended)
		_, _ = io.Copy(s, s.person)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		_ = s.shown.InputPipe().(io.Closer).Close() // its own Close races with the reader
		<-answered
		_ = s.person.Close()
	})
	return s
}

// Write takes what the program draws.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.Write(p)
}

// String is what is to be seen.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

func (s *screen) shows(parts ...string) {
	s.t.Helper()
	until(s.t, patience, func() string {
		text := s.String()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				return fmt.Sprintf("no %q in:\n%s", p, text)
			}
		}
		return ""
	})
}

func (s *screen) showsNo(part string) {
	s.t.Helper()
	until(s.t, patience, func() string {
		if text := s.String(); strings.Contains(text, part) {
			return fmt.Sprintf("%q in:\n%s", part, text)
		}
		return ""
	})
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.person.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) resize(rows, cols int) {
	s.t.Helper()
	s.mu.Lock()
	s.shown.Resize(cols, rows)
	s.mu.Unlock()
	if err := pty.Setsize(s.person, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}); err != nil {
		s.t.Fatal(err)
	}
}

// leaves wants the program to end well, and the terminal as it was before.
func (s *screen) leaves() {
	s.t.Helper()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("it ended with %v", err)
	}
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.other || s.shown.CursorHidden() {
		s.t.Errorf("at the end on the other screen: %v, cursor hidden: %v", s.other, s.shown.CursorHidden())
	}
}

const (
	keyUp, keyPageUp, keyHome, keyEnd = "\x1b[A", "\x1b[5~", "\x1b[H", "\x1b[F"
)

// TestWatchOnATerminal has the daemon go and come back, on a terminal that becomes small.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	s := onScreen(t, d, 60, 100)
	last := d.fake.Timeline(1)[0]
	s.shows("gateway edge-1: in sync", "swallowkeeper approve "+statustest.HoldID, last.Text.String()[:20], "q ends")
	d.tells("an event", s)
	d.comesBack(s, s)
	s.showsNo("lost the daemon")
	if !s.other {
		t.Errorf("it draws over what was there:\n%s", s)
	}
	s.resize(6, 30)
	s.shows("what was missed", "in sync")
	s.resize(24, 80)
	s.shows("what was missed", "q ends")
	s.press("q")
	s.leaves()
}

// TestWatchScrolls to what does not fit, stays there whatever happens, and goes back.
func TestWatchScrolls(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	for n := range 100 {
		fake.Tell(status.Event{Kind: "pushed", Text: reason.Text(fmt.Sprintf("event number %03d", n))})
	}
	d := newDesk(t, fake)
	s := onScreen(t, d, 24, 80)
	s.shows("event number 099", "in sync")
	s.press(keyPageUp + keyPageUp)
	s.shows("event number 040", "more below")
	s.showsNo("event number 099")
	fake.Tell(status.Event{Kind: "pushed", Text: reason.Text("something new")})
	s.shows("event number 040")
	s.press(keyHome)
	s.shows("swallowkeeper approve", "stays: billing", "more below")
	s.showsNo("something new")
	s.press(keyEnd)
	s.shows("something new", "in sync")
	s.press(keyUp)
	s.shows("1 more below")
	s.press("\x03") // Ctrl-C
	s.leaves()
}

// TestWatchWrapsLines that are longer than the terminal is wide: their ends are to be seen.
func TestWatchWrapsLines(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	fake.Tell(status.Event{Kind: "pushed", Text: reason.Text(strings.Repeat("many words and ", 10) + "then-its-end")})
	s := onScreen(t, newDesk(t, fake), 40, 44)
	s.shows("then-its-end", "are held")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.leaves()
}
