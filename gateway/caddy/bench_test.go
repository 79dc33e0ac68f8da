package caddy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swallowkeeper/gateway/caddy"
	"swallowkeeper/internal/caddytestserver"
	"swallowkeeper/upstream"
)

// bothBench runs a benchmark on both Caddys, with nothing between them and the gateway.
func bothBench(b *testing.B, run func(b *testing.B, r *rig)) {
	b.Helper()
	b.Run("2.6", func(b *testing.B) { run(b, actual(b, caddytestserver.Debian(b))) })
	b.Run("2.11", func(b *testing.B) { run(b, actual(b, caddytestserver.Module(b))) })
}

func direct(r *rig, change ...func(*caddy.Config)) *caddy.Gateway {
	c := r.config()
	c.Address, c.Timeout = "http://"+r.to, time.Minute
	for _, f := range change {
		f(&c)
	}
	return caddy.New(c, quiet())
}

// BenchmarkChange is one change of one upstream, beside what it can't be faster than: one PATCH and one GET of the same
// configuration. They take turns.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bothBench(b, func(b *testing.B, r *rig) {
				g := direct(r)
				var list []upstream.Upstream
				for i := range n {
					u := with(b, fmt.Sprintf("s%d", i), "10.0.0.1:80", fmt.Sprintf("/s%d/*", i))
					for j := range 9 {
						u.Servers = append(u.Servers, at(fmt.Sprintf("10.0.%d.%d:80", 1+j, 1+i%250)))
					}
					list = append(list, u)
				}
				has := set(list...)
				if _, err := g.Apply(b.Context(), upstream.Diff(upstream.Set{}, has)); err != nil {
					b.Fatal(err)
				}
				var ours, floor []time.Duration
				for b.Loop() {
					u := with(b, "s0", fmt.Sprintf("10.9.%d.%d:80", len(ours)/250, 1+len(ours)%250), "/s0/*")
					want := has.With([]upstream.Upstream{u}, nil)
					began := time.Now()
					if _, err := g.Apply(b.Context(), upstream.Diff(has, want)); err != nil {
						b.Fatal(err)
					}
					ours = append(ours, time.Since(began))
					has = want
					began = time.Now()
					ask(b, r.to, http.MethodPatch, "/config/apps/http/servers/srv0/routes/1/handle/0/status_code", fmt.Sprint(400+len(ours)%50))
					ask(b, r.to, http.MethodGet, "/config/", "")
					floor = append(floor, time.Since(began))
					if _, err := g.Live(b.Context()); err != nil { // it shall not have to find out
						b.Fatal(err)
					}
				}
				b.ReportMetric(median(ours).Seconds()*1000, "ms/change")
				b.ReportMetric(median(floor).Seconds()*1000, "ms/PATCH+GET")
				b.ReportMetric(median(ours).Seconds()/median(floor).Seconds(), "times")
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkBusy is 50 changes of servers while 16 connections send requests one after the other: how many requests failed.
func BenchmarkBusy(b *testing.B) {
	for _, mode := range []string{"config", "dynamic"} {
		b.Run(mode, func(b *testing.B) {
			bothBench(b, func(b *testing.B, r *rig) {
				addrs := fleet(b, 4)
				change := []func(*caddy.Config){}
				if mode == "dynamic" {
					change = append(change, dynamic(b))
				}
				g := direct(r, change...)
				defer g.Close()
				has := set(of(b, "web", addrs[:3]...))
				if _, err := g.Apply(b.Context(), upstream.Diff(upstream.Set{}, has)); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					failed, wrong, sent := busy(b.Context(), r.site, func() {
						for i := range 50 {
							want := set(of(b, "web", addrs[i%2], addrs[2+i%2]))
							if _, err := g.Apply(b.Context(), upstream.Diff(has, want)); err != nil {
								b.Error(err)
							}
							has = want
						}
					})
					b.ReportMetric(float64(failed), "broken")
					b.ReportMetric(float64(wrong), "bad-status")
					b.ReportMetric(float64(sent), "requests")
					b.ReportMetric(0, "ns/op")
				}
			})
		})
	}
}

// busy sends requests over 16 connections until something is done.
func busy(ctx context.Context, site string, do func()) (failed, wrong, sent int64) {
	ctx, cancel := context.WithCancel(ctx)
	var broken, bad, all atomic.Int64
	var sending sync.WaitGroup
	for range 16 {
		sending.Go(func() {
			transport := &http.Transport{MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+site+"/web", nil) // Go tries no POST again
				if err != nil {
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					if ctx.Err() == nil {
						broken.Add(1)
						all.Add(1)
					}
					continue
				}
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				all.Add(1)
				switch {
				case err != nil && ctx.Err() == nil:
					broken.Add(1)
				case resp.StatusCode != http.StatusOK:
					bad.Add(1)
				}
			}
		})
	}
	do()
	cancel()
	sending.Wait()
	return broken.Load(), bad.Load(), all.Load()
}
