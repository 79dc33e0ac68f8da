package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/tracing/tracingtest"
)

// TestAChangeIsTraced follows one from the registry to the gateway's workers, and a reload that
// names another collector.
func TestAChangeIsTraced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	traces := func(c *tracingtest.Collector) *rig {
		r.extra = fmt.Sprintf("[tracing]\nendpoint = %q\n", c.URL)
		return r.configure()
	}
	first, second := tracingtest.New(), tracingtest.New()
	t.Cleanup(first.Close)
	t.Cleanup(second.Close)
	traces(first)
	r.up("a", "10.0.0.1:80")
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80"})
	arrives := func(c *tracingtest.Collector, generation int64) {
		t.Helper()
		eventually(t, 20*time.Second, fmt.Sprintf("the trace of generation %d", generation), func() bool {
			trace, names := "", map[string]bool{}
			for _, s := range c.Spans() {
				if s.Name == "change" && s.Values["swallowkeeper.generation"] == generation {
					trace = s.Trace
				}
			}
			for _, s := range c.Spans() {
				if s.Trace == trace && !s.From.After(s.To) {
					names[s.Name] = true
				}
				if s.Name == "gateway" && (s.Values["swallowkeeper.gateway"] != "gw1" || s.Values["swallowkeeper.workers"] != int64(4)) {
					t.Errorf("the gateway is %v", s.Values)
				}
			}
			return len(names) == 6
		})
	}
	arrives(first, 1)

	traces(second)
	d.signal(syscall.SIGHUP)
	d.says("the configuration was reloaded")
	r.up("a", "10.0.0.2:80")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	arrives(second, 2)
}
