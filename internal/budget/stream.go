package budget

import (
	"io"
	"sync"
)

// Stream limits the data of a persistent connection that was read but not yet processed. It is safe for concurrent use.
type Stream struct {
	mu   sync.Mutex
	from counted
}

// Stream counts what is read from a connection until [Stream.Settled]. A nil budget only limits the single stream.
func (b *Budget) Stream(from io.ReadCloser, most int64, peer string) *Stream {
	return &Stream{from: counted{body: from, budget: b, length: -1, most: most, peer: peer}}
}

// Read implements [io.Reader]. It fails after the limit was exceeded.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	err := s.from.room(&p)
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := s.from.body.Read(p) // may block for long
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from.add(n, err)
}

// Settled reports that everything read so far has been processed.
func (s *Stream) Settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from.budget.giveBack(s.from.taken)
	s.from.taken, s.from.read = 0, 0
}

// Close closes the connection and ends the counting.
func (s *Stream) Close() error {
	s.Settled()
	return s.from.body.Close()
}
