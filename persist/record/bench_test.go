package record_test

import (
	"bytes"
	"iter"
	"testing"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/persist/record"
	"swallowkeeper/upstream"
)

// busy encodes so many decisions on services of ten: instances turn unhealthy or are deployed anew, one at a time, and
// now and then a node is lost for a while.
func busy(t testing.TB, services, decisions int) []byte {
	w := newWorld(1, services, 10)
	w.backup, w.blocks = -1, map[int]upstream.Upstream{}
	var e record.Encoder
	var text []byte
	take := func(whole bool) {
		for _, m := range w.moments {
			lines, err := e.Encode(m, whole)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, lines...)
			whole = false
		}
		w.moments = w.moments[:0]
	}
	take(true)
	var before struct{ s, n int }
	for i := range decisions {
		s, n := w.IntN(services), w.IntN(10)
		switch i % 5000 {
		case 4100, 4150: // a node is lost, and comes back
			for s := range services {
				w.set(s, 9, map[int]int{4100: 1, 4150: 0}[i%5000])
			}
		}
		w.set(s, n, 1+w.IntN(2))
		if w.IntN(30) > 0 { // most are well again
			w.set(before.s, before.n, 0)
		}
		before.s, before.n = s, n
		w.list()
		w.goes(time.Duration(w.Int64N(int64(4 * time.Second))))
		w.decide()
		take(i%20_000 == 19_999)
	}
	return text
}

func moments(text []byte) iter.Seq[replay.Moment] {
	return func(yield func(replay.Moment) bool) {
		var d record.Decoder
		for m, err := range d.Moments("file", bytes.NewReader(text)) {
			if err != nil || !yield(m) {
				return
			}
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	text := busy(b, 1000, 1500)
	limits := guard.DefaultConfig()
	limits.MaxRemovalWindow = 0.3
	lines := bytes.Count(text, []byte("\n"))
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			for range moments(text) {
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*lines), "us/line")
	})
	b.Run("replay", func(b *testing.B) {
		var r replay.Report
		for b.Loop() {
			r = replay.Limits(limits, guard.DefaultConfig(), moments(text), time.Time{})
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*lines), "us/line")
		b.ReportMetric(float64(len(text)/lines), "bytes/line")
		b.ReportMetric(float64(len(r.Holds)), "holds")
		b.ReportMetric(float64(r.Unlike), "unlike")
	})
}
