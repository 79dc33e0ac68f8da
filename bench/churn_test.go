package bench

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// touch moves one instance of a service that gets no traffic.
func (c *catalog) touch(b testing.TB, k int) {
	b.Helper()
	i := k * 37 % c.others
	c.mu.Lock()
	c.versions[i]++
	version := c.versions[i]
	c.mu.Unlock()
	c.move(b, otherName(i), 0, otherAddress(i, 0, version))
}

// threeHundred makes 300 changes of other services, ten a second.
func (w *world) threeHundred(b *testing.B, s *subject) {
	b.Helper()
	requests, before := w.catalog.requests(b), use(b, s.pid)
	consul := use(b, w.catalog.server.PID())
	pace(300, 10, func(k int) { w.catalog.touch(b, k) })
	s.inSync(b, 2*time.Minute)
	cpu, kB, _ := use(b, s.pid).since(before)
	theirs, _, _ := use(b, w.catalog.server.PID()).since(consul)
	w.add(s.name, "300-cpu", cpu/1000)
	w.add(s.name, "300-consul-cpu", theirs/1000)
	w.add(s.name, "300-requests", w.catalog.requests(b)-requests)
	w.add(s.name, "300-written", kB/1000)
}

// hundredASecond makes 100 changes a second. Every tenth is to a service with traffic, whose lag is measured until no
// worker uses an older server.
func (w *world) hundredASecond(b *testing.B, s *subject) {
	b.Helper()
	seconds := 60
	if *long {
		seconds = 600
	}
	w.add(s.name, "churn-rss-begin", rss(b, s.pid))
	lag := &lag{gateway: s.gateway, pending: map[string][]pending{}}
	done := lag.follow()
	before, consul := use(b, s.pid), use(b, w.catalog.server.PID())
	pace(100*seconds, 100, func(k int) {
		if k%10 > 0 {
			w.catalog.touch(b, k)
			return
		}
		name := coldName(k / 10 % colds)
		lag.add(name, w.catalog.next(b, name))
	})
	cpu, kB, took := use(b, s.pid).since(before)
	theirs, _, _ := use(b, w.catalog.server.PID()).since(consul)
	await(b, "the last changes are at every worker", 2*time.Minute, lag.empty)
	close(done)
	lag.following.Wait()
	settled := s.inSync(b, 2*time.Minute)
	w.add(s.name, "churn-lag-p50", Percentile(lag.took, 50))
	w.add(s.name, "churn-lag-p99", Percentile(lag.took, 99))
	w.add(s.name, "churn-lag-worst", Percentile(lag.took, 100))
	w.add(s.name, "churn-cpu", cpu/took/10)
	w.add(s.name, "churn-consul-cpu", theirs/took/10)
	w.add(s.name, "churn-written", kB/1000/took)
	w.add(s.name, "churn-rate", float64(100*seconds)/took)
	w.add(s.name, "churn-settled", settled.Seconds())
	w.add(s.name, "churn-rss-end", rss(b, s.pid))
}

// pace calls do so often a second. Many calls may be under way: Consul takes longer than a turn now and then.
func pace(count, rate int, do func(k int)) {
	turns := make(chan int)
	var doing sync.WaitGroup
	for range 32 {
		doing.Go(func() {
			for k := range turns {
				do(k)
			}
		})
	}
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	began := time.Now()
	for k := range count {
		if time.Until(began.Add(time.Duration(k)*time.Second/time.Duration(rate))) > 0 {
			<-ticker.C
		}
		turns <- k
	}
	close(turns)
	doing.Wait()
}

// pending is a change that some worker does not serve yet.
type pending struct {
	server int
	since  time.Time
}

// lag follows many changes at once.
type lag struct {
	gateway   *gateway
	following sync.WaitGroup
	mu        sync.Mutex
	pending   map[string][]pending // by service, oldest first
	took      []float64            // milliseconds
}

func (l *lag) add(name string, server int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending[name] = append(l.pending[name], pending{server, time.Now()})
}

func (l *lag) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) == 0
}

func (l *lag) follow() (done chan struct{}) {
	done = make(chan struct{})
	l.following.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			l.mu.Lock()
			var names []string
			for name := range l.pending {
				names = append(names, name)
			}
			l.mu.Unlock()
			for _, name := range names {
				l.look(name)
			}
		}
	})
	return done
}

// look asks every worker for a service. All changes up to the oldest answer have arrived: a later one has overtaken them.
func (l *lag) look(name string) {
	l.mu.Lock()
	list := slices.Clone(l.pending[name])
	l.mu.Unlock()
	arrived := len(list)
	answered := l.gateway.traffic.all(http.MethodGet, name, "/", func(_ int, body string) bool {
		server, err := strconv.Atoi(body)
		at := slices.IndexFunc(list, func(p pending) bool { return err == nil && p.server == server })
		arrived = min(arrived, at+1)
		return true
	})
	if answered < workers || arrived == 0 {
		return
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range list[:arrived] {
		l.took = append(l.took, float64(now.Sub(p.since).Microseconds())/1000)
	}
	if l.pending[name] = l.pending[name][arrived:]; len(l.pending[name]) == 0 {
		delete(l.pending, name)
	}
}
