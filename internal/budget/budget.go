// Package budget limits the memory for answers of peers: for each answer, and for all that are being read at the same
// time. It counts bytes as they are read, so a peer that lies about its length, never stops, or sends a decompression bomb
// is cut off at the limit.
//
// It does not know what the bytes become in memory, so keep the limit of an answer well below the available memory.
package budget

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// free is the size of an answer that is not counted. Most answers are smaller, and a peer that exhausts the budget
	// must not block those.
	free = 256 << 10
	// step is the granularity of counting.
	step = 64 << 10
	// extraordinary is the number of bytes in flight from which memory is returned to the system afterwards. The
	// runtime alone would keep it for minutes.
	extraordinary = 16 << 20
	// Wait until what was read has probably been released, and not too often, as it takes a full collection.
	settle   = 2 * time.Second
	mostOnce = time.Minute
)

// Budget limits all answers together. It is safe for concurrent use.
type Budget struct {
	most int64

	mu    sync.Mutex
	used  int64
	peak  int64 // since memory was last returned
	freed time.Time
}

// New returns a budget of so many bytes.
func New(most int64) *Budget { return &Budget{most: most} }

// TooLargeError means that an answer was cut off.
type TooLargeError struct {
	Peer string
	Size int64 // the announced size, or the bytes received until then
	Most int64 // the limit
	// All reports that the limit was that of all answers together, and others use the rest.
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

// Body limits an answer. length is the announced length, or -1. Close ends the counting and closes the body. A nil
// budget only limits the single answer.
func (b *Budget) Body(body io.ReadCloser, length, most int64, peer string) io.ReadCloser {
	return &counted{body: body, budget: b, length: length, most: most, peer: peer}
}

// take counts bytes, unless that would exceed the limit.
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

// counted is an answer being read.
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
	if err := c.room(&p); err != nil {
		return 0, err
	}
	n, err := c.body.Read(p)
	return c.add(n, err)
}

// room shortens p to what may be read.
func (c *counted) room(p *[]byte) error {
	if c.err != nil {
		return c.err
	}
	if c.length > c.most {
		return c.fail(&TooLargeError{Peer: c.peer, Size: c.length, Most: c.most})
	}
	if len(*p) > step {
		*p = (*p)[:step]
	}
	if c.read >= free && c.read+int64(len(*p)) > free+c.taken {
		if !c.budget.take(step) {
			return c.fail(&TooLargeError{Peer: c.peer, Size: c.read, Most: c.budget.most, All: true})
		}
		c.taken += step
	}
	return nil
}

// add counts what was read.
func (c *counted) add(n int, err error) (int, error) {
	if c.read += int64(n); c.read > c.most {
		return 0, c.fail(&TooLargeError{Peer: c.peer, Size: c.read, Most: c.most})
	}
	return n, err
}

func (c *counted) fail(err error) error {
	c.err = err
	return err
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
