package consul

import (
	"fmt"
	"testing"

	"swallowkeeper/registry/consul/consultest"
)

// TestEmptyAndBack sees a registry that answers for a while that it is empty. In
// between there is all or nothing: a part of it, taken for all, would pass the guard.
func TestEmptyAndBack(t *testing.T) {
	for _, connections := range []int{0, 4} {
		t.Run(fmt.Sprintf("connections %d", connections), func(t *testing.T) {
			const services = 40
			d := startDouble(t, consultest.Options{})
			for k := range services {
				name := fmt.Sprintf("s%02d", k)
				d.register(t, registration("n1", name, name, "10.0.0.1", 80+k, "passing"))
			}
			cfg := testConfig(d.addr)
			cfg.Connections = connections
			w := run(t, newTestRegistry(t, cfg, silent()))
			w.until("all", func(s upstreamSet) bool { return s.Len() == services })
			for range 5 {
				d.AnswerEmpty(true)
				w.until("empty", func(s upstreamSet) bool { return s.Len() == 0 })
				d.AnswerEmpty(false)
				w.until("all", func(s upstreamSet) bool { return s.Len() == services })
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, s := range w.sets {
				if n := s.Len(); n != 0 && n != services {
					t.Errorf("%d of %d services were published", n, services)
				}
			}
		})
	}
}

// TestEmptyFromTheStart: a list without a service is a list.
func TestEmptyFromTheStart(t *testing.T) {
	d := startDouble(t, consultest.Options{})
	d.AnswerEmpty(true)
	w := run(t, newTestRegistry(t, testConfig(d.addr), silent()))
	w.until("empty", func(s upstreamSet) bool { return s.Len() == 0 })
	d.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	d.AnswerEmpty(false)
	w.until("all", func(s upstreamSet) bool { return s.Len() == 1 })
}
