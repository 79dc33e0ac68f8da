package consul

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sirupsen/logrus"

	"swallowkeeper/registry/consul/consultest"
	"swallowkeeper/upstream"
)

func TestMetrics(t *testing.T) {
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer s.Close()
	cfg := DefaultConfig()
	cfg.Name, cfg.Address, cfg.Connections = "dc", s.URL, 8
	log := logrus.New()
	log.SetOutput(io.Discard)
	r, err := New(cfg, log, WithMetrics(m))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r.retry.First = time.Millisecond
	var done sync.WaitGroup
	done.Go(func() { _ = r.Watch(ctx, func(upstream.Set) {}) })
	for testutil.ToFloat64(m.restarts.WithLabelValues("dc")) == 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	if got := testutil.ToFloat64(m.restarts.WithLabelValues("dc")); got == 0 {
		t.Error("no restart was counted")
	}
	if got := testutil.ToFloat64(m.watches.WithLabelValues("dc")); got < 1 {
		t.Errorf("%v watches run, want at least 1", got)
	}
	cancel()
	done.Wait()
	if got := testutil.ToFloat64(m.watches.WithLabelValues("dc")); got != 0 {
		t.Errorf("%v watches run after the end", got)
	}
	if got := testutil.ToFloat64(m.requests.WithLabelValues("dc", "services", "failed")); got == 0 {
		t.Error("no failed request was counted")
	}
	if testutil.CollectAndCount(m.durations) != 1 {
		t.Error("no duration was measured")
	}
}

// TestLastAnswer sees the age of the last good answer: news or not, but nothing that is not believed.
func TestLastAnswer(t *testing.T) {
	d := startDouble(t, consultest.Options{})
	d.register(t, registration("n1", "web1", "web", "10.0.0.1", 80, "passing"))
	d.NoLeader(true)
	cfg := testConfig(d.addr)
	cfg.Name, cfg.Wait = "dc", time.Second
	r, err := New(cfg, silent())
	if err != nil {
		t.Fatal(err)
	}
	r.retry.First = time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	var done sync.WaitGroup
	done.Go(func() { _ = r.Watch(ctx, func(upstream.Set) {}) })
	wait := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-ctx.Done():
				t.Fatal(what)
			case <-time.After(time.Millisecond):
			}
		}
	}
	wait("no trouble", func() bool { return r.Condition().Trouble != nil })
	if heard := r.Condition().Heard; !heard.IsZero() {
		t.Errorf("an answer without a leader was heard at %s", heard)
	}
	d.NoLeader(false)
	wait("no answer", func() bool { return !r.Condition().Heard.IsZero() })
	first := r.Condition().Heard
	wait("nothing answered a query without news", func() bool {
		return r.Condition().Heard.Sub(first) > 500*time.Millisecond
	})
	cancel()
	done.Wait()
}

func TestNoMetrics(t *testing.T) {
	m, err := NewMetrics(nil)
	if m != nil || err != nil {
		t.Fatal(m, err)
	}
	WithMetrics(m)(&Registry{})
	m.restarted("dc")
	m.watching("dc")()
}
