package dns

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/registry/dns/dnstest"
	"swallowkeeper/upstream"
)

// crowd watches many names, in tables of as many as may be.
func crowd(t testing.TB, d *dnstest.Server, names int, interval time.Duration) (all []*started) {
	t.Helper()
	for i := range names {
		set(t, d, fmt.Sprintf("n%d.sk.test", i), "A 10.0.0.1", "A 10.0.0.2")
	}
	for first := 0; first < names; first += mostNames {
		r, _ := open(t, d.Addr, func(c *Config) {
			c.Interval, c.Timeout = interval, time.Second
			for i := first; i < min(first+mostNames, names); i++ {
				c.Service[fmt.Sprint("n", i)] = &Service{Query: fmt.Sprintf("n%d.sk.test", i), Record: recordA, Port: 80}
			}
		})
		all = append(all, watch(t, r))
	}
	for i, w := range all {
		eventually(t, "all are known", func() bool {
			is, _ := w.set()
			return is.Len() == min(mostNames, names-i*mostNames)
		})
	}
	return all
}

// Questions are spread over the interval: a fake clock shows when each is put.
func TestQuestionsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := open(t, "127.0.0.1", func(c *Config) {
			c.Interval = time.Second
			for i := range mostNames {
				c.Service[fmt.Sprint("n", i)] = &Service{Query: fmt.Sprintf("n%d.sk.test", i), Record: recordA, Port: 80}
			}
		})
		began := time.Now()
		var mu sync.Mutex
		at := map[time.Duration]int{} // questions by tenths of a second
		r.dial = func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			at[time.Since(began).Truncate(100*time.Millisecond)]++
			return nil, syscall.EHOSTUNREACH
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Watch(ctx, func(upstream.Set) {}) }()
		<-time.After(3*time.Second - time.Millisecond)
		cancel()
		<-done //nolint:errcheck // its context has ended
		for tenth := range 30 {
			want := mostNames / 10
			if tenth == 0 {
				want += mostNames - 1 // all at once, so that the first set is soon complete
			}
			if n := at[time.Duration(tenth)*100*time.Millisecond]; n < want-1 || n > want+1 {
				t.Errorf("%d questions in tenth %d of a second, want %d", n, tenth, want)
			}
		}
	})
}

// A thousand names take few goroutines and little memory.
func TestThousandNames(t *testing.T) {
	const names = 1000
	d := startDouble(t)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	all := crowd(t, d, names, time.Second)
	asked := d.Asked("udp", "n999.sk.test")
	eventually(t, "all were asked for again", func() bool { return d.Asked("udp", "n999.sk.test") > asked+1 })
	if n := runtime.NumGoroutine(); n > 800 {
		t.Errorf("%d goroutines", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&now)
	if took := int64(now.HeapAlloc) - int64(before.HeapAlloc); took > 20<<20 { //nolint:gosec // it is no such number
		t.Errorf("%d MB", took>>20)
	}
	set(t, d, "n333.sk.test", "A 10.9.9.9")
	all[1].until("n333", "10.9.9.9:80")
}

// BenchmarkNames watches many names, and reports what that takes: the server in this process is part of it.
func BenchmarkNames(b *testing.B) {
	for _, names := range []int{1000, 5000} {
		b.Run(fmt.Sprint(names), func(b *testing.B) {
			d := startDouble(b)
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			all := crowd(b, d, names, time.Second)
			runtime.GC()
			runtime.ReadMemStats(&now)
			b.ReportMetric(float64(now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))/(1<<20), "MB")
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				n := i * 37 % names
				at := fmt.Sprintf("10.8.%d.%d", i/250%250, 1+i%250)
				began := time.Now()
				set(b, d, fmt.Sprintf("n%d.sk.test", n), "A "+at)
				all[n/mostNames].until(fmt.Sprint("n", n), at+":80")
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms/change")
			b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "ms/slowest")
			b.ReportMetric(float64(d.Most()), "open")
		})
	}
}

// mostAfter is how much later than an interval a change may be known.
const mostAfter = 20 * time.Millisecond

// BenchmarkChangeToSet is the time from a change in DNS to the set that it makes, beside the floor of the same run: when the name
// was asked for next. It fails where the slowest takes longer than the interval and a little.
func BenchmarkChangeToSet(b *testing.B) {
	const interval = time.Second
	d := startDouble(b)
	set(b, d, "a.sk.test", "A 10.0.0.1")
	r, _ := open(b, d.Addr, func(c *Config) {
		c.Interval = interval
		c.Service["a"] = &Service{Query: "a.sk.test", Record: recordA, Port: 80}
	})
	w := watch(b, r)
	w.until("a", "10.0.0.1:80")
	var ours, floors []time.Duration
	for i := 0; b.Loop(); i++ {
		asked := d.Asked("udp", "a.sk.test")
		at := fmt.Sprintf("10.8.%d.%d", i/250%250, 1+i%250)
		<-time.After(time.Duration(i%10) * interval / 10) // at any moment of the interval
		asked = max(asked, d.Asked("udp", "a.sk.test"))
		began := time.Now()
		set(b, d, "a.sk.test", "A "+at)
		eventually(b, "it is asked for", func() bool { return d.Asked("udp", "a.sk.test") > asked })
		floors = append(floors, time.Since(began))
		w.until("a", at+":80")
		w.mu.Lock()
		ours = append(ours, w.at.Sub(began))
		w.mu.Unlock()
	}
	slices.Sort(ours)
	slices.Sort(floors)
	slowest := ours[len(ours)-1]
	b.ReportMetric(float64(ours[len(ours)/2].Milliseconds()), "ms/set")
	b.ReportMetric(float64(slowest.Milliseconds()), "ms/slowest")
	b.ReportMetric(float64(floors[len(floors)/2].Milliseconds()), "ms/floor")
	if slowest > interval+mostAfter {
		b.Errorf("the slowest took %s; at most %s are allowed", slowest, interval+mostAfter)
	}
}
