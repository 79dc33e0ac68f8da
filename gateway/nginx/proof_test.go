package nginx

import (
	"errors"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/nginxproc"
)

// TestProof: what was seen since a reload, and whether every worker has the generation then. In a row each word is 10 ms
// later: N3 a new answer of worker 3, O1 an old one of worker 1, - none.
func TestProof(t *testing.T) {
	row := func(n int) string { return strings.Repeat(" N3", n) }
	for _, tt := range []struct {
		name, heard, workers string // 1 is a worker, 1! one that leaves
		byWorkers, byAnswers bool
	}{
		{name: "nothing was heard", workers: "3 4"},
		{name: "all said so", heard: "N3 N4", workers: "1! 2! 3 4", byWorkers: true},
		{name: "an old one goes on", heard: "N3 N4", workers: "1 2! 3 4"},
		{name: "an old one goes on for long", heard: row(40), workers: "1 3 4", byAnswers: true},
		{name: "a new one was not heard yet", heard: "N3", workers: "1! 3 4"},
		{name: "a new one is never heard", heard: row(16), workers: "3 4", byWorkers: true, byAnswers: true},
		{name: "16 in a row, too soon", heard: row(15), workers: "3 4"},
		{name: "an old answer among them", heard: row(14) + " O1" + row(14), workers: "3 4"},
		{name: "an old answer, and long after it", heard: row(5) + " O1" + row(16), workers: "3 4", byWorkers: true, byAnswers: true},
		{name: "no answer is no old answer", heard: row(8) + " - -" + row(8), workers: "3 4", byWorkers: true, byAnswers: true},
		{name: "the table shows another nginx", heard: row(16), workers: "7 8", byAnswers: true},
		{name: "the table shows nothing", heard: row(16), byAnswers: true},
		{name: "a worker of another reload in between", heard: "N3 N4 O5 N3", workers: "3 4 5"},
		{name: "all that was heard leaves", heard: "N3", workers: "3! 4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProof("new", []nginxproc.Worker{{PID: 1}, {PID: 2}})
			now := time.Now()
			for word := range strings.FieldsSeq(tt.heard) {
				now = now.Add(10 * time.Millisecond)
				a := told{digest: "new"}
				switch word[0] {
				case 'O':
					a.digest = "old"
				case '-':
					p.hear(told{err: errNone}, now)
					continue
				}
				a.pid = int(word[1] - '0')
				p.hear(a, now)
			}
			var workers []nginxproc.Worker
			for word := range strings.FieldsSeq(tt.workers) {
				workers = append(workers, nginxproc.Worker{PID: int(word[0] - '0'), Leaving: strings.HasSuffix(word, "!")})
			}
			if got := p.byWorkers(workers, now); got != tt.byWorkers {
				t.Errorf("by the workers: %t", got)
			}
			if got := p.byAnswers(now); got != tt.byAnswers {
				t.Errorf("by the answers: %t", got)
			}
		})
	}
}

var errNone = errors.New("refused")

func FuzzUnderstand(f *testing.F) {
	for _, s := range []string{"12 0123456789abcdef0123456789abcdef\n", "0 0123456789abcdef0123456789abcdef", "x", "", "12 0123456789ABCDEF0123456789abcdef"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := understand(body)
		if (a.digest == "") == (a.other == "") || a.digest != "" && (!isDigest(a.digest) || a.pid < 1) {
			t.Errorf("%q is %+v", body, a)
		}
	})
}
