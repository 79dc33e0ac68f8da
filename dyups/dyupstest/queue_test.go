package dyupstest

import (
	"fmt"
	"testing"
)

// The numbers were counted on a Tengine with four workers of which only one read.
func TestQueueHoldsWhatTenginesDoes(t *testing.T) {
	for body, want := range map[int]int{64: 9576, 128: 7376, 2049: 487, 4097: 248, 8192: 248, 34_000: 55} {
		t.Run(fmt.Sprint(body), func(t *testing.T) {
			q := newQueue(2<<20, 4)
			w := &worker{pid: 1}
			sent := 0
			for q.send(w, fmt.Sprintf("n%05d", sent), &block{bytes: body}) {
				sent++
			}
			if sent != want {
				t.Errorf("%d messages fit, want %d", sent, want)
			}
		})
	}
}
