// Package budget bounds what the answers of peers may take of memory: each by itself, and all that are
// being read at the same time together. It counts bytes as they are read, so a peer that lies about its
// length, sends without an end or packs much into little is cut at the bound.
//
// It knows nothing of what is made of the bytes: keep the bound of a single answer well below the memory
// that there is.
package budget

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// free is what every answer may take without being counted: most are smaller, and a peer that fills
	// the budget must not keep those out.
	free = 256 << 10
	// step is how much is counted at a time.
	step = 64 << 10
	// extraordinary is from how many bytes in flight on the memory is given back to the system afterwards:
	// the runtime alone keeps it for minutes.
	extraordinary = 16 << 20
	// After what was read is likely to be let go of, and not often: it takes a whole collection.
	settle   = 2 * time.Second
	mostOnce = time.Minute
)

// Budget is what all answers may take together. It is for concurrent use.
type Budget struct {
	most int64

	mu    sync.Mutex
	used  int64
	peak  int64 // since all was given back last
	freed time.Time
}

// New makes a budget of so many bytes.
func New(most int64) *Budget { return &Budget{most: most} }

// TooLargeError says that an answer was cut.
type TooLargeError struct {
	Peer string
	Size int64 // what it says it has, or has sent until it was cut
	Most int64 // the bound
	// All says that the bound is that of all answers together, of which others take the rest.
	All bool
}

// Error names the peer, the size and the bound.
func (e *TooLargeError) Error() string {
	if e.All {
		return fmt.Sprintf("the answer of %s has %d bytes or more, and with those of others that is more than the %d that all may take at a time",
			e.Peer, e.Size, e.Most)
	}
	return fmt.Sprintf("the answer of %s has %d bytes or more, at most %d are taken", e.Peer, e.Size, e.Most)
}

// Body bounds an answer. length is what the peer says it has, -1 where it says nothing. Close ends the
// counting and closes the body. A nil budget bounds the one answer alone.
func (b *Budget) Body(body io.ReadCloser, length, most int64, peer string) io.ReadCloser {
	return &counted{body: body, budget: b, length: length, most: most, peer: peer}
}

// take counts bytes, unless that would be too many.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.most {
		return false
	}
	b.used += n
	b.peak = max(b.peak, b.used)
	return true
}

func (b *Budget) giveBack(n int64) {
	if b == nil || n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.used > extraordinary/4 || b.peak < extraordinary {
		return
	}
	b.peak = 0
	at := time.Now().Add(settle)
	if again := b.freed.Add(mostOnce); again.After(at) {
		at = again
	}
	if at.After(b.freed) {
		b.freed = at
		time.AfterFunc(time.Until(at), debug.FreeOSMemory)
	}
}

// counted is an answer that is being read.
type counted struct {
	body               io.ReadCloser
	budget             *Budget
	peer               string
	length, most, read int64
	taken              int64
	err                error
}

// Read implements [io.Reader].
func (c *counted) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.length > c.most {
		return c.fail(&TooLargeError{Peer: c.peer, Size: c.length, Most: c.most})
	}
	if len(p) > step {
		p = p[:step]
	}
	if c.read >= free && c.read+int64(len(p)) > free+c.taken {
		if !c.budget.take(step) {
			return c.fail(&TooLargeError{Peer: c.peer, Size: c.read, Most: c.budget.most, All: true})
		}
		c.taken += step
	}
	n, err := c.body.Read(p)
	if c.read += int64(n); c.read > c.most {
		return c.fail(&TooLargeError{Peer: c.peer, Size: c.read, Most: c.most})
	}
	return n, err
}

func (c *counted) fail(err error) (int, error) {
	c.err = err
	return 0, err
}

// Close implements [io.Closer].
func (c *counted) Close() error {
	c.budget.giveBack(c.taken)
	c.taken = 0
	if c.err == nil {
		c.err = io.ErrClosedPipe
	}
	return c.body.Close()
}
