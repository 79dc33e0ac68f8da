package consul

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// entry is a passing instance of service web on node n1; changes make it differ.
func entry(changes ...func(*api.ServiceEntry)) *api.ServiceEntry {
	e := &api.ServiceEntry{
		Node: &api.Node{Node: "n1", Address: "10.9.0.1"},
		Service: &api.AgentService{
			ID: "web-1", Service: "web", Address: "10.0.0.1", Port: 80,
			Weights: api.AgentWeights{Passing: 1, Warning: 1},
		},
		Checks: api.HealthChecks{
			{Node: "n1", CheckID: "serfHealth", Status: api.HealthPassing},
			{Node: "n1", CheckID: "service:web-1", ServiceID: "web-1", ServiceName: "web", Status: api.HealthPassing},
		},
	}
	for _, change := range changes {
		change(e)
	}
	return e
}

func at(addr string, port int) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Service.Address, e.Service.Port = addr, port }
}

func tags(tags ...string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Service.Tags = tags }
}

func meta(pairs ...string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Service.Meta = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			e.Service.Meta[pairs[i]] = pairs[i+1]
		}
	}
}

func weights(passing, warning int) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Service.Weights = api.AgentWeights{Passing: passing, Warning: warning} }
}

// nodeCheck and ownCheck put the check with the given state on the instance.
func nodeCheck(id, status string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Checks = append(e.Checks, &api.HealthCheck{Node: e.Node.Node, CheckID: id, Status: status})
	}
}

func ownCheck(id, status string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Checks = append(e.Checks, &api.HealthCheck{CheckID: id, Status: status, ServiceID: e.Service.ID})
	}
}

func TestConvert(t *testing.T) {
	type in = []*api.ServiceEntry
	hostile := "x { server 6.6.6.6; }\n upstream y"
	for _, test := range []struct {
		name    string
		service string // web where empty
		config  func(*Config)
		in      in
		want    []string // "upstream: addr[ options]…"
		out     []string // "upstream addr: reason"
	}{
		{name: "one", in: in{entry()}, want: []string{"web: 10.0.0.1:80"}},
		{name: "none", in: in{}, want: []string{"web:"}},
		{
			name: "the node's address stands in", in: in{entry(at("", 81))},
			want: []string{"web: 10.9.0.1:81"},
		},
		{
			name: "IPv6 with and without brackets", in: in{entry(at("2001:db8::1", 80)), entry(at("[2001:db8::2]", 80))},
			want: []string{"web: [2001:db8::1]:80 [2001:db8::2]:80"},
		},
		{
			name: "IPv4 within IPv6 is one address", in: in{entry(at("::ffff:10.0.0.1", 80)), entry()},
			want: []string{"web: 10.0.0.1:80"},
		},
		{
			name: "addresses that no server has",
			in: in{
				entry(at("0.0.0.0", 80)), entry(at("10.0.0.2", 0)), entry(at("10.0.0.3", 70000)), entry(at("fe80::1%eth0", 80)),
				entry(at("1.2.3.4; }", 80)), entry(at("999.0.0.1", 80)), entry(at("10.0.0.4", -1)),
			},
			want: []string{"web:"},
			out: []string{
				"web 0.0.0.0:80: 0.0.0.0 means every address, not one",
				"web 10.0.0.2:0: port 0 is not between 1 and 65535",
				"web 10.0.0.3:70000: port 70000 is not between 1 and 65535",
				"web 10.0.0.4:-1: port -1 is not between 1 and 65535",
				`web 1.2.3.4; }:80: "1.2.3.4; }" is no IP address`,
				`web 999.0.0.1:80: "999.0.0.1" is no IP address`,
				"web [fe80::1%eth0]:80: an address with a zone is good on one machine only",
			},
		},
		{
			name: "no address at all", in: in{entry(at("", 80), func(e *api.ServiceEntry) { e.Node.Address = "" })},
			want: []string{"web:"}, out: []string{"web : neither the service nor its node has an address"},
		},
		{
			name: "the worst check counts, the node's too",
			in: in{
				entry(nodeCheck("serfHealth", "critical")), entry(at("10.0.0.2", 80), ownCheck("tcp", "critical")),
				entry(at("10.0.0.3", 80), ownCheck("tcp", "warning")),
				entry(at("10.0.0.4", 80), ownCheck("a", "warning"), ownCheck("b", "critical")),
				entry(at("10.0.0.5", 80)),
			},
			want: []string{"web: 10.0.0.5:80"},
			out: []string{
				`web 10.0.0.1:80: check "serfHealth" of node n1 is critical`,
				`web 10.0.0.2:80: check "tcp" is critical`,
				`web 10.0.0.3:80: check "tcp" is warning`,
				`web 10.0.0.4:80: check "b" is critical`,
			},
		},
		{
			name: "maintenance",
			in: in{
				entry(ownCheck("z", "critical"), nodeCheck("_node_maintenance", "critical")),
				entry(at("10.0.0.2", 80), ownCheck("_service_maintenance:web-1", "critical"),
					func(e *api.ServiceEntry) { e.Checks[2].Notes = "new disk\n" }),
			},
			want: []string{"web:"},
			out: []string{
				`web 10.0.0.1:80: node n1 is in maintenance`,
				`web 10.0.0.2:80: it is in maintenance: "new disk\n"`,
			},
		},
		{
			name: "a state that nobody knows, and null",
			in:   in{entry(ownCheck("c", "fine\n")), entry(at("10.0.0.2", 80), func(e *api.ServiceEntry) { e.Checks[0] = nil })},
			want: []string{"web:"},
			out: []string{
				`web 10.0.0.1:80: check "c" is "fine\n"`,
				`web 10.0.0.2:80: the answer has a check without a state`,
			},
		},
		{
			name: "null tags, null checks, null meta", in: in{entry(func(e *api.ServiceEntry) { e.Checks, e.Service.Tags = nil, nil })},
			want: []string{"web: 10.0.0.1:80"},
		},
		{
			name: "null parts", in: in{nil, {Node: &api.Node{}}, {Service: &api.AgentService{Service: "web"}}, entry()},
			want: []string{"web: 10.0.0.1:80"},
			out: []string{
				" : the answer lacks its service or its node", " : the answer lacks its service or its node",
				" : the answer lacks its service or its node",
			},
		},
		{
			name:   "warning at its own weight",
			config: func(c *Config) { c.Health = "warning" },
			in: in{
				entry(weights(10, 3), ownCheck("c", "warning")), entry(at("10.0.0.2", 80), weights(10, 0), ownCheck("c", "warning")),
				entry(at("10.0.0.3", 80), weights(10, 3)), entry(at("10.0.0.4", 80), weights(0, 0), ownCheck("c", "warning")),
			},
			want: []string{"web: 10.0.0.1:80 weight=3 10.0.0.3:80 weight=10 10.0.0.4:80"},
			out:  []string{"web 10.0.0.2:80: Weights.Warning is 0, not between 1 and 65535"},
		},
		{
			name:   "whose weight counts",
			config: func(c *Config) { c.Defaults.All.Weight = 7 },
			in: in{
				entry(), entry(at("10.0.0.2", 80), weights(5, 1)), entry(at("10.0.0.3", 80), weights(5, 1), meta("nginx-weight", "9")),
				entry(at("10.0.0.4", 80), weights(-1, 1)), entry(at("10.0.0.5", 80), weights(65536, 1)),
			},
			want: []string{"web: 10.0.0.1:80 weight=7 10.0.0.2:80 weight=5 10.0.0.3:80 weight=9"},
			out: []string{
				"web 10.0.0.4:80: Weights.Passing is -1, not between 1 and 65535",
				"web 10.0.0.5:80: Weights.Passing is 65536, not between 1 and 65535",
			},
		},
		{
			name: "meta",
			in: in{
				entry(meta("nginx-weight", "2", "nginx-max-fails", "0", "nginx-fail-timeout", "5s", "nginx-max-conns", "100", "other", "x")),
				entry(at("10.0.0.2", 80), meta("nginx-fail-timeout", "7", "nginx-backup", "TRUE")),
				entry(at("10.0.0.3", 80), meta("nginx-backup", "0")),
			},
			want: []string{
				"web: 10.0.0.1:80 weight=2 max_conns=100 max_fails=0 fail_timeout=5s " +
					"10.0.0.2:80 fail_timeout=7s backup 10.0.0.3:80",
			},
		},
		{
			name: "meta that is not right takes its instance out, and no other",
			in: in{
				entry(), entry(at("10.0.0.2", 80), meta("nginx-weight", "0")), entry(at("10.0.0.3", 80), meta("nginx-max-conns", "1; }")),
				entry(at("10.0.0.4", 80), meta("nginx-fail-timeout", "1500ms")), entry(at("10.0.0.5", 80), meta("nginx-backup", "")),
				entry(at("10.0.0.6", 80), meta("nginx-max-fails", "99999999999999999999")),
				entry(at("10.0.0.7", 80), meta("nginx-fail-timeout", "-1")),
			},
			want: []string{"web: 10.0.0.1:80"},
			out: []string{
				`web 10.0.0.2:80: meta nginx-weight = "0": allowed is a number from 1 to 65535`,
				`web 10.0.0.3:80: meta nginx-max-conns = "1; }": allowed is a number from 0 to 1000000`,
				`web 10.0.0.4:80: meta nginx-fail-timeout = "1500ms": allowed are whole seconds such as 5 or 5s, up to 24h0m0s`,
				`web 10.0.0.5:80: meta nginx-backup = "": allowed are true and false`,
				`web 10.0.0.6:80: meta nginx-max-fails = "99999999999999999999": allowed is a number from 0 to 1000000`,
				`web 10.0.0.7:80: meta nginx-fail-timeout = "-1": allowed are whole seconds such as 5 or 5s, up to 24h0m0s`,
			},
		},
		{
			name:   "backup beside a method that takes none",
			config: func(c *Config) { c.Defaults.All.Options.Method = "ip_hash" },
			in:     in{entry(), entry(at("10.0.0.2", 80), meta("nginx-backup", "1"))},
			want:   []string{"web: 10.0.0.1:80"},
			out:    []string{"web 10.0.0.2:80: meta nginx-backup: the balancing method ip_hash takes no backup servers"},
		},
		{
			name: "canaries",
			in: in{
				entry(), entry(at("10.0.0.2", 80), tags("v2", "gray=b")), entry(at("10.0.0.3", 80), tags("gray=default")),
				entry(at("10.0.0.4", 80), tags("gray=b", "gray=b")), entry(at("10.0.0.5", 80), tags("gray=c"), ownCheck("x", "critical")),
			},
			want: []string{"web: 10.0.0.1:80 10.0.0.3:80", "web_b (b): 10.0.0.2:80 10.0.0.4:80", "web_c (c):"},
			out:  []string{`web_c 10.0.0.5:80: check "x" is critical`},
		},
		{
			name: "canary tags that are not right",
			in: in{
				entry(tags("gray=")), entry(at("10.0.0.2", 80), tags("gray=b", "gray=c")), entry(at("10.0.0.3", 80), tags("gray="+hostile)),
				entry(at("10.0.0.4", 80), tags("gray=default", "gray=b")),
			},
			want: []string{"web:"},
			out: []string{
				`web 10.0.0.1:80: tag "gray=" has no value`,
				`web 10.0.0.2:80: two tags contradict each other: "gray=b" and "gray=c"`,
				`web 10.0.0.3:80: tag "gray=x { server 6.6.6.6; }\n upstream y": the name has characters other than letters, digits, ` +
					"_ . - or begins with . or -",
				`web 10.0.0.4:80: two tags contradict each other: "gray=default" and "gray=b"`,
			},
		},
		{
			name: "canaries switched off", config: func(c *Config) { c.CanaryTag = "" },
			in: in{entry(tags("gray=b", "="))}, want: []string{"web: 10.0.0.1:80"},
		},
		{
			name: "a canary has the options of its own name",
			config: func(c *Config) {
				own := upstream.DefaultTemplate()
				own.MaxFails = 9
				c.Defaults.Name = map[string]upstream.Template{"web_b": own}
			},
			in:   in{entry(), entry(at("10.0.0.2", 80), tags("gray=b"))},
			want: []string{"web: 10.0.0.1:80", "web_b (b): 10.0.0.2:80 max_fails=9"},
		},
		{
			name: "tags choose", config: func(c *Config) { c.Tags = []string{"prod-*", "live"} },
			in: in{
				entry(tags("prod-eu")), entry(at("10.0.0.2", 80), tags("test")), entry(at("10.0.0.3", 80)),
				entry(at("10.0.0.4", 80), tags("x", "live")),
			},
			want: []string{"web: 10.0.0.1:80 10.0.0.4:80"},
			out:  []string{"web 10.0.0.2:80: no tag matches the wanted ones", "web 10.0.0.3:80: no tag matches the wanted ones"},
		},
		{
			name: "one address twice is in as long as one is usable",
			in:   in{entry(ownCheck("x", "critical")), entry(), entry(at("10.0.0.2", 80)), entry(at("10.0.0.2", 80))},
			want: []string{"web: 10.0.0.1:80 10.0.0.2:80"},
		},
		{
			name: "host names off", in: in{entry(at("db.local", 80))}, want: []string{"web:"},
			out: []string{`web db.local:80: "db.local" is a host name, and host_names is off`},
		},
		{
			name: "host names on", config: func(c *Config) { c.HostNames = true },
			in: in{
				entry(at("two.test", 80)), entry(at("none.test", 80)), entry(at("bad name", 80)), entry(at("lost.test.", 80)),
			},
			want: []string{"web: 10.3.0.1:80 [2001:db8::9]:80"},
			out: []string{
				`web bad name:80: "bad name" is no IP address`,
				`web lost.test.:80: look up "lost.test.": no such host`,
				`web none.test:80: "none.test" has no address`,
			},
		},
		{
			name: "instances of the name in another case are another service's", in: in{entry(), entry(at("10.0.0.2", 80), func(e *api.ServiceEntry) { e.Service.Service = "Web" })},
			want: []string{"web: 10.0.0.1:80"},
		},
		{
			name: "a name that no upstream can have", service: hostile, in: in{entry(func(e *api.ServiceEntry) { e.Service.Service = hostile })},
			out: []string{" : the name has characters other than letters, digits, _ . - or begins with . or -"},
		},
		{
			name: "a long name", service: strings.Repeat("a", 10_000), in: in{},
			out: []string{" : the name has 10000 bytes, at most 255 are allowed"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := testConfig("")
			if test.config != nil {
				test.config(&cfg)
			}
			service := test.service
			if service == "" {
				service = "web"
			}
			c := converter{cfg: &cfg, origin: "consul@here", lookup: fakeLookup}
			for range 2 { // whatever order Consul answers in
				list, out := c.service(service, test.in)
				set := upstream.NewSet(list, out...)
				if diff := cmp.Diff(test.want, describeAll(t, set, cfg)); diff != "" {
					t.Errorf("upstreams (-want +got):\n%s", diff)
				}
				var outs []string
				for _, o := range set.Out() {
					outs = append(outs, fmt.Sprintf("%s %s: %s", o.Upstream, o.Addr, o.Reason))
				}
				want := slices.Compact(slices.Sorted(slices.Values(test.out)))
				slices.Sort(outs)
				if diff := cmp.Diff(want, outs); diff != "" {
					t.Errorf("out (-want +got):\n%s", diff)
				}
				slices.Reverse(test.in)
			}
		})
	}
}

func fakeLookup(host string) ([]netip.Addr, error) {
	switch host {
	case "two.test":
		return []netip.Addr{netip.MustParseAddr("10.3.0.1"), netip.MustParseAddr("2001:db8::9")}, nil
	case "none.test":
		return nil, nil
	}
	return nil, errors.New("no such host")
}

// describeAll writes upstreams with what differs from the defaults.
func describeAll(t *testing.T, set upstream.Set, cfg Config) []string {
	t.Helper()
	var all []string
	for u := range set.All() {
		var b strings.Builder
		b.WriteString(u.Name)
		if u.Canary != "" {
			fmt.Fprintf(&b, " (%s)", u.Canary)
		}
		b.WriteString(":")
		if u.Options != cfg.Defaults.For(u.Name).Options {
			t.Errorf("%s has options %v", u.Name, u.Options)
		}
		for _, s := range u.Servers {
			if s.Origin != "consul@here" {
				t.Errorf("origin of %s is %q", s.Addr, s.Origin)
			}
			fmt.Fprintf(&b, " %s", s.Addr)
			for _, o := range []struct {
				name     string
				got, def any
			}{
				{"weight", s.Weight, 1},
				{"max_conns", s.MaxConns, 0},
				{"max_fails", s.MaxFails, 3},
				{"fail_timeout", s.FailTimeout, 2 * time.Second},
			} {
				if o.got != o.def {
					fmt.Fprintf(&b, " %s=%v", o.name, o.got)
				}
			}
			if s.Backup {
				b.WriteString(" backup")
			}
		}
		all = append(all, b.String())
	}
	return all
}

func TestLengths(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		what  string
		is    func(string) bool
		holds string
		not   string
	}{
		{"a host name", isHostName, long(253), long(254)},
		{"a host name with its dot", isHostName, long(253) + ".", long(254) + "."},
		{"a registry's name", registry.ValidName, long(200), long(201)},
	} {
		if !c.is(c.holds) || c.is(c.not) {
			t.Errorf("%s: %d characters are %t, %d are %t", c.what, len(c.holds), c.is(c.holds), len(c.not), c.is(c.not))
		}
	}
	if registry.ValidName("") || isHostName("") {
		t.Error("no name is one")
	}
}
