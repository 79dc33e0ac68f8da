package cli

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
)

// A long replay says where it is, and removes that line at the end; a short one says nothing.
func TestProgress(t *testing.T) {
	for takes, want := range map[time.Duration]string{
		time.Millisecond:       "",
		300 * time.Millisecond: "4 moments of the record, up to 2026-01-02 12:04:00 UTC|8 moments of the record, up to 2026-01-02 12:08:00 UTC|",
	} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			p := &progress{to: &said, next: time.Now().Add(progressEvery)}
			n := 0
			for range p.of(func(yield func(replay.Moment) bool) {
				for i := range 10 {
					<-time.After(takes)
					if !yield(replay.Moment{Input: guard.Input{Now: time.Date(2026, 1, 2, 12, i+1, 0, 0, time.UTC)}}) {
						return
					}
				}
			}) {
				n++
			}
			p.end()
			p.end()
			if got := strings.TrimPrefix(strings.ReplaceAll(said.String(), "\r\x1b[K", "|"), "|"); got != want || n != 10 {
				t.Errorf("it says %q of %d, want %q", got, n, want)
			}
		})
	}
}
