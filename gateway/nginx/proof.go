package nginx

import (
	"time"

	"swallowkeeper/internal/nginxproc"
)

// nginx starts the new workers, waits 100 ms, and then tells the old ones to stop accepting connections. Until then
// both answer, so a new answer proves nothing, and neither do 16 in a row: in 20 of 25 reloads an old one followed.
const (
	rowOf = 16
	// settles is how long after the first new answer an old one may follow.
	settles = 150 * time.Millisecond
)

// proof is what was seen of the workers since a reload. It is pure: the caller asks, and passes the time.
type proof struct {
	digest string
	before map[int]bool // the known workers before the reload

	heard map[int]bool // those that answered with the digest
	row   int          // new answers since the last old one
	first time.Time    // time of the first of them
	last  told         // answer
	lost  error        // why there was none after it
}

func newProof(digest string, before []nginxproc.Worker) *proof {
	p := &proof{digest: digest, before: map[int]bool{}, heard: map[int]bool{}}
	for _, w := range before {
		p.before[w.PID] = true
	}
	return p
}

// hear adds an answer. No answer says nothing about any worker.
func (p *proof) hear(t told, now time.Time) {
	if p.lost = t.err; t.err != nil {
		return
	}
	p.last = t
	switch {
	case t.digest != p.digest:
		p.row = 0
		delete(p.heard, t.pid)
	default:
		if p.row++; p.row == 1 {
			p.first = now
		}
		p.heard[t.pid] = true
	}
}

// byAnswers reports whether the answers alone prove that no old worker accepts connections.
func (p *proof) byAnswers(now time.Time) bool { return p.row >= rowOf && now.Sub(p.first) >= settles }

// shows reports whether the process table and the answers belong to one nginx.
func (p *proof) shows(workers []nginxproc.Worker) bool {
	for _, w := range workers {
		if p.heard[w.PID] {
			return true
		}
	}
	return false
}

// byWorkers reports whether every worker that accepts connections has the digest: it answered so, or it started after
// the reload and no old answer came for long enough. A worker from before the reload that is not leaving yet does not
// have it.
func (p *proof) byWorkers(workers []nginxproc.Worker, now time.Time) bool {
	if !p.shows(workers) {
		return false
	}
	for _, w := range workers {
		switch {
		case w.Leaving || p.heard[w.PID]:
		case p.before[w.PID], p.row == 0, now.Sub(p.first) < settles:
			return false
		}
	}
	return true
}
