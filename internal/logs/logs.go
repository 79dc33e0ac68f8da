// Package logs decouples a daemon from its log's destination. A log must never stop the daemon: [Sink] accepts every
// line at once, and drops lines if the reader is slow, gone or out of space. [Standard] sends the lines of the standard
// library's servers and clients to the log in its own format.
//
// It neither rotates nor keeps files: that is the supervisor's job.
package logs

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// mostWaiting limits the lines that wait for a slow reader, in bytes.
	mostWaiting = 1 << 20
	// patience is how long Close waits for lines to be written.
	patience = time.Second
)

// Sink is an [io.Writer] that never blocks and never fails. A goroutine passes the lines on. Lines that do not fit or
// can't be written are dropped and counted.
type Sink struct {
	to   io.Writer
	note func(lost int)
	wake chan struct{} // capacity one
	done chan struct{} // closed when everything is written

	mu      sync.Mutex
	waiting [][]byte
	size    int // of waiting lines, in bytes
	lost    int // since the last call of note
	closed  bool
}

// NewSink starts a sink. Once a line can be written again, it calls note with the number of lost lines; note may write
// to the sink.
func NewSink(to io.Writer, note func(lost int)) *Sink {
	s := &Sink{to: to, note: note, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.run()
	return s
}

// Write takes a line. It always succeeds, as nobody could handle an error.
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

// Close waits a short time for all lines to be written, and reports whether they were.
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
	case <-late.C: // the goroutine hangs in a write that can't be interrupted
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

// take removes and returns all waiting lines.
func (s *Sink) take() (lines [][]byte, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, s.waiting, s.size = s.waiting, nil, 0
	return lines, s.closed
}

// pass writes lines one at a time, so that a reader sees whole lines.
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
