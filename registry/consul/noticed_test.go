package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/registry/consul/consultest"
)

func TestNoticed(t *testing.T) {
	for _, test := range []struct {
		name        string
		connections int
		only        *plan
		want        string
	}{
		{"a watch each", 0, nil, "consul-noticed-query"},
		{"found by index", 0, &plan{way: byIndex, readers: 2}, "consul-noticed-bell"},
		{"found by node", 0, &plan{way: byNode, readers: 2}, "consul-noticed-node"},
		{"found by search", 0, &plan{way: bySearch, readers: 2}, "consul-noticed-search"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d *double
			var cfg Config
			if test.only != nil && test.only.way == byIndex {
				d, cfg = startSecureDouble(t)
			} else {
				d = startDouble(t, consultest.Options{})
				cfg = testConfig(d.addr)
			}
			r := newTestRegistry(t, cfg, silent())
			r.only = test.only
			if how := r.Noticed("web"); !how.IsZero() {
				t.Errorf("nobody watches, and a change is noticed: %s", how)
			}
			d.register(t, registration("n1", "web", "web-1", "10.0.0.1", 80, api.HealthPassing))
			w := run(t, r)
			w.servers("web", 1)
			if how := r.Noticed("WEB"); how.Code() != test.want {
				t.Errorf("a change is noticed like this: %s (%s), want %s", how, how.Code(), test.want)
			}
			if how := r.Noticed("other"); !how.IsZero() {
				t.Errorf("a change of what is not there is noticed: %s", how)
			}
			w.stop()
			if how := r.Noticed("web"); !how.IsZero() {
				t.Errorf("nobody watches any more, and a change is noticed: %s", how)
			}
		})
	}
}
