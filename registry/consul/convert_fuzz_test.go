package consul

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// FuzzConvert feeds any answer to the conversion: whatever stands in it, only valid names
// and servers come out, and nothing panics.
func FuzzConvert(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `[null]`, `[{}]`, `[{"Node":null,"Service":null,"Checks":null}]`,
		`[{"Node":{"Node":"n","Address":"10.0.0.1"},"Service":{"Service":"web","Port":80,"Tags":null},"Checks":[null]}]`,
		`[{"Node":{"Node":"n"},"Service":{"Service":"web","Address":"h.test","Port":80,"Tags":["gray=b"],"Weights":{"Passing":-1}}}]`,
		`[{"Node":{"Address":"::1"},"Service":{"Service":"web","Port":65535,"Meta":{"nginx-weight":"1e9","nginx-backup":"x"}},
			"Checks":[{"CheckID":"_node_maintenance","Status":"critical","Notes":"\u0000"}]}]`,
		`[{"Node":{"Address":"1.2.3.4"},"Service":{"Service":"web","Port":1,"Tags":["gray=../;{}"],"Ports":[{"Port":9,"Default":true}]}}]`,
	} {
		f.Add("web", seed, true)
		f.Add("x { server 6.6.6.6; }", seed, false)
	}
	f.Fuzz(func(t *testing.T, service, answer string, loose bool) {
		var entries []*api.ServiceEntry
		if json.Unmarshal([]byte(answer), &entries) != nil {
			t.Skip()
		}
		cfg := testConfig("")
		if loose {
			cfg.Health, cfg.HostNames = "warning", true
		}
		c := converter{cfg: &cfg, origin: "consul@here", lookup: fakeLookup}
		list, out := c.service(service, entries)
		set := upstream.NewSet(list, out...)
		for u := range set.All() {
			if err := upstream.ValidName(u.Name); err != nil {
				t.Errorf("upstream %q: %v", u.Name, err)
			}
			if u.Canary == "" && u.Name != service || u.Canary != "" && u.Name != service+"_"+u.Canary {
				t.Errorf("service %q became %q with canary %q", service, u.Name, u.Canary)
			}
			if err := u.Valid(); err != nil {
				t.Errorf("%q: %v", u.Name, err)
			}
		}
		d := guard.DefaultConfig().Decide(guard.Input{Seen: upstream.Merge(upstream.Set{}, set), Now: time.Now()})
		for u := range gateway.Loadable(d.Accepted).All() {
			if err := nginxconf.Valid(u); err != nil {
				t.Errorf("one upstream stops the changes of all: %s: %v", u.Name, err)
			}
		}
		if set.Servers() > 2*len(entries) {
			t.Errorf("%d instances became %d servers", len(entries), set.Servers())
		}
		for _, o := range set.Out() {
			if o.Reason.IsZero() || len(o.Reason.String()) > 2000 || strings.ContainsAny(o.Reason.String(), "\n\x00") {
				t.Errorf("reason %q", o.Reason)
			}
		}
	})
}
