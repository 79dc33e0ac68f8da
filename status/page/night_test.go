package page_test

import (
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// hostileReason is hostile as a reason.
var hostileReason = reason.Text(hostile)

const hostile = `<img src=x onerror="alert(1)"></script><script>alert(2)</script>"'{{.}}`

// quiet returns a daemon in sync at generation 12, nothing held and nothing frozen, three servers out.
func quiet() *statustest.Fake {
	f := statustest.New()
	f.Change(func(s *statustest.State) {
		s.Status.Holds, s.Status.Freezes = nil, nil
		s.Upstreams = s.Upstreams[1:] // the hostile one has a test of its own
		for i := range s.Upstreams {
			u := &s.Upstreams[i]
			u.Frozen = false
			for k := range u.Servers {
				if server := &u.Servers[k]; server.State == status.Held || server.State == status.Frozen {
					server.State, server.Reason = status.In, reason.Text("listed as usable by consul@127.0.0.1:8500")
				}
			}
		}
	})
	return f
}

// hold holds what is in two upstreams.
func hold(f *statustest.Fake) { f.Hold(statustest.HoldID, "billing", "catalog") }

// lose takes a server out of traffic.
func lose(upstream, server int, why reason.Reason) func(*statustest.State) {
	return func(s *statustest.State) {
		out := &s.Upstreams[upstream].Servers[server]
		out.State, out.Reason, out.Since = status.Out, why, time.Now()
	}
}

// beHostile puts markup wherever a registry, a gateway or an error may put text.
func beHostile(s *statustest.State) {
	s.Upstreams[0].Name, s.Upstreams[0].Canary = hostile, hostile
	s.Upstreams[0].Options = []string{hostile}
	s.Upstreams[0].Servers[0] = status.Server{
		Addr: hostile, State: status.Out, Reason: hostileReason, Options: hostile, Origin: hostile,
	}
	s.Findings = map[string][]status.Finding{hostile: {{Registry: hostile, Addr: hostile, Reason: hostileReason}}}
	s.Notes = map[string][]reason.Reason{hostile: {hostileReason}}
	s.Status.Holds = []status.Hold{{
		ID: hostile, Rule: hostile, Reason: hostileReason,
		Servers: []status.HeldServer{{Upstream: hostile, Addr: hostile}},
	}}
	s.Status.Freezes = []status.Freeze{{Name: hostile}}
	s.Status.Gateways[0].Name, s.Status.Gateways[0].Error = hostile, hostile
	s.Status.Gateways[0].Workers[0] = status.Worker{ID: hostile, Error: hostile}
	s.Status.Registries[0] = status.Registry{Name: hostile, Trouble: hostile}
	s.History[0].Reason, s.History[0].Summary, s.History[0].Damaged = hostileReason, hostileReason, hostile
	s.Status.Generation = s.History[0]
	s.Status.Version, s.Status.File, s.Status.FileError = hostile, hostile, hostile
}
