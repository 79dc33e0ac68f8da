package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader is where a sink writes. It can hang or fail.
type reader struct {
	mu   sync.Mutex
	text bytes.Buffer
	fail error
	stop chan struct{} // not nil: writes hang until it is closed
	busy chan struct{} // told of each write that begins
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stop, busy := r.stop, r.busy
	r.mu.Unlock()
	if busy != nil {
		select {
		case busy <- struct{}{}:
		default:
		}
	}
	if stop != nil {
		<-stop
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return 0, r.fail
	}
	return r.text.Write(p)
}

func (r *reader) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-late:
			t.Fatal("not within 10 s: ", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestSinkPassesAllLinesOnInOrder(t *testing.T) {
	r := &reader{}
	s := NewSink(r, func(int) { t.Error("nothing was lost") })
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(io.MultiWriter(s, &want), "line %d\n", i)
	}
	if !s.Close() || r.String() != want.String() {
		t.Errorf("got %d bytes, want %d", len(r.String()), want.Len())
	}
}

func TestSinkNeverBlocksAndSaysWhatItLost(t *testing.T) {
	r := &reader{stop: make(chan struct{}), busy: make(chan struct{}, 1)}
	var s *Sink
	s = NewSink(r, func(lost int) { fmt.Fprintf(s, "lost %d\n", lost) })
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	_, _ = s.Write(line)
	<-r.busy // it hangs from now on
	const more = 5000
	for range more {
		if n, err := s.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	close(r.stop)
	lost := more - mostWaiting/1024
	eventually(t, "the count of lost lines", func() bool { return strings.Contains(r.String(), fmt.Sprintf("lost %d\n", lost)) })
	if !s.Close() {
		t.Error("it does not end")
	}
}

func TestSinkGoesOnAfterErrors(t *testing.T) {
	r := &reader{fail: errors.New("no space left on device")}
	var s *Sink
	s = NewSink(r, func(lost int) { fmt.Fprintf(s, "lost %d\n", lost) })
	for range 3 {
		_, _ = io.WriteString(s, "gone\n")
	}
	eventually(t, "three lines lost", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.lost == 3
	})
	r.set(nil)
	_, _ = io.WriteString(s, "there\n")
	eventually(t, "the note", func() bool { return r.String() == "there\nlost 3\n" })
	s.Close()
}

func TestSinkEndsThoughItsReaderHangs(t *testing.T) {
	r := &reader{stop: make(chan struct{}), busy: make(chan struct{}, 1)}
	s := NewSink(r, func(int) {})
	_, _ = io.WriteString(s, "x\n")
	<-r.busy
	began := time.Now()
	if s.Close() {
		t.Error("it says that all is written")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	close(r.stop)
	<-s.done
}

func TestStandardIsPlainWarnings(t *testing.T) {
	var out bytes.Buffer
	to := logrus.New()
	to.SetOutput(&out)
	to.SetFormatter(&logrus.JSONFormatter{DisableTimestamp: true})
	Standard(to, "status").Printf("http: bad \x1b[31m header\nfrom %s", strings.Repeat("é", mostLine))
	text := out.String()
	if !strings.HasPrefix(text, `{"level":"warning","msg":"status: http: bad  [31m header from `) ||
		strings.Count(text, "\n") != 1 || len(text) > mostLine+100 || !strings.Contains(text, `…"}`) {
		t.Errorf("got %q", text)
	}

	out.Reset()
	giveBack := TakeStandard(to, "net/http")
	log.Print("Unsolicited response")
	giveBack()
	if got, want := out.String(), `{"level":"warning","msg":"net/http: Unsolicited response"}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLinesDisturbNoTerminal has a message with what commands a terminal, which logrus quotes in a file alone.
func TestLinesDisturbNoTerminal(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := New(&out, "info", format)
		if text, is := log.Formatter.(safe).Formatter.(*logrus.TextFormatter); is {
			text.ForceColors = true // as on a terminal
		}
		log.WithField("name", "b\u202e\x1b[2J").Warn("a\x1b]0;x\x07\u009b2J\u202e\r\x1b[2J 中")
		got := out.String()
		for _, r := range strings.TrimSuffix(got, "\n") {
			if !unicode.IsPrint(r) && r != '\x1b' {
				t.Errorf("%s: %q has %q", format, got, r)
			}
		}
		for command := range strings.SplitSeq(got, "\x1b") {
			if after := strings.TrimLeft(command, "[0123456789;"); command != got && command != "" && strings.HasPrefix(command, "[") && after[0] != 'm' || strings.HasPrefix(command, "]") {
				t.Errorf("%s: %q commands the terminal: %q", format, got, command)
			}
		}
		if !strings.Contains(got, "中") || !strings.Contains(got, `202e`) {
			t.Errorf("%s: %q", format, got)
		}
	}
}
