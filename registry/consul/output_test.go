package consul

import (
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

func TestSaid(t *testing.T) {
	for _, test := range []struct{ name, output, want string }{
		{"nothing", "", ""},
		{"a line", "dial tcp 10.0.0.1:80: connect: connection refused", "dial tcp 10.0.0.1:80: connect: connection refused"},
		{"lines", "HTTP GET http://x/: 503\r\n\tOutput:  <h1>no</h1>\n", "HTTP GET http://x/: 503 Output: <h1>no</h1>"},
		{"for a terminal", "\x1b[31mred\x00\u202e", "[31mred"},
		{"no UTF-8", "a\xffb", "a b"},
		{"long", strings.Repeat("é", 3000), strings.Repeat("é", 98) + "…"},
	} {
		got := outputLine(test.output)
		if got != test.want || len(got) > 200 {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestCheckThatFails is told by its name, with what it says, and of which instance on which node; what fails alike
// has one reason.
func TestCheckThatFails(t *testing.T) {
	d := startDouble(t, testOptions())
	fails := func(id, addr, output string) {
		t.Helper()
		reg := registration("n1", "web", id, addr, 80, "critical")
		reg.Checks[0].Name, reg.Checks[0].Output = "HTTP on 80", output
		d.register(t, reg)
	}
	d.register(t, registration("n1", "web", "w0", "10.0.0.9", 80, "passing"))
	fails("w1", "10.0.0.1", "503\nService Unavailable")
	fails("w2", "10.0.0.2", "502\nBad Gateway")
	r := newTestRegistry(t, testConfig(d.addr), silent())
	w := run(t, r)
	out := w.servers("web", 1).Out()
	if len(out) != 2 || out[0].Reason.String() != `check "HTTP on 80" is critical` || out[1].Reason != out[0].Reason {
		t.Fatalf("out is %+v", out)
	}
	if got, want := out[0].Detail().String(), `it is instance "w1" on node "n1"; the check says "503 Service Unavailable"`; got != want {
		t.Errorf("detail %s, want %s", got, want)
	}

	// Another output is no change. It is shown with the next one.
	fails("w1", "10.0.0.1", "500 Internal Server Error")
	d.register(t, registration("n1", "api", "a1", "10.0.0.1", 81, "passing"))
	w.servers("api", 1)
	if n := w.count(); n != 2 {
		t.Errorf("%d sets published, want 2", n)
	}
	eventually(t, "the new output is known", func() bool {
		found, err := r.Explain(t.Context(), "web")
		return err == nil && len(found) == 3 && found[0].Reason.String() ==
			`check "HTTP on 80" is critical; it is instance "w1" on node "n1"; the check says "500 Internal Server Error"`
	})
}

// TestOutputsAreNotKept holds what thousands of failing checks cost to what is shown of them.
func TestOutputsAreNotKept(t *testing.T) {
	cfg := testConfig("")
	conv := converter{cfg: &cfg, origin: "here"}
	const instances = 500
	page := strings.Repeat("x", 4000)
	kept := make([][]upstreamOut, 0, instances)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range instances {
		_, out := conv.service("web", []*api.ServiceEntry{entry(func(e *api.ServiceEntry) {
			e.Checks[1].Status, e.Checks[1].Output = api.HealthCritical, strings.Clone(page)
		})})
		kept = append(kept, out)
	}
	if grown := int64(heap()) - int64(before); grown > instances*1500 {
		t.Errorf("%d bytes are kept of each", grown/instances)
	}
	runtime.KeepAlive(kept)
}
