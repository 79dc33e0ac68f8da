package main

import (
	"net/http"
	"strings"
	"testing"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
)

// A service of which no instance is healthy keeps its last servers, and everything is in sync: that is an
// incident all the same, and whoever looks must see it first.
func TestAServiceWithoutAHealthyServerIsAnIncident(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url := r.page()
	r.configure()
	dead := r.prefix + "a"
	r.up("a", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	r.up("b", "10.0.0.4:80")
	r.daemon()
	all := want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80", "b": "10.0.0.4:80"}
	r.inSync(all)
	eventually(t, patience, "ready", func() bool {
		return r.status().Verdict == status.Verdict{Level: "ok", Code: "in_step", Text: reason.Text("in sync")}
	})
	// They are down first, so that no check is the last one with a server that is up.
	all["a"] = "10.0.0.1:80 10.0.0.2:80"
	r.gone("a", "10.0.0.3:80")
	r.inSync(all)
	if out := r.told("server_out"); len(out) != 1 || !strings.HasSuffix(out[0].Text.String(), ": no registry lists it there now") {
		t.Errorf("the event does not say why: %+v", out)
	}
	freeze := status.FreezeRequest{Name: dead}
	if code := r.ask("POST", "/api/v1/freezes", freeze, nil); code != http.StatusOK {
		t.Fatalf("freezing: %d", code)
	}
	r.critical("a", "10.0.0.1:80", "10.0.0.2:80")
	eventually(t, patience, "it is named", func() bool { return len(r.status().Unserved) == 1 })
	if code := r.ask("DELETE", "/api/v1/freezes/"+dead, nil, nil); code != http.StatusOK {
		t.Fatalf("releasing: %d", code)
	}
	eventually(t, patience, "nothing is frozen", func() bool { return len(r.status().Freezes) == 0 })

	st := r.status()
	if st.Verdict.Code != status.NoHealthyServer || st.Verdict.Level != status.LevelBad || !st.Ready || !st.InSync ||
		st.Unserved[0].Upstream != dead || st.Unserved[0].Servers != 2 || len(st.Unserved[0].Reasons) == 0 {
		t.Errorf("status %+v", st)
	}
	got := r.command("status")
	got.wants(t, status.ExitHeld)
	lines := strings.Split(got.stdout, "\n")
	if !strings.HasPrefix(lines[0], "in sync, but "+dead+" has no healthy server") ||
		!strings.HasPrefix(lines[1], "no healthy server: "+dead+": 2 still receive traffic: ") {
		t.Errorf("status says\n%s", got.stdout)
	}
	r.command("upstreams").wants(t, status.ExitInSync, dead+": 2 in, 0 out, no healthy server")
	if text := r.metrics(); !strings.Contains(text, "\nswallowkeeper_upstreams_without_healthy_server 1\n") ||
		!strings.Contains(text, "\nswallowkeeper_kept_servers 2\n") {
		t.Errorf("metrics %s", text)
	}
	page, code := get(t, url, "")
	if code != http.StatusOK || !strings.Contains(page, `class="verdict bad"`) || !strings.Contains(page, dead+" has no healthy server") {
		t.Errorf("the page: %d %s", code, page)
	}
	row := func(name string) int { return strings.Index(page, `<a href="#/upstream/`+name) }
	if i, j := row(dead), row(r.prefix+"b"); i < 0 || j < i {
		t.Errorf("%s is not the first of the page: %d, %d", dead, i, j)
	}

	r.gone("a", "10.0.0.2:80") // one that was critical goes for good, while nothing is healthy
	var e status.Explanation
	eventually(t, patience, "it is said to be deregistered", func() bool {
		r.ask("GET", "/api/v1/upstreams/"+dead, nil, &e)
		return len(e.Servers) == 2 && e.Servers[1].State == status.Held &&
			e.Servers[1].Reason.String() == "deregistered, kept by the guard because its service has no healthy server"
	})
	if e.Servers[0].State != status.Held || !strings.Contains(e.Servers[0].Reason.String(), "critical") {
		t.Errorf("the one that is critical: %+v", e.Servers[0])
	}

	r.up("a", "10.0.0.1:80")
	all["a"] = "10.0.0.1:80"
	r.inSync(all)
	eventually(t, patience, "it is over", func() bool { return r.status().Verdict.Level == status.LevelOK })
	r.command("status").wants(t, status.ExitInSync)
	if n := len(r.told(syncer.EventUnserved)); n != 1 || len(r.told(syncer.EventServed)) != 1 {
		t.Errorf("%d events tell of it", n)
	}
}

// told is the events of a kind.
func (r *rig) told(kind string) []status.Event {
	r.t.Helper()
	var timeline struct{ Events []status.Event }
	r.ask("GET", "/api/v1/timeline", nil, &timeline)
	var all []status.Event
	for _, e := range timeline.Events {
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// A hold tells what is deregistered from what is registered and critical, and a dead gateway comes before it.
func TestAHoldCountsWhatItKeepsApart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.extra = "[guard]\non_unhealthy = \"remove\"\n" // else most of them stay without a hold
	r.configure()
	r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80"})
	r.gone("a", "10.0.0.1:80")
	r.critical("a", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
	r.daemon()
	eventually(t, patience, "a hold", func() bool { st := r.status(); return len(st.Holds) == 1 && len(st.Holds[0].Servers) == 4 && st.InSync })
	gone, unusable := status.CountHeld(r.status().Holds[0])
	if gone != 1 || unusable != 3 {
		t.Errorf("%d deregistered, %d not usable", gone, unusable)
	}
	got := r.command("status")
	got.wants(t, status.ExitHeld, "4 servers stay: 1 deregistered, 3 registered but not usable")
	if !strings.HasPrefix(got.stdout, "in sync, but the guard holds 4 changes") {
		t.Errorf("status says\n%s", got.stdout)
	}
	r.nginx[0].Close()
	eventually(t, patience, "the gateway is gone", func() bool { return !r.status().InSync })
	r.command("status").wants(t, status.ExitOutOfSync, "out of sync; the guard holds 4 changes")
}

// A rollback to what is written already is no reason to freeze everything.
func TestARollbackToThePresentChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	d := r.daemon()
	r.inSync(want{"a": "10.0.0.1:80"})
	before := r.read()
	var back status.RollbackResult
	if code := r.ask("POST", "/api/v1/rollback", status.RollbackRequest{Generation: 1}, &back); code != http.StatusOK || !back.Present || back.Generation.Number != 1 {
		t.Errorf("%d %+v", code, back)
	}
	r.command("rollback", "1", "--yes").wants(t, status.ExitInSync, "generation 1 is the current one: nothing is changed and nothing is frozen")
	d.stop()
	r.command("rollback", "1", "--yes").wants(t, status.ExitInSync, "generation 1 is the current one: nothing is changed and nothing is frozen")
	if now := r.read(); now.Number != before.Number || len(now.Frozen) != 0 {
		t.Errorf("generation %+v", now)
	}
}
