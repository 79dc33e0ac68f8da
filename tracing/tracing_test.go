package tracing_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"swallowkeeper/reason"
	"swallowkeeper/syncer"
	"swallowkeeper/tracing"
	"swallowkeeper/tracing/tracingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tracer(t *testing.T, endpoint string, gateways ...string) *tracing.Tracer {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	tr, err := tracing.New(tracing.Config{Endpoint: endpoint}, "v1.2.3", gateways, log)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func collector(t *testing.T) *tracingtest.Collector {
	t.Helper()
	c := tracingtest.New()
	t.Cleanup(c.Close)
	return c
}

var began = time.Date(2026, 11, 21, 2, 13, 9, 0, time.UTC)

func after(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

func generation(n int, text string) syncer.Event {
	return syncer.Event{
		Kind: syncer.EventGeneration, Generation: n, Text: reason.Text(text), Updated: 1, In: 2, Time: after(5),
		Timing: syncer.Timing{Seen: after(0), Decided: after(3), Saved: after(5)},
	}
}

func pushed(n int, gateway string, at int) syncer.Event {
	e := generation(n, "")
	e.Kind, e.Gateway, e.Time, e.Workers = syncer.EventPushed, gateway, after(at), 4
	e.Timing.Pushing, e.Timing.Posted, e.Timing.Pushed = after(at-4), after(at-3), after(at)
	return e
}

func named(spans []tracingtest.Span, name string) (found []tracingtest.Span) {
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func lasts(t *testing.T, s tracingtest.Span, from, to int) {
	t.Helper()
	if !s.From.Equal(after(from)) || !s.To.Equal(after(to)) {
		t.Errorf("%s is from %s to %s, want %d ms to %d ms", s.Name, s.From.UTC(), s.To.UTC(), from, to)
	}
}

func TestOneTraceAChange(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL, "a", "b")
	tr.Observe(generation(7, "changed web"))
	tr.Observe(pushed(7, "a", 10))
	tr.Observe(pushed(7, "b", 30))
	tr.Close()

	spans := c.Spans()
	whole := named(spans, "change")
	if len(spans) != 9 || len(whole) != 1 || whole[0].Parent != "" || whole[0].Failed {
		t.Fatalf("the spans are %+v", spans)
	}
	lasts(t, whole[0], 0, 30)
	if v := whole[0].Values; v["swallowkeeper.generation"] != int64(7) || v["swallowkeeper.change"] != "changed web" ||
		v["swallowkeeper.servers.in"] != int64(2) || v["swallowkeeper.gateways.behind"] != nil {
		t.Errorf("the whole has %v", v)
	}
	parents := map[string]string{"guard": whole[0].ID, "conf file": whole[0].ID, "gateway": whole[0].ID}
	for _, s := range spans {
		if s.Trace != whole[0].Trace {
			t.Errorf("%s is in another trace", s.Name)
		}
		if p, ok := parents[s.Name]; ok && s.Parent != p {
			t.Errorf("%s has another parent", s.Name)
		}
	}
	lasts(t, named(spans, "guard")[0], 0, 3)
	lasts(t, named(spans, "conf file")[0], 3, 5)
	for i, gateway := range named(spans, "gateway") {
		at := []int{10, 30}[i]
		lasts(t, gateway, at-4, at)
		if v := gateway.Values; v["swallowkeeper.gateway"] != []string{"a", "b"}[i] || v["swallowkeeper.workers"] != int64(4) {
			t.Errorf("a gateway has %v", v)
		}
		lasts(t, named(spans, "post")[i], at-4, at-3)
		lasts(t, named(spans, "workers")[i], at-3, at)
		if named(spans, "workers")[i].Parent != gateway.ID || named(spans, "post")[i].Parent != gateway.ID {
			t.Error("post and workers are not the gateway's")
		}
	}
	if r := c.Resource(); r["service.name"] != "swallowkeeper" || r["service.version"] != "v1.2.3" || r["host.name"] == nil {
		t.Errorf("it says of itself %v", r)
	}
}

func TestAGatewayThatIsBehind(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL, "a", "b")
	tr.Observe(generation(1, "one"))
	tr.Observe(pushed(1, "a", 10))
	tr.Observe(syncer.Event{
		Kind: syncer.EventOutOfSync, Generation: 1, Gateway: "b", Time: after(20), Err: errors.New("connection refused"),
	})
	tr.Observe(generation(2, "two"))
	tr.Observe(pushed(2, "a", 40))
	tr.Observe(pushed(2, "b", 50)) // and with it the first
	tr.Observe(generation(3, "three"))
	tr.Observe(pushed(3, "a", 60))
	tr.Close()

	spans := c.Spans()
	whole, gateways := named(spans, "change"), named(spans, "gateway")
	if len(whole) != 3 || len(gateways) != 5 {
		t.Fatalf("the spans are %+v", spans)
	}
	if g := gateways[1]; !whole[0].Failed || !g.Failed || g.Parent != whole[0].ID || g.Status != "connection refused" {
		t.Errorf("the one that failed is %+v, the gateway %+v", whole[0], g)
	}
	lasts(t, whole[0], 0, 20)
	lasts(t, whole[1], 0, 50)
	lasts(t, whole[2], 0, 60)
	for i, want := range []int{0, 0, 1} {
		behind, _ := whole[i].Values["swallowkeeper.gateways.behind"].([]any)
		if len(behind) != want || want == 1 && behind[0] != "b" {
			t.Errorf("behind in %d is %v", i, behind)
		}
	}
}

func TestWithoutGateways(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL)
	tr.Observe(generation(1, "one"))
	tr.Close()
	lasts(t, named(c.Spans(), "change")[0], 0, 5)
}

// TestAQuickGateway has one that is done before the syncer tells of the generation.
func TestAQuickGateway(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL, "a", "b")
	for range 1000 { // of the generation that the program began with
		tr.Observe(syncer.Event{Kind: syncer.EventOutOfSync, Generation: 6, Gateway: "b", Time: after(0), Err: errors.New("down")})
	}
	tr.Observe(pushed(7, "a", 10))
	tr.Observe(generation(7, "changed web"))
	tr.Observe(pushed(7, "b", 12))
	tr.Close()
	whole, gateways := named(c.Spans(), "change"), named(c.Spans(), "gateway")
	if len(whole) != 1 || len(gateways) != 2 || gateways[0].Parent != whole[0].ID || whole[0].Failed {
		t.Fatalf("the spans are %+v", c.Spans())
	}
	lasts(t, whole[0], 0, 12)
}

// TestLongAfter has a gateway fail, and come back, when the span of the whole has ended.
func TestLongAfter(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL, "a")
	tr.Observe(generation(1, "one"))
	tr.TimeUp()
	tr.Observe(syncer.Event{
		Kind: syncer.EventOutOfSync, Generation: 1, Gateway: "a", Time: after(60_000), Err: errors.New("timeout"),
	})
	tr.Observe(pushed(1, "a", 90_000))
	tr.Close()
	whole, gateways := named(c.Spans(), "change"), named(c.Spans(), "gateway")
	if len(whole) != 1 || len(gateways) != 2 || gateways[0].Status != "timeout" || gateways[1].Failed {
		t.Fatalf("the spans are %+v", c.Spans())
	}
	lasts(t, whole[0], 0, 5)
	for _, g := range gateways {
		if g.Parent != whole[0].ID || g.Trace != whole[0].Trace {
			t.Errorf("the gateway is not the change's: %+v", g)
		}
	}
}

func TestHostileTextStaysTextAndBounded(t *testing.T) {
	for name, tt := range map[string]struct{ text, change, want string }{
		"markup":            {`<script>alert("1")</script>`, `<script>alert("1")</script>`, `<script>alert("1")</script>`},
		"long":              {strings.Repeat("é\n", 10_000), strings.Repeat(`é\n`, 100), strings.Repeat("é\n", 150)},
		"not UTF-8":         {"a\xff\xfeb", `a\xff\xfeb`, "a\uFFFDb"},
		"a cut sign, long":  {strings.Repeat("😀", 10_000), strings.Repeat("😀", 300), strings.Repeat("😀", 300)},
		"ends in part of é": {"caf\xc3", `caf\xc3`, "caf\uFFFD"},
	} {
		t.Run(name, func(t *testing.T) {
			c := collector(t)
			tr := tracer(t, c.URL, "a")
			tr.Observe(generation(1, tt.text))
			tr.Observe(syncer.Event{Kind: syncer.EventOutOfSync, Generation: 1, Gateway: "a", Time: after(9), Err: errors.New(tt.text)})
			tr.Close()
			whole, gateways := named(c.Spans(), "change"), named(c.Spans(), "gateway")
			if len(whole) != 1 || len(gateways) != 1 {
				t.Fatalf("the spans are %+v", c.Spans())
			}
			if got := whole[0].Values["swallowkeeper.change"]; got != tt.change {
				t.Errorf("the change is %q", got)
			}
			if got := gateways[0].Status; got != tt.want {
				t.Errorf("the error is %q", got)
			}
		})
	}
}

// TestManyChangesAreBounded has gateways that never answer.
func TestManyChangesAreBounded(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL, "a")
	for n := range 200 {
		tr.Observe(generation(n+1, "again"))
	}
	tr.Observe(pushed(1, "a", 10)) // forgotten
	tr.Observe(pushed(200, "a", 20))
	tr.Close()
	if spans := c.Spans(); len(named(spans, "change")) != 200 || len(named(spans, "gateway")) != 1 {
		t.Errorf("%d changes, %d pushes", len(named(spans, "change")), len(named(spans, "gateway")))
	}
}

// TestACollectorThatIsNoneDelaysNobody: one is gone, and one takes connections and never answers.
func TestACollectorThatIsNoneDelaysNobody(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, addr := range map[string]string{"gone": gone.Addr().String(), "silent": silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			tr := tracer(t, "http://"+addr, "a")
			start := time.Now()
			for n := range 5000 { // more than any queue
				tr.Observe(generation(n+1, "again"))
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("observing took %s", took)
			}
			tr.Close()
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("closing took until %s", took)
			}
		})
	}
}

func TestTheLogIsToldOnce(t *testing.T) {
	c := collector(t)
	c.Refuse(&tracingtest.Refusal{Code: http.StatusServiceUnavailable})
	tr, text := logging(t, c)
	for n := range 3 {
		tr.Observe(generation(n+1, "again"))
		before := c.Requests()
		for limit := time.Now().Add(20 * time.Second); c.Requests() == before; <-time.After(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("nothing is sent")
			}
		}
	}
	tr.Close()
	if n := strings.Count(text.String(), "traces can't be sent"); n != 1 {
		t.Errorf("the log is told %d times:\n%s", n, text.String())
	}
}

func TestSwitchedOff(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	tr := tracer(t, "")
	if tr != nil {
		t.Error("there is a tracer without a collector")
	}
	tr.Observe(generation(1, "one"))
	tr.Close()
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if tracer(t, "http://127.0.0.1:4318") != nil {
		t.Error("OTEL_SDK_DISABLED switches nothing off")
	}
}

func TestTheStandardVariables(t *testing.T) {
	c := collector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_SERVICE_NAME", "edge")
	tr := tracer(t, "")
	tr.Observe(generation(1, "one"))
	tr.Close()
	if len(c.Spans()) != 3 || c.Resource()["service.name"] != "edge" {
		t.Errorf("%d spans of %v", len(c.Spans()), c.Resource())
	}
}

func TestALoneSlashIsNoPath(t *testing.T) {
	c := collector(t)
	tr := tracer(t, c.URL+"/")
	tr.Observe(generation(1, "one"))
	tr.Close()
	if len(c.Spans()) != 3 {
		t.Errorf("there are %d spans", len(c.Spans()))
	}
}

func TestABadVariable(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318")
	_, err := tracing.New(tracing.Config{}, "v1", nil, logrus.New())
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT") {
		t.Errorf("the error is %v", err)
	}
}

func TestValidate(t *testing.T) {
	for endpoint, good := range map[string]bool{
		"": true, "http://127.0.0.1:4318": true, "https://otel.example/a/v1/traces": true, "http://[::1]:4318": true,
		"127.0.0.1:4318": false, "grpc://a:4317": false, "http://": false, "http://:4318": false,
		"http://user:pass@a:1": false, "http://a:1?x=1": false, "http://a b": false,
	} {
		if err := (tracing.Config{Endpoint: endpoint}).Validate(); (err == nil) != good {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
