package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/registry"
	"swallowkeeper/registry/dns/dnstest"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

// two is a table of two names, a that is well and b.
func two(record string) func(*Config) {
	return func(c *Config) {
		c.Service["a"] = &Service{Query: "a.sk.test", Record: recordA, Port: 80}
		c.Service["b"] = &Service{Query: "b.sk.test", Record: record, Port: 80}
		if record == recordSRV {
			c.Service["b"].Port = 0
		}
	}
}

// Each way in which there is no answer has its words, and none of them changes what was known.
func TestAnswersAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		how  dnstest.Fault
		want string
	}{
		"NXDOMAIN": {dnstest.NXDomain, "b: b.sk.test does not exist (NXDOMAIN from SERVER): scaled to 0, removed, misspelt, or this machine is not on its network"},
		"SERVFAIL": {dnstest.ServFail, "b: the A records of b.sk.test are not known: SERVER could not find out (SERVFAIL)"},
		"REFUSED":  {dnstest.Refused, "b: the A records of b.sk.test are not known: SERVER refuses to answer (REFUSED)"},
		"silence":  {dnstest.Drop, "b: the A records of b.sk.test are not known: no answer from SERVER within 150ms"},
		"cut":      {dnstest.Cut, "b: the A records of b.sk.test are not known: the answer of SERVER is cut, and over TCP there is no whole one: "},
		"half":     {dnstest.Half, "b: the A records of b.sk.test are not known: the answer of SERVER is no message of DNS: "},
		"ID":       {dnstest.WrongID, "b: the A records of b.sk.test are not known: SERVER answers with another ID or another question"},
		"question": {dnstest.WrongName, "b: the A records of b.sk.test are not known: SERVER answers with another ID or another question"},
		"referral": {dnstest.Refer, "b: the A records of b.sk.test are not known: SERVER only refers to other servers: it does not look names up for others"},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDouble(t)
			set(t, d, "a.sk.test", "A 10.0.0.1")
			set(t, d, "b.sk.test", "A 10.0.0.2", "A 10.0.0.3")
			r, hook := open(t, d.Addr, two(recordA))
			w := watch(t, r)
			w.until("b", "10.0.0.2:80", "10.0.0.3:80")
			d.Fail(c.how, "b.sk.test")
			eventually(t, "there is a trouble", func() bool { return r.Condition().Trouble != nil })
			is := r.Condition()
			if got := strings.ReplaceAll(is.Trouble.Error(), d.Addr, "SERVER"); !strings.HasPrefix(got, c.want) {
				t.Errorf("the trouble is\n%s, want\n%s", got, c.want)
			}
			if is.Since.IsZero() || !is.Lapsed.IsZero() {
				t.Errorf("of one name among others that are known: %+v", is)
			}
			if last := hook.LastEntry(); last == nil || !strings.Contains(fmt.Sprint(last.Data), "b.sk.test") {
				t.Errorf("the log says %v", last)
			}
			set(t, d, "a.sk.test", "A 10.0.0.9") // the other one goes on
			w.until("a", "10.0.0.9:80")
			if got := w.servers("b"); !slices.Equal(got, []string{"10.0.0.2:80", "10.0.0.3:80"}) {
				t.Errorf("b has %q", got)
			}
			d.Fail(dnstest.None, "b.sk.test")
			eventually(t, "the trouble ends", func() bool { return r.Condition().Trouble == nil })
		})
	}
}

func TestEmptyIsRegistered(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1")
	set(t, d, "b.sk.test", "A 10.0.0.2")
	r, _ := open(t, d.Addr, two(recordA))
	w := watch(t, r)
	w.until("b", "10.0.0.2:80")
	d.Fail(dnstest.Empty, "b.sk.test")
	w.until("b")
	if err := r.Condition().Trouble; err != nil {
		t.Errorf("no record is no trouble: %v", err)
	}
}

// What was never known is marked, so that what is written of it stays.
func TestNeverKnown(t *testing.T) {
	for _, how := range []dnstest.Fault{dnstest.NXDomain, dnstest.ServFail, dnstest.Drop} {
		d := startDouble(t)
		set(t, d, "a.sk.test", "A 10.0.0.1")
		d.Fail(how, "b.sk.test")
		r, _ := open(t, d.Addr, two(recordA))
		w := watch(t, r)
		w.until("a", "10.0.0.1:80")
		is, _ := w.set()
		out := is.Out()
		if len(out) != 1 || out[0].Service != "b" || out[0].Unknown != upstream.Whole || !strings.HasPrefix(out[0].Reason.String(), "it is not known, and what is written of it stays: ") {
			t.Errorf("it says %+v", out)
		}
		written := upstream.NewSet([]upstream.Upstream{{Name: "b", Servers: []upstream.Server{{Addr: mustAddr("10.0.0.7:80"), Weight: 1, Origin: "dc"}}}})
		if u, _ := is.WithUnknown(written, "dc").Get("b"); len(u.Servers) != 1 {
			t.Errorf("what is written does not stay: %+v", u)
		}
		set(t, d, "b.sk.test", "A 10.0.0.2")
		d.Fail(dnstest.None, "b.sk.test")
		w.until("b", "10.0.0.2:80")
		if is, _ := w.set(); len(is.Out()) > 0 {
			t.Errorf("it still says %+v", is.Out())
		}
	}
}

// TestAQueryFromBeforeTheReturn times out before or after another name was answered: the set waits until that name is
// queried anew.
func TestAQueryFromBeforeTheReturn(t *testing.T) {
	answer := listed{records: []record{{kind: recordA, addr: netip.MustParseAddr("10.0.0.1"), port: 80}}}
	silence := errors.New("no answer")
	for name, before := range map[string]func(r *Registry, a, b *entry){
		"the servers were away for long": func(r *Registry, a, b *entry) {
			r.note(a, 0, listed{}, "", silence)
			r.note(b, 0, listed{}, "", silence)
			if _, err := r.read(t.Context()); err == nil || poll.IsPartial(err) {
				t.Fatalf("nothing is known: %v", err)
			}
			r.note(a, 0, answer, "", nil)
			r.note(b, 0, listed{}, "", silence)
		},
		"they came back within the first round": func(r *Registry, a, b *entry) {
			r.note(b, 0, listed{}, "", silence)
			r.note(a, 0, answer, "", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := open(t, startDouble(t).Addr, two(recordA))
			r.entries, r.unasked, r.all = r.fresh(), 2, make(chan struct{})
			a, b := r.entries[0], r.entries[1]
			before(r, a, b)
			if r.unasked != 1 {
				t.Errorf("%d names are still to be queried, want b", r.unasked)
			}
			r.note(b, 1, answer, "", nil)
			if set, err := r.read(t.Context()); err != nil || set.Len() != 2 {
				t.Errorf("%v, %v", set.Names(), err)
			}
		})
	}
}

func TestGoneAfterThree(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1")
	set(t, d, "b.sk.test", "A 10.0.0.2")
	r, _ := open(t, d.Addr, func(c *Config) {
		two(recordA)(c)
		c.NXDomain = nxGone
	})
	w := watch(t, r)
	w.until("b", "10.0.0.2:80")
	for n := 1; n < nxToBelieve; n++ {
		asked := d.Asked("udp", "b.sk.test")
		d.FailTimes(n, dnstest.NXDomain, "b.sk.test")
		eventually(t, "it was asked again", func() bool { return d.Asked("udp", "b.sk.test") > asked+n+1 })
		if got := w.servers("b"); !slices.Equal(got, []string{"10.0.0.2:80"}) {
			t.Errorf("after %d times NXDOMAIN b has %q", n, got)
		}
	}
	d.FailTimes(2, dnstest.NXDomain, "b.sk.test")
	d.Remove("b.sk.test")
	eventually(t, "it is gone", func() bool { return w.servers("b") == nil })
	if err := r.Condition().Trouble; err != nil {
		t.Errorf("that it is gone is no trouble: %v", err)
	}
	if found := explained(t, r, "b"); len(found) != 1 || !strings.Contains(found[0], "b.sk.test does not exist (NXDOMAIN") || !strings.Contains(found[0], "deregistered") {
		t.Errorf("explain says %q", found)
	}
	set(t, d, "b.sk.test", "A 10.0.0.3")
	w.until("b", "10.0.0.3:80")
}

// explained is what Explain says, a line for each finding.
func explained(t *testing.T, r *Registry, name string) (lines []string) {
	t.Helper()
	found, err := r.Explain(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("%s %t %s", f.Addr, f.In, f.Reason))
	}
	return lines
}

func TestLongAnswersComeOverTCP(t *testing.T) {
	d := startDouble(t)
	var records, want []string
	for i := range 400 {
		records = append(records, fmt.Sprintf("A 10.1.%d.%d", i/250, 1+i%250))
		want = append(want, fmt.Sprintf("10.1.%d.%d:80", i/250, 1+i%250))
	}
	set(t, d, "b.sk.test", records...)
	set(t, d, "a.sk.test", records[:40]...) // more than 512 bytes, and no EDNS
	d.Fail(dnstest.NoEDNS, "a.sk.test")
	r, _ := open(t, d.Addr, two(recordA))
	w := watch(t, r)
	w.until("b", want...)
	w.until("a", want[:40]...)
	if d.Asked("tcp", "b.sk.test") == 0 || d.Asked("tcp", "a.sk.test") == 0 {
		t.Error("nothing was asked over TCP")
	}
}

func TestAliases(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "CNAME c.sk.test.")
	set(t, d, "c.sk.test", "CNAME d.sk.test.")
	set(t, d, "d.sk.test", "A 10.0.0.4")
	set(t, d, "b.sk.test", "CNAME b.sk.test.")
	r, _ := open(t, d.Addr, two(recordA))
	w := watch(t, r)
	w.until("a", "10.0.0.4:80")
	eventually(t, "one leads to itself", func() bool {
		err := r.Condition().Trouble
		return err != nil && strings.Contains(err.Error(), "b.sk.test is an alias that leads on and on")
	})
}

func TestBothFamilies(t *testing.T) {
	for name, c := range map[string]struct {
		records []string
		want    []string
	}{
		"both":      {[]string{"A 10.0.0.2", "AAAA 2001:db8::2"}, []string{"10.0.0.2:80", "[2001:db8::2]:80"}},
		"A alone":   {[]string{"A 10.0.0.2"}, []string{"10.0.0.2:80"}},
		"AAAA":      {[]string{"AAAA 2001:db8::2"}, []string{"[2001:db8::2]:80"}},
		"mapped":    {[]string{"AAAA ::ffff:10.0.0.9", "A 10.0.0.9"}, []string{"10.0.0.9:80"}},
		"no record": {nil, []string{}},
		"odd ones":  {[]string{"A 10.0.0.2", "A 0.0.0.0", "A 224.0.0.1", "AAAA ::"}, []string{"10.0.0.2:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDouble(t)
			set(t, d, "a.sk.test", "A 10.0.0.1")
			set(t, d, "b.sk.test", c.records...)
			r, _ := open(t, d.Addr, two(recordBoth))
			w := watch(t, r)
			w.until("b", c.want...)
			if is, _ := w.set(); name == "odd ones" && len(is.Out()) != 3 {
				t.Errorf("three are out: %+v", is.Out())
			}
		})
	}
}

func TestResolvConf(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1")
	set(t, d, "b.sk.test", "A 10.0.0.2")
	r, _ := open(t, "", two(recordA))
	file := filepath.Join(t.TempDir(), "resolv.conf")
	r.resolv = file
	w := watch(t, r)
	eventually(t, "the file is missed", func() bool {
		err := r.Condition().Trouble
		return err != nil && strings.Contains(err.Error(), "no name server: open "+file+": no such file")
	})
	if r.Endpoint() != "" {
		t.Errorf("it answers at %s", r.Endpoint())
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("# nothing\nsearch sk.test\n")
	eventually(t, "it names none", func() bool {
		err := r.Condition().Trouble
		return err != nil && strings.Contains(err.Error(), file+" names none")
	})
	write("nameserver 127.0.0.1\n")
	if r.Endpoint() != "127.0.0.1:53" {
		t.Errorf("it answers at %s", r.Endpoint())
	}
	_ = w
}

// The next server is asked where one says nothing, and not where it says that there is no such name.
func TestNextServer(t *testing.T) {
	bad, good := startDouble(t), startDouble(t)
	set(t, good, "a.sk.test", "A 10.0.0.1")
	r, _ := open(t, good.Addr, two(recordA))
	c, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	a := &Service{Query: "a.sk.test", Record: recordA, Port: 80}
	for _, how := range []dnstest.Fault{dnstest.ServFail, dnstest.Refused, dnstest.Drop, dnstest.WrongID, dnstest.Half, dnstest.Refer, dnstest.Cut} {
		bad.Fail(how)
		c.servers = []string{bad.Addr, good.Addr}
		if l, nx, err := c.lookup(t.Context(), a); err != nil || nx != "" || len(l.records) != 1 {
			t.Errorf("fault %d: %+v %q %v", how, l, nx, err)
		}
	}
	bad.Fail(dnstest.NXDomain)
	if _, nx, err := c.lookup(t.Context(), a); err != nil || nx != bad.Addr {
		t.Errorf("the first says NXDOMAIN: %q %v", nx, err)
	}
	c.servers = []string{loopback.Refused(t)}
	if _, _, err := c.lookup(t.Context(), a); err == nil || !strings.Contains(err.Error(), "can't be reached: connection refused") {
		t.Errorf("nobody is there: %v", err)
	}
	bad.Fail(dnstest.None)
	bad.FailTimes(1, dnstest.Drop)
	set(t, bad, "a.sk.test", "A 10.0.0.1")
	c.servers = []string{bad.Addr}
	if l, _, err := c.lookup(t.Context(), a); err != nil || len(l.records) != 1 {
		t.Errorf("one packet that is lost: %+v %v", l, err)
	}
}

func TestPartsAreNamed(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1", "A 10.0.0.2")
	set(t, d, "b.sk.test", "A 10.0.1.1", "A 10.0.1.2", "A 10.0.1.3", "A 10.0.1.4", "A 10.0.1.5")
	d.Parts("b.sk.test", 2)
	r, hook := open(t, d.Addr, two(recordA))
	watch(t, r)
	count := func() (n int) {
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "seems to answer with a part") {
				if n++; e.Data["service"] != "b" {
					t.Errorf("of %v: %s", e.Data, e.Message)
				}
			}
		}
		return n
	}
	eventually(t, "it is named", func() bool { return count() > 0 })
	asked := d.Asked("udp", "b.sk.test")
	eventually(t, "it was asked often", func() bool { return d.Asked("udp", "b.sk.test") > asked+2*partAnswers })
	if n := count(); n != 1 {
		t.Errorf("it is named %d times", n)
	}
	if found := explained(t, r, "b"); len(found) != 2 || !strings.Contains(found[0], "seems to answer with a part") {
		t.Errorf("explain says %q", found)
	}
	x, err := r.Examine(t.Context())
	if err != nil || len(x.Findings) != 1 || x.Findings[0].Check != "dns-part" {
		t.Errorf("doctor finds %+v %v", x.Findings, err)
	}
}

// Replacing one after another is no part of anything.
func TestRollingUpdateIsNoPart(t *testing.T) {
	var p parts
	records := []record{{addr: mustAddr("10.0.0.1:1").Addr()}, {addr: mustAddr("10.0.0.2:1").Addr()}, {addr: mustAddr("10.0.0.3:1").Addr()}}
	for i := range 12 {
		records[i%3].addr = records[i%3].addr.Next().Next().Next()
		if p.note(records); p.shown {
			t.Fatalf("after %d steps", i)
		}
	}
}

func TestExplainAndExamine(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1", "A 0.0.0.0")
	set(t, d, "b.sk.test", "A 10.0.0.2")
	r, _ := open(t, d.Addr, two(recordA))
	inA := "10.0.0.1:80 true A record of a.sk.test, asked for every 20ms; its TTL of 600 s is not waited for"
	found := explained(t, r, "A")
	if len(found) != 2 || found[1] != inA || !strings.HasPrefix(found[0], "0.0.0.0:80 false A record of a.sk.test: ") {
		t.Errorf("explain says %q", found)
	}
	if found := explained(t, r, "c"); found != nil {
		t.Errorf("of a name that is not there explain says %q", found)
	}
	if got := r.Noticed("a"); !got.IsZero() {
		t.Errorf("nothing is watched: %s", got)
	}
	w := watch(t, r)
	w.until("b", "10.0.0.2:80")
	if got := r.Noticed("B").String(); got != "b.sk.test is asked for every 20ms" {
		t.Errorf("noticed: %s", got)
	}
	d.Remove("b.sk.test")
	if found := explained(t, r, "b"); len(found) != 1 || !strings.HasPrefix(found[0], "10.0.0.2:80 true it stays as it was in the last answer, since ") || !strings.Contains(found[0], "UTC: b.sk.test does not exist (NXDOMAIN") {
		t.Errorf("explain says %q", found)
	}
	set(t, d, "b.sk.test")
	if found := explained(t, r, "b"); len(found) != 1 || found[0] != " false b.sk.test exists, and has no A record: it is registered with no usable server" {
		t.Errorf("explain says %q", found)
	}
	d.Fail(dnstest.ServFail, "b.sk.test")
	x, err := r.Examine(t.Context())
	if err != nil || len(x.Findings) != 1 || x.Findings[0].Check != "dns-unknown" || x.Findings[0].What != "1 name can't be looked up" || x.Set.Len() != 1 {
		t.Errorf("doctor finds %+v in %v, %v", x.Findings, x.Set.Names(), err)
	}
	d.Fail(dnstest.ServFail)
	if _, err := r.Examine(t.Context()); err == nil {
		t.Error("nothing can be read, and doctor says nothing")
	}
}

func TestMetrics(t *testing.T) {
	d := startDouble(t)
	set(t, d, "a.sk.test", "A 10.0.0.1")
	r, _ := open(t, d.Addr, two(recordA))
	all := prometheus.NewRegistry()
	meter, err := newMetrics(all)
	if err != nil {
		t.Fatal(err)
	}
	r.metrics, _ = meter.(*metrics)
	w := watch(t, r)
	w.until("a", "10.0.0.1:80")
	families, err := all.Gather()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(families)
	for _, want := range []string{`value:"records"`, `value:"nxdomain"`, `value:"known"`, `value:"unknown"`, `value:"udp"`} {
		if !strings.Contains(strings.ReplaceAll(text, " ", ""), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// A server that is slow gets no second question for a name before it has answered the first one.
func TestSlowServer(t *testing.T) {
	d := startDouble(t)
	const names = 150
	for i := range names {
		set(t, d, fmt.Sprintf("n%d.sk.test", i), "A 10.0.0.1")
	}
	r, _ := open(t, d.Addr, func(c *Config) {
		c.Timeout = 5 * time.Second
		for i := range names {
			c.Service[fmt.Sprintf("n%d", i)] = &Service{Query: fmt.Sprintf("n%d.sk.test", i), Record: recordA, Port: 80}
		}
	})
	d.Delay(100 * time.Millisecond) // five intervals
	w := watch(t, r)
	eventually(t, "all are known", func() bool { is, _ := w.set(); return is.Servers() == names })
	eventually(t, "all were asked again", func() bool { return d.Asked("udp", "n149.sk.test") > 2 })
	if most := d.Most(); most > mostAtOnce {
		t.Errorf("%d questions were open at a time", most)
	}
	if err := r.Condition().Trouble; err != nil {
		t.Errorf("slow is no trouble: %v", err)
	}
}

var _ registry.Meter = (*metrics)(nil)
