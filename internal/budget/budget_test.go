package budget

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// endless sends without an end.
type endless struct{ closed bool }

func (e *endless) Read(p []byte) (int, error) { return len(p), nil }
func (e *endless) Close() error               { e.closed = true; return nil }

func TestAnAnswerIsCutAtItsBound(t *testing.T) {
	const most = 1 << 20
	for _, test := range []struct {
		name   string
		body   io.ReadCloser
		length int64
		read   int64
		says   string
		atOnce bool // nothing of it is read
	}{
		{"as long as it may be", io.NopCloser(bytes.NewReader(make([]byte, most))), most, most, "", false},
		{
			"a byte longer", io.NopCloser(bytes.NewReader(make([]byte, most+1))), -1, 0,
			"the answer of gw1 has 1048577 bytes or more, at most 1048576 are taken", false,
		},
		{"without an end", &endless{}, -1, 0, "the answer of gw1 has 1056768 bytes or more, at most 1048576 are taken", false},
		{"it says so before", &endless{}, 512 << 20, 0, "the answer of gw1 has 536870912 bytes or more, at most 1048576 are taken", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := New(most)
			body := b.Body(test.body, test.length, most, "gw1")
			n, err := io.Copy(io.Discard, body)
			var large *TooLargeError
			switch {
			case test.says == "" && (err != nil || n != test.read):
				t.Errorf("%d bytes, %v", n, err)
			case test.says != "" && (!errors.As(err, &large) || err.Error() != test.says || test.atOnce != (n == 0)):
				t.Errorf("%d bytes, %v", n, err)
			}
			body.Close()
			if b.used != 0 {
				t.Errorf("%d bytes are not given back", b.used)
			}
		})
	}
}

func TestAllAnswersShareOneBudget(t *testing.T) {
	b := New(1 << 20)
	first := b.Body(&endless{}, -1, 1<<30, "first")
	_, err := io.Copy(io.Discard, io.LimitReader(first, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	second := b.Body(&endless{}, -1, 1<<30, "second")
	var large *TooLargeError
	if _, err := io.Copy(io.Discard, second); !errors.As(err, &large) || !large.All || large.Peer != "second" {
		t.Errorf("got %v", err)
	}
	small := b.Body(&endless{}, -1, 1<<30, "small")
	if _, err := io.Copy(io.Discard, io.LimitReader(small, free)); err != nil {
		t.Errorf("a small one finds no room: %v", err)
	}
	first.Close()
	first.Close() // gives nothing back twice
	second.Close()
	third := b.Body(&endless{}, -1, 1<<30, "third")
	if _, err := io.Copy(io.Discard, io.LimitReader(third, 1<<20)); err != nil {
		t.Error(err)
	}
	third.Close()
	if b.used != 0 {
		t.Errorf("%d bytes are not given back", b.used)
	}
}

// What a large answer took stayed with the process.
func TestMemoryIsGivenBackAfterAnExtraordinaryAnswer(t *testing.T) {
	resident := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	before := resident()
	synctest.Test(t, func(t *testing.T) {
		b := New(256 << 20)
		body := b.Body(&endless{}, -1, 128<<20, "gw1")
		var buffer bytes.Buffer
		if _, err := buffer.ReadFrom(body); err == nil {
			t.Error("it is not cut")
		}
		body.Close()
		buffer = bytes.Buffer{}
		time.Sleep(settle + time.Second)
		synctest.Wait()
	})
	if after := resident(); after > before+64<<20 {
		t.Errorf("%d MB before, %d after", before>>20, after>>20)
	}
}

// TestAStreamCountsUntilItIsSettled: a connection that is kept may bring more than the bound in all, and not at once.
func TestAStreamCountsUntilItIsSettled(t *testing.T) {
	const most = 1 << 20
	b := New(most)
	from := &endless{}
	s := b.Stream(from, 8*most, "gw1")
	buffer := make([]byte, step)
	read := func(n int) error {
		for range n / step {
			if _, err := s.Read(buffer); err != nil {
				return err
			}
		}
		return nil
	}
	for range 5 {
		if err := read(most); err != nil || b.used == 0 {
			t.Fatalf("%v, %d bytes count", err, b.used)
		}
		s.Settled()
		if b.used != 0 {
			t.Errorf("%d bytes are not given back", b.used)
		}
	}
	var large *TooLargeError
	if err := read(2 * most); !errors.As(err, &large) || !large.All {
		t.Errorf("it went on: %v", err)
	}
	if _, err := s.Read(buffer); err == nil {
		t.Error("it goes on behind the bound")
	}
	if err := s.Close(); err != nil || b.used != 0 || !from.closed {
		t.Errorf("%v, %d bytes are not given back, closed %t", err, b.used, from.closed)
	}
	alone := (*Budget)(nil).Stream(&endless{}, most, "gw1")
	for range 2 * most / step {
		if _, err := alone.Read(buffer); err != nil {
			large = nil
			if !errors.As(err, &large) || large.All {
				t.Errorf("it says %v", err)
			}
			return
		}
	}
	t.Error("without a budget it has no bound")
}
