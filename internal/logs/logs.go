// Package logs stands between a daemon's log and where it is written. A log must never stop
// the daemon: [Sink] takes every line at once and loses lines where the reader is slow, gone
// or out of space. [Standard] brings the lines of the standard library's servers and clients
// into the log in its own form.
//
// Nothing here rotates or keeps a file: that is the supervisor's job.
package logs

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// mostWaiting is how many bytes of lines wait for a reader that is slow.
	mostWaiting = 1 << 20
	// patience is how long Close waits for lines that are still to be written.
	patience = time.Second
)

// Sink is an [io.Writer] that never blocks and never fails. One goroutine passes the lines on.
// Lines that find no room, or that can't be written, are lost and counted.
type Sink struct {
	to   io.Writer
	note func(lost int)
	wake chan struct{} // has room for one
	done chan struct{} // closed when all is written

	mu      sync.Mutex
	waiting [][]byte
	size    int // of what waits, in bytes
	lost    int // since note was called last
	closed  bool
}

// NewSink starts a sink. It calls note, with the number of lines that were lost, as soon as a line
// could be written again; note may write to the sink.
func NewSink(to io.Writer, note func(lost int)) *Sink {
	s := &Sink{to: to, note: note, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.run()
	return s
}

// Write takes a line. It always reports success: there is nobody to tell.
func (s *Sink) Write(line []byte) (int, error) {
	s.mu.Lock()
	if s.closed || s.size+len(line) > mostWaiting {
		s.lost++
	} else {
		s.waiting = append(s.waiting, bytes.Clone(line))
		s.size += len(line)
	}
	s.mu.Unlock()
	s.signal()
	return len(line), nil
}

// Close waits until all lines are written, but not long. It reports whether they are.
func (s *Sink) Close() bool {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-s.done:
		return true
	case <-late.C: // the goroutine hangs in a write, which nothing can end
		return false
	}
}

func (s *Sink) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sink) run() {
	defer close(s.done)
	for range s.wake {
		lines, closed := s.take()
		for len(lines) > 0 {
			s.pass(lines)
			lines, closed = s.take()
		}
		if closed {
			return
		}
	}
}

// take takes all that waits.
func (s *Sink) take() (lines [][]byte, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, s.waiting, s.size = s.waiting, nil, 0
	return lines, s.closed
}

// pass writes lines, one by one: a line is what a reader sees whole.
func (s *Sink) pass(lines [][]byte) {
	for _, line := range lines {
		_, err := s.to.Write(line)
		s.mu.Lock()
		if err != nil {
			s.lost++
		}
		lost := 0
		if err == nil && s.size <= mostWaiting/2 { // the note needs room too
			lost, s.lost = s.lost, 0
		}
		s.mu.Unlock()
		if lost > 0 {
			s.note(lost)
		}
	}
}
