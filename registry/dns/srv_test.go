package dns

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/registry/dns/dnstest"
	"swallowkeeper/upstream"
)

const srvName = "_http._tcp.b.sk.test"

func srvTable(c *Config) { c.Service["b"] = &Service{Query: srvName, Record: recordSRV} }

// written is an upstream in one line.
func written(u upstream.Upstream) string {
	var lines []string
	for _, s := range u.Servers {
		line := fmt.Sprintf("%s weight=%d", s.Addr, s.Weight)
		if s.Backup {
			line += " backup"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

func TestSRV(t *testing.T) {
	for name, c := range map[string]struct {
		records []string
		hosts   map[string][]string
		method  string
		want    string
		out     []string
	}{
		"priorities and weights": {
			[]string{"SRV 10 5 8080 x.sk.test.", "SRV 10 0 8081 x.sk.test.", "SRV 20 7 8082 y.sk.test.", "SRV 30 65535 8083 y.sk.test."},
			map[string][]string{"x": {"A 10.0.0.1"}, "y": {"A 10.0.0.2"}},
			"", "10.0.0.1:8080 weight=5, 10.0.0.1:8081 weight=1, 10.0.0.2:8082 weight=7 backup, 10.0.0.2:8083 weight=65535 backup", nil,
		},
		"two families, two addresses": {
			[]string{"SRV 0 1 80 x.sk.test."},
			map[string][]string{"x": {"A 10.0.0.1", "A 10.0.0.2", "AAAA 2001:db8::1"}},
			"", "10.0.0.1:80 weight=1, 10.0.0.2:80 weight=1, [2001:db8::1]:80 weight=1", nil,
		},
		"one address, the best counts": {
			[]string{"SRV 20 9 80 x.sk.test.", "SRV 10 2 80 y.sk.test.", "SRV 10 4 80 x.sk.test."},
			map[string][]string{"x": {"A 10.0.0.1"}, "y": {"A 10.0.0.1"}},
			"", "10.0.0.1:80 weight=4", nil,
		},
		"not here": {[]string{"SRV 0 0 0 ."}, nil, "", "", nil},
		"port 0": {
			[]string{"SRV 0 1 0 x.sk.test.", "SRV 0 1 81 x.sk.test."},
			map[string][]string{"x": {"A 10.0.0.1"}},
			"", "10.0.0.1:81 weight=1",
			[]string{"10.0.0.1:0 SRV record of " + srvName + ": target x.sk.test has port 0"},
		},
		"no backups": {
			[]string{"SRV 0 1 80 x.sk.test.", "SRV 1 1 81 x.sk.test."},
			map[string][]string{"x": {"A 10.0.0.1"}},
			"ip_hash", "10.0.0.1:80 weight=1",
			[]string{"10.0.0.1:81 SRV record of " + srvName + ": priority 1 is not the lowest, and the balancing method ip_hash takes no backup servers"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDouble(t)
			set(t, d, srvName, c.records...)
			for host, records := range c.hosts {
				set(t, d, host+".sk.test", records...)
			}
			r, _ := open(t, d.Addr, srvTable)
			template := r.defaults.All
			template.Options.Method = c.method
			r.defaults.All = template
			w := watch(t, r)
			eventually(t, "it is known", func() bool { return w.servers("b") != nil })
			is, _ := w.set()
			u, _ := is.Get("b")
			if got := written(u); got != c.want {
				t.Errorf("it is\n%s, want\n%s", got, c.want)
			}
			var out []string
			for _, o := range is.Out() {
				out = append(out, o.Addr+" "+o.Reason.String())
			}
			if !slices.Equal(out, c.out) {
				t.Errorf("out are %q, want %q", out, c.out)
			}
		})
	}
}

// Targets whose addresses the answer does not bring along are asked for; one that has none makes all of it unknown.
func TestTargets(t *testing.T) {
	d := startDouble(t)
	set(t, d, "x.sk.test", "A 10.0.0.1")
	set(t, d, "y.sk.test", "CNAME z.sk.test.") // such are not brought along
	set(t, d, "z.sk.test", "A 10.0.0.2", "AAAA 2001:db8::2")
	set(t, d, srvName, "SRV 0 1 80 x.sk.test.", "SRV 0 1 80 y.sk.test.")
	r, _ := open(t, d.Addr, srvTable)
	w := watch(t, r)
	all := []string{"10.0.0.1:80", "10.0.0.2:80", "[2001:db8::2]:80"}
	w.until("b", all...)
	if d.Asked("udp", "x.sk.test") > 0 {
		t.Error("what the answer brought along was asked for")
	}
	for how, want := range map[dnstest.Fault]string{
		dnstest.NXDomain: "b: target y.sk.test of " + srvName + " has no address: y.sk.test does not exist (NXDOMAIN from " + d.Addr,
		dnstest.Empty:    "b: target y.sk.test of " + srvName + " has no address: it has neither an A nor an AAAA record",
		dnstest.ServFail: "b: target y.sk.test of " + srvName + " has no address: " + d.Addr + " could not find out (SERVFAIL)",
	} {
		d.Fail(how, "y.sk.test")
		eventually(t, want, func() bool {
			err := r.Condition().Trouble
			return err != nil && strings.HasPrefix(err.Error(), want)
		})
		if got := w.servers("b"); !slices.Equal(got, all) {
			t.Errorf("it has %q", got)
		}
	}
	if found := explained(t, r, "b"); len(found) != 3 || !strings.HasPrefix(found[0], "10.0.0.1:80 true it stays as it was in the last answer, since ") || !strings.Contains(found[0], "UTC: target y.sk.test") {
		t.Errorf("explain says %q", found)
	}
	d.Fail(dnstest.None, "y.sk.test")
	d.FailTimes(1, dnstest.Drop, "z.sk.test")
	eventually(t, "it is well again", func() bool { return r.Condition().Trouble == nil })
	if found := explained(t, r, "b"); len(found) != 3 ||
		!strings.HasPrefix(found[0], "10.0.0.1:80 true SRV record of "+srvName+": target x.sk.test, priority 0, weight 1; asked for every 20ms") {
		t.Errorf("explain says %q", found)
	}
}

// Half an answer is none: one type that is not known, and a server that contradicts itself.
func TestHalfAnAnswer(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1")
	set(t, d, "b.sk.test", "A 10.0.0.2", "AAAA 2001:db8::2")
	r, _ := open(t, d.Addr, two(recordBoth))
	w := watch(t, r)
	all := []string{"10.0.0.2:80", "[2001:db8::2]:80"}
	w.until("b", all...)
	for _, c := range []struct {
		how  dnstest.Fault
		kind string
		want string
	}{
		{dnstest.ServFail, "AAAA", "b: half an answer: AAAA of b.sk.test is not known: " + d.Addr + " could not find out (SERVFAIL)"},
		{dnstest.Drop, "A", "b: half an answer: A of b.sk.test is not known: no answer from " + d.Addr},
		{dnstest.NXDomain, "AAAA", "b: half an answer: b.sk.test has A records, and for AAAA it is said not to exist"},
		{dnstest.NXDomain, "A", "b: half an answer: b.sk.test has AAAA records, and for A it is said not to exist"},
	} {
		d.FailType(c.how, c.kind, "b.sk.test")
		eventually(t, c.want, func() bool {
			err := r.Condition().Trouble
			return err != nil && strings.HasPrefix(err.Error(), c.want)
		})
		if got := w.servers("b"); !slices.Equal(got, all) {
			t.Errorf("it has %q", got)
		}
		d.Fail(dnstest.None, "b.sk.test")
		eventually(t, "it is well again", func() bool { return r.Condition().Trouble == nil })
	}
	d.FailType(dnstest.Empty, "AAAA", "b.sk.test")
	w.until("b", "10.0.0.2:80")
}
