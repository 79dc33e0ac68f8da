package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// BenchmarkSurface compares, change by change in turn, a swallowkeeper that nobody looks at with one whose page, API, metrics
// and events are read all the time. With BASE=FILE, a swallowkeeper from before there was anything to look at, that one is
// compared too. 1.00 and 0 MB would be no cost. The memory is the median over the run: at a single moment it depends on what
// the garbage collector is about.
func BenchmarkSurface(b *testing.B) {
	for _, services := range []int{200, 1000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			list := []program{{"alone", build(b)}}
			list = append(list, program{"watched", list[0].binary})
			if file := os.Getenv("BASE"); file != "" {
				list = append(list, program{Base, file})
			}
			var subjects []*subject
			for _, p := range list {
				s := newSubject(b, p, newCatalog(b, services, 10), HTTPS)
				s.blind = p.name != "watched"
				s.start(b)
				s.inSync(b, time.Minute)
				if !s.blind {
					s.watch(b)
				}
				subjects = append(subjects, s)
			}
			took, mb := make([][]float64, len(subjects)), make([][]float64, len(subjects))
			for b.Loop() {
				for i, s := range subjects {
					time.Sleep(between)
					_, last := change(b, s.catalog, s.gateway, hot)
					took[i], mb[i] = append(took[i], last), append(mb[i], rss(b, s.pid))
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, s := range subjects {
				b.ReportMetric(Percentile(took[i], 50), s.name+"-p50-ms")
				b.ReportMetric(Percentile(mb[i], 50), s.name+"-MB-RSS")
				if s.name != "watched" {
					b.ReportMetric(Percentile(took[1], 50)/Percentile(took[i], 50), "watched-p50/"+s.name)
					b.ReportMetric(Percentile(mb[1], 50)-Percentile(mb[i], 50), "MB-RSS-watched-more-than-"+s.name)
				}
			}
		})
	}
}

// watch reads the page and the metrics every second, as a page that is open and a Prometheus in a hurry do, and follows the
// events.
func (s *subject) watch(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	client := s.surface()
	read := func(path string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, http.NoBody)
		if err != nil {
			return
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	var watching sync.WaitGroup
	for _, path := range []string{"/", "/api/v1/upstreams", "/metrics", "/api/v1/events"} {
		watching.Go(func() {
			for ctx.Err() == nil {
				read(path) // the events end with the context alone
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	b.Cleanup(func() { cancel(); watching.Wait(); client.CloseIdleConnections() })
}
