package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/status"
)

// ask sends a request over the operator's socket. A daemon that is not there yet is waited for.
func (r *rig) ask(method, path string, body, into any) int {
	r.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.socket)
	}}
	defer transport.CloseIdleConnections()
	var code int
	eventually(r.t, 20*time.Second, "an answer to "+path, func() bool {
		text, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(r.t.Context(), method, "http://localhost"+path, bytes.NewReader(text))
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return false
		}
		code = resp.StatusCode
		if text, ok := into.(*string); ok {
			*text = string(answer)
			return true
		}
		if into != nil && code == http.StatusOK {
			if err := json.Unmarshal(answer, into); err != nil {
				r.t.Fatalf("%s: %v in %s", path, err, answer)
			}
		}
		return true
	})
	return code
}

func (r *rig) metrics() string {
	r.t.Helper()
	var text string
	if code := r.ask("GET", "/metrics", nil, &text); code != http.StatusOK {
		r.t.Fatalf("metrics: %d", code)
	}
	return text
}

func (r *rig) status() status.Status {
	r.t.Helper()
	var st status.Status
	if code := r.ask("GET", "/api/v1/status", nil, &st); code != http.StatusOK {
		r.t.Fatalf("status %d", code)
	}
	return st
}

func TestAHoldIsShownAndApproved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.extra = "[guard]\nmax_removal = 0\n" // the removals come one by one
	r.configure()
	all := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"}
	r.up("a", all...)
	r.daemon()
	r.inSync(want{"a": strings.Join(all, " ")})
	r.gone("a", all[1:]...)
	var hold status.Hold
	eventually(t, 20*time.Second, "a hold", func() bool {
		if st := r.status(); len(st.Holds) == 1 && len(st.Holds[0].Servers) == 4 {
			hold = st.Holds[0]
		}
		return hold.ID != ""
	})
	if code := r.ask("POST", "/api/v1/holds/0123456789ab/approve", nil, nil); code != http.StatusNotFound {
		t.Errorf("approving another one: %d", code)
	}
	var list struct{ Upstreams []status.Upstream }
	r.ask("GET", "/api/v1/upstreams", nil, &list)
	if i := slices.IndexFunc(list.Upstreams[0].Servers, func(s status.Server) bool { return s.State == status.Held }); i < 0 {
		t.Errorf("no server is shown as held: %+v", list.Upstreams)
	}
	if code := r.ask("POST", "/api/v1/holds/"+hold.ID+"/approve", nil, nil); code != http.StatusOK {
		t.Fatalf("approving it: %d", code)
	}
	r.inSync(want{"a": all[0]})
	eventually(t, 20*time.Second, "no hold, and ready", func() bool { st := r.status(); return len(st.Holds) == 0 && st.Ready })
}

func TestAFreezeHoldsOverARestartAndARollbackGoesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	name := r.prefix + "a"
	r.up("a", "10.0.0.1:80")
	d := r.daemon()
	r.inSync(want{"a": "10.0.0.1:80"})
	if code := r.ask("POST", "/api/v1/freezes", status.FreezeRequest{Name: name, For: "1h"}, nil); code != http.StatusOK {
		t.Fatalf("freezing: %d", code)
	}
	for _, bad := range []status.FreezeRequest{{Name: name, For: "soon"}, {Name: name, For: "-1h"}, {}} {
		if code := r.ask("POST", "/api/v1/freezes", bad, nil); code != http.StatusBadRequest {
			t.Errorf("freezing %+v: %d", bad, code)
		}
	}
	d.stop()
	r.up("a", "10.0.0.2:80")
	r.up("b", "10.0.0.3:80")
	d = r.daemon()
	r.inSync(want{"a": "10.0.0.1:80", "b": "10.0.0.3:80"})
	var e status.Explanation
	r.ask("GET", "/api/v1/upstreams/"+name, nil, &e)
	if i := slices.IndexFunc(e.Servers, func(s status.Server) bool { return s.Addr == "10.0.0.2:80" }); i < 0 ||
		e.Servers[i].State != status.Out || !strings.Contains(e.Servers[i].Reason.String(), "but the upstream is frozen until 20") {
		t.Errorf("what the freeze keeps out has no reason: %+v", e)
	}
	var timeline struct{ Events []status.Event }
	r.ask("GET", "/api/v1/timeline", nil, &timeline)
	if e := timeline.Events; len(e) < 2 || e[0].Generation != 1 || e[0].Kind != "generation" || e[0].Text.String() != "added "+name || e[1].ID < 1<<32 {
		t.Errorf("what was before the restart is not told: %+v", e)
	}
	if f := r.status().Freezes; len(f) != 1 || f[0].Name != name || time.Until(f[0].Until) < 50*time.Minute {
		t.Errorf("frozen is %+v", f)
	}
	if code := r.ask("DELETE", "/api/v1/freezes/"+name, nil, nil); code != http.StatusOK {
		t.Errorf("unfreezing: %d", code)
	}
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80"})

	var kept struct{ Generations []status.Generation }
	r.ask("GET", "/api/v1/history", nil, &kept)
	if n := len(kept.Generations); n != 3 || kept.Generations[0].Summary.String() != "0 added, 1 updated, 0 removed" {
		t.Fatalf("the history is %+v", kept.Generations)
	}
	var c status.Changes
	if r.ask("GET", "/api/v1/diff?from=1&to=3", nil, &c); len(c.Added) != 1 || len(c.Updated) != 1 {
		t.Errorf("1 to 3 is %+v", c)
	}
	if code := r.ask("GET", "/api/v1/diff?from=1&to=99", nil, nil); code != http.StatusNotFound {
		t.Errorf("one that is not kept: %d", code)
	}
	var back status.RollbackResult
	if code := r.ask("POST", "/api/v1/rollback", status.RollbackRequest{Generation: 1}, &back); code != http.StatusOK || back.Generation.Number != 4 || len(back.Gateways) != 1 || !back.Gateways[0].InSync {
		t.Fatalf("rolling back: %d, %+v", code, back)
	}
	r.inSync(want{"a": "10.0.0.1:80"})
	d.stop()
	d = r.daemon()
	r.up("c", "10.0.0.4:80")
	eventually(t, 20*time.Second, "it is frozen and ready after the restart", func() bool { st := r.status(); return st.Ready && len(st.Freezes) == 1 })
	r.inSync(want{"a": "10.0.0.1:80"})
	r.ask("DELETE", "/api/v1/freezes/*", nil, nil)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80", "c": "10.0.0.4:80"})
	_ = d
}

// A rollback that nginx does not get is no success.
func TestARollbackSaysWhoDoesNotHaveIt(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80"})
	r.up("a", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80"})
	r.nginx[0].Close()
	began := time.Now()
	call(t, nil, "rollback", "1", "--yes", "--config", r.toml).wants(t, status.ExitOutOfSync,
		"back to generation 1: 0 added, 1 updated, 0 removed", "the guard would hold it: 3 of 4 servers would go",
		"everything is frozen", "gateway gw1: ", "refused")
	if took := time.Since(began); took > patience {
		t.Errorf("it took %s", took)
	}
	d.stop()
	call(t, nil, "rollback", "2", "--yes", "--config", r.toml).wants(t, status.ExitOutOfSync, "back to generation 2: ", "gateway gw1")
}

func TestWhatIsShownIsTrue(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	r.critical("a", "10.0.0.9:80")
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80"})
	eventually(t, 20*time.Second, "ready", func() bool { return r.ask("GET", "/readyz", nil, nil) == http.StatusOK })
	if code := r.ask("GET", "/healthz", nil, nil); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	var e status.Explanation
	if code := r.ask("GET", "/api/v1/upstreams/"+r.prefix+"a", nil, &e); code != http.StatusOK || !e.Written || len(e.Servers) != 2 {
		t.Errorf("explained: %d, %+v", code, e)
	}
	for _, f := range e.Instances {
		in := strings.HasPrefix(f.Addr, "10.0.0.1:")
		if f.In != in || f.Index == 0 || in == strings.Contains(f.Reason.String(), "critical") || !strings.Contains(f.Reason.String(), "check ") {
			t.Errorf("the registry says %+v", f)
		}
	}
	if len(e.Instances) != 2 || !strings.Contains(e.Servers[0].Reason.String(), "is passing") {
		t.Errorf("the registry's reasons are missing: %+v", e)
	}
	if code := r.ask("GET", "/api/v1/upstreams/nobody-has-this", nil, nil); code != http.StatusNotFound {
		t.Errorf("explained one that is not there: %d", code)
	}
	if reg := r.status().Registries[0]; time.Since(reg.Heard) > time.Minute || reg.Heard.Before(reg.Answered.Add(-time.Second)) {
		t.Errorf("the registry was heard at %s, and its answer changed at %s", reg.Heard, reg.Answered)
	}
	r.nginx[0].Hang(true)
	r.up("a", "10.0.0.2:80")
	eventually(t, 20*time.Second, "not ready", func() bool { return r.ask("GET", "/readyz", nil, nil) == http.StatusServiceUnavailable })
	eventually(t, 20*time.Second, "the gateway's error", func() bool {
		st := r.status()
		return !st.Ready && len(st.Reasons) == 1 && st.Gateways[0].Error != "" && strings.Contains(st.Reasons[0].String(), "gateway gw1")
	})
	r.nginx[0].Hang(false)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	eventually(t, 20*time.Second, "ready again", func() bool { return r.status().Ready })

	var plan status.Plan
	if code := r.ask("GET", "/api/v1/plan", nil, &plan); code != http.StatusOK || len(plan.Gateways) != 1 ||
		plan.Gateways[0].Changes.Summary.String() != "no changes" || plan.File.Summary.String() != "no changes" {
		t.Errorf("planned: %d, %+v", code, plan)
	}
	kinds := map[string]int{}
	var timeline struct{ Events []status.Event }
	r.ask("GET", "/api/v1/timeline", nil, &timeline)
	for _, e := range timeline.Events {
		kinds[e.Kind]++
	}
	for _, kind := range []string{"generation", "server_in", "pushed", "in_step", "out_of_step"} {
		if kinds[kind] == 0 {
			t.Errorf("the timeline has no %s: %v", kind, kinds)
		}
	}

	before := r.status().Started
	d.signal(syscall.SIGHUP)
	d.says("the configuration was reloaded")
	eventually(t, 20*time.Second, "the page after a reload", func() bool { return r.status().Ready })
	r.ask("GET", "/api/v1/timeline", nil, &timeline)
	metrics := r.metrics()
	for _, m := range []string{
		"swallowkeeper_in_step 1", `swallowkeeper_config_reloads_total{result="ok"} 1`, "swallowkeeper_build_info{",
		`swallowkeeper_gateway_in_step{gateway="gw1"} 1`, "swallowkeeper_conf_file_writes_total 2", "process_resident_memory_bytes",
		`swallowkeeper_consul_requests_total{`, `swallowkeeper_consul_watches{`, `swallowkeeper_dyups_requests_total{code="2xx",gateway="gw1"`,
	} {
		if !strings.Contains(metrics, m) {
			t.Errorf("not among the metrics: %s", m)
		}
	}
	if !r.status().Started.Equal(before) || len(timeline.Events) < 5 {
		t.Error("a reload forgot what was")
	}
}

func TestASocketThatCannotBeHadStopsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := os.WriteFile(r.socket, []byte("no socket"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.configure()
	r.up("a", "10.0.0.1:80")
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80"})
	d.says("the page and the API can't be served")
}
