package status_test

import (
	"slices"
	"testing"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// TestJudge holds every consumer's words and code to one table.
func TestJudge(t *testing.T) {
	now := time.Now()
	good := func() status.Status {
		return status.Status{
			InSync: true, Ready: true,
			Registries: []status.Registry{{Name: "dc", Answered: now}}, Gateways: []status.Gateway{{Name: "edge", InSync: true}},
		}
	}
	dead := func(s *status.Status) { s.Gateways[0].InSync, s.InSync, s.Ready = false, false, false }
	unread := func(s *status.Status) { s.Registries[0].Trouble, s.Ready = "refused", false }
	unwritten := func(s *status.Status) { s.FileError, s.InSync, s.Ready = "disk full", false, false }
	held := func(s *status.Status) {
		s.Holds = []status.Hold{{ID: "a", Servers: []status.HeldServer{{Upstream: "web"}, {Upstream: "web"}}}}
	}
	waits := func(s *status.Status) { s.Holds = []status.Hold{{ID: "a"}} }
	unserved := func(names ...string) func(*status.Status) {
		return func(s *status.Status) {
			for _, name := range names {
				s.Unserved = append(s.Unserved, status.Unserved{Upstream: name, Servers: 1})
			}
		}
	}
	frozen := func(names ...string) func(*status.Status) {
		return func(s *status.Status) {
			for _, name := range names {
				s.Freezes = append(s.Freezes, status.Freeze{Name: name})
			}
		}
	}
	damaged := func(s *status.Status) { s.DamagedFile = "/u.conf.damaged-1" }
	type changes []func(*status.Status)
	for _, c := range []struct {
		name   string
		change changes
		want   status.Verdict
	}{
		{"all is well", nil, status.Verdict{Level: "ok", Code: "in_step", Text: reason.Text("in sync")}},
		{"no healthy server", changes{unserved("web")}, status.Verdict{Level: "bad", Code: "no_healthy_server", Text: reason.Text("in sync, but web has no healthy server"), ExitCode: 3}},
		{
			"many have none",
			changes{unserved("a", "b", "c", "d", "e")},
			status.Verdict{Level: "bad", Code: "no_healthy_server", Text: reason.Text("in sync, but 5 upstreams have no healthy server: a, b, c, 2 more"), ExitCode: 3},
		},
		{"held", changes{held}, status.Verdict{Level: "warn", Code: "held", Text: reason.Text("in sync, but the guard holds 2 changes"), ExitCode: 3}},
		{"held, and nothing would go", changes{waits}, status.Verdict{Level: "warn", Code: "held", Text: reason.Text("in sync, but the guard holds 1 change"), ExitCode: 3}},
		{"both", changes{held, unserved("web")}, status.Verdict{
			Level: "bad", Code: "no_healthy_server", Text: reason.Text("in sync, but web has no healthy server; the guard holds 2 changes"), ExitCode: 3,
		}},
		{"the gateway is dead", changes{dead}, status.Verdict{Level: "bad", Code: "not_in_step", Text: reason.Text("out of sync"), ExitCode: 4}},
		{"the gateway is dead, and a hold", changes{dead, held}, status.Verdict{
			Level: "bad", Code: "not_in_step", Text: reason.Text("out of sync; the guard holds 2 changes"), ExitCode: 4,
		}},
		{"a registry can't be read", changes{unread}, status.Verdict{Level: "warn", Code: "not_ready", Text: reason.Text("in sync, but not ready"), ExitCode: 1}},
		{"all of it", changes{unread, dead, held, frozen("*"), unserved("web")}, status.Verdict{
			Level: "bad", Code: "not_in_step", Text: reason.Text("out of sync; web has no healthy server; the guard holds 2 changes"), ExitCode: 1,
		}},
		{"the file can't be written", changes{unwritten, held}, status.Verdict{
			Level: "bad", Code: "not_written", Text: reason.Text("the conf file can't be written; the guard holds 2 changes"), ExitCode: 1,
		}},
		{"the file was damaged", changes{damaged, frozen("web")}, status.Verdict{Level: "warn", Code: "was_damaged", Text: reason.Text("in sync, but the conf file was damaged")}},
		{"it was, and a registry can't be read", changes{damaged, unread}, status.Verdict{
			Level: "warn", Code: "not_ready", Text: reason.Text("in sync, but not ready; the conf file was damaged"), ExitCode: 1,
		}},
		{"everything is frozen", changes{frozen("web", "*")}, status.Verdict{Level: "warn", Code: "frozen", Text: reason.Text("in sync, and everything is frozen")}},
		{"some is frozen", changes{frozen("web", "api")}, status.Verdict{Level: "warn", Code: "frozen_some", Text: reason.Text("in sync, and frozen: web, api")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good()
			for _, change := range c.change {
				change(&s)
			}
			got := status.Judge(s)
			got.Text = reason.Text(got.Text.String())
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestTrouble(t *testing.T) {
	up := func(name string, states ...string) status.Upstream {
		u := status.Upstream{Name: name, Frozen: slices.Contains(states, status.Frozen)}
		for _, state := range states {
			u.Servers = append(u.Servers, status.Server{State: state})
		}
		u.Trouble = status.Trouble(u, name == "dead")
		return u
	}
	all := []status.Upstream{
		up("fine", status.In), up("frozen", status.Frozen), up("b-some", status.In, status.In, status.Down), up("a-some", status.In, status.In, status.Out),
		up("most", status.In, status.Out), up("kept", status.Held, status.In), up("dead", status.Held),
	}
	slices.SortFunc(all, status.CompareTrouble)
	var names []string
	for _, u := range all {
		names = append(names, u.Name)
	}
	if want := []string{"dead", "kept", "most", "a-some", "b-some", "frozen", "fine"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestActivityCountsBeyondTheEvents has more happen than are kept.
func TestActivityCountsBeyondTheEvents(t *testing.T) {
	timeline := status.NewTimeline(10)
	began := time.Now().Truncate(10 * time.Second)
	timeline.Add(status.Event{Time: began.Add(-7 * time.Hour), Kind: "generation", In: 1000})
	for i := range 500 {
		timeline.Add(status.Event{Time: began, Kind: "generation", Generation: i, In: 3, Out: 2})
		timeline.Add(status.Event{Time: began.Add(10 * time.Second), Kind: "pushed", TookMS: float64(i + 1)})
		timeline.Add(status.Event{Time: began, Kind: "server_in"})
	}
	got := timeline.Activity()
	if len(got) != 2 || got[0].In != 1500 || got[0].Out != 1000 || got[0].Generations != 500 || len(got[0].TookMS) != 0 {
		t.Fatalf("%+v", got)
	}
	if took := got[1].TookMS; len(took) != 20 || slices.Max(took) != 500 {
		t.Errorf("took %v", took)
	}
}
