package cli

import (
	"fmt"
	"io"
	"iter"
	"time"

	"swallowkeeper/guard/replay"
	"swallowkeeper/operate"
)

// progress shows the progress of a replay on one line, updated once a second and removed at the end. A replay shorter
// than a second shows nothing.
type progress struct {
	to   io.Writer // nil: show nothing
	next time.Time
	said bool
}

// progressEvery is the time between updates.
const progressEvery = time.Second

func (p *program) progress() *progress {
	if !p.isTerminal(p.stderr) {
		return &progress{}
	}
	return &progress{to: p.stderr, next: time.Now().Add(progressEvery)}
}

// of passes on the moments, and shows the progress.
func (p *progress) of(moments iter.Seq[replay.Moment]) iter.Seq[replay.Moment] {
	if p.to == nil {
		return moments
	}
	return func(yield func(replay.Moment) bool) {
		n := 0
		for m := range moments {
			n++
			if now := time.Now(); !now.Before(p.next) {
				p.next, p.said = now.Add(progressEvery), true
				fmt.Fprintf(p.to, "\r\x1b[K%d moments of the record, up to %s", n, operate.When(m.Now))
			}
			if !yield(m) {
				return
			}
		}
	}
}

// end removes the line.
func (p *progress) end() {
	if p.said {
		p.said = false
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
