package statustest

import (
	"fmt"
	"time"

	"swallowkeeper/status"
	words "swallowkeeper/upstream"
)

// HoldID is the hold that [New] begins with: all servers of "billing" and "gallery" would go.
const HoldID = "a91f04c2"

// Hostile is the name of an upstream, and stands in reasons: what a registry may hold at its worst.
const Hostile = `<script>alert(1)</script>`

const mostEvents = 1000

// Empty is a daemon that has just started: nothing is written and no registry has answered.
func Empty() *Fake {
	return &Fake{timeline: status.NewTimeline(mostEvents)}
}

// New is a daemon in sync at generation 12 with 21 upstreams, four servers out, one hold, one freeze, two
// gateways and six generations kept, one of them damaged.
func New() *Fake {
	f := Empty()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	s := &f.state
	s.Opinion = "9 of 82 servers would go"
	s.Status = status.Status{
		Version: "1.4.0", Started: ago(9 * time.Hour), File: "/etc/nginx/conf.d/dyups.upstream.conf",
		Gateways: []status.Gateway{
			gateway("edge-1", now, "4711", "4712", "4713", "4714"), gateway("edge-2", now, "2201", "2202"),
		},
		Registries: []status.Registry{{Name: "consul@127.0.0.1:8500", Answered: ago(3 * time.Minute), Heard: ago(40 * time.Second)}},
	}
	names := []string{
		Hostile, "account", "basket", "billing", "catalog", "checkout", "coupon", "delivery", "gallery", "invoice",
		"login", "mail", "orders", "payment", "pricing", "profile", "ratings", "search", "session", "shipping", "stock",
	}
	for i, name := range names {
		s.Upstreams = append(s.Upstreams, upstream(name, i, 2+i*7%5, ago(7*time.Hour)))
	}
	s.Upstreams[5] = upstream("checkout", 5, 8, ago(7*time.Hour))
	s.Upstreams[7].Canary = "b"
	out := func(i, k int, reason string, since time.Time) {
		server := &s.Upstreams[i].Servers[k]
		server.State, server.Reason, server.Since = status.Out, reason, since
	}
	out(0, 0, `check "http" is critical: <img src=x onerror=alert(2)> "quoted" & 'quoted'`, ago(5*time.Minute))
	out(5, 1, `check "http" is critical`, ago(3*time.Minute))
	out(17, 0, `it is in maintenance: "kernel update"`, ago(70*time.Minute))
	out(17, 1, `it is in maintenance: "kernel update"`, ago(70*time.Minute))
	down := &s.Upstreams[20].Servers[0]
	down.State, down.Reason = status.Down, "marked down: its service is deregistered"
	f.generations(now)
	s.hold(status.Hold{ID: HoldID, Rule: "max_removal", Since: ago(8 * time.Minute)}, []string{"billing", "gallery"})
	s.Status.Freezes = []status.Freeze{{Name: "coupon", Until: now.Add(2 * time.Hour)}}
	s.markFrozen()
	s.Notes = map[string][]string{"billing": {"held: " + s.Status.Holds[0].Reason}}
	s.Plan = status.Plan{
		File: diff(s.Sets[11], s.Sets[12]), Hold: &s.Status.Holds[0],
		Gateways: []status.GatewayPlan{
			{Name: "edge-1", InSync: true, Changes: diff(s.Sets[12], s.Sets[12])},
			{Name: "edge-2", Changes: diff(s.Sets[10], s.Sets[12]), Error: "worker 2202 does not answer"},
		},
	}
	f.night(now, names)
	return f
}

// Large is a daemon with so many upstreams of so many servers each.
func Large(upstreams, servers int) *Fake {
	f := Empty()
	now := time.Now()
	s := &f.state
	s.Status = status.Status{
		Version: "1.4.0", Started: now.Add(-time.Hour), File: "/etc/nginx/conf.d/dyups.upstream.conf",
		Gateways:   []status.Gateway{gateway("edge-1", now, "4711", "4712")},
		Registries: []status.Registry{{Name: "consul@127.0.0.1:8500", Answered: now, Heard: now}},
	}
	for i := range upstreams {
		s.Upstreams = append(s.Upstreams, upstream(fmt.Sprintf("service-%05d", i), i, servers, now.Add(-time.Hour)))
	}
	s.write("added service-0000", words.Signature{})
	return f
}

func gateway(name string, now time.Time, pids ...string) status.Gateway {
	g := status.Gateway{Name: name, InSync: true, Checked: now.Add(-4 * time.Second), Since: now.Add(-5 * time.Hour)}
	for _, pid := range pids {
		g.Workers = append(g.Workers, status.Worker{ID: pid, InSync: true, Since: now.Add(-9 * time.Hour)})
	}
	return g
}

func upstream(name string, i, servers int, since time.Time) status.Upstream {
	u := status.Upstream{Name: name, Options: []string{"keepalive 20"}}
	for k := range servers {
		u.Servers = append(u.Servers, status.Server{
			Addr: fmt.Sprintf("10.%d.%d.%d:8080", 20+i/250, i%250, k+11), State: status.In, Reason: "listed as usable by consul@127.0.0.1:8500",
			Options: "max_fails=3 fail_timeout=2s", Origin: "consul@127.0.0.1:8500", Since: since,
		})
	}
	return u
}

// generations keeps 7 to 12, of which each has one server more than the one before in "checkout".
func (f *Fake) generations(now time.Time) {
	s := &f.state
	all := s.Upstreams
	reasons := []string{"added account, basket, billing, 17 more", "rolled back to generation 5", "changed mail", "changed billing, catalog", "changed search", "changed account"}
	s.Status.Generation.Number = 6
	for i, reason := range reasons {
		s.Upstreams = clone(all)
		checkout := &s.Upstreams[5]
		checkout.Servers = checkout.Servers[:max(1, len(checkout.Servers)-len(reasons)+1+i)]
		s.write(reason, words.Signature{})
	}
	s.Upstreams = all
	for i := range s.History {
		s.History[i].Time = now.Add(-time.Duration(i*i*17+3) * time.Minute)
	}
	s.Status.Generation = s.History[0]
	s.History[len(reasons)-1].Summary = ""
	s.History[4].Damaged = "its digest is wrong"
}

// night tells of five hours.
func (f *Fake) night(now time.Time, names []string) {
	for i := range 40 {
		at := now.Add(-time.Duration(300-i*7-i%3) * time.Minute)
		name := names[i%len(names)]
		kind, text := "server_out", "gets no traffic any more of"
		if i%3 != 1 {
			kind, text = "server_in", "gets traffic of"
		}
		for k := range 1 + i*5%4 {
			addr := fmt.Sprintf("10.20.%d.%d:8080", i%len(names), k+11)
			f.Tell(status.Event{
				Time: at, Kind: kind, Generation: 7 + i/7, Upstream: name, Addr: addr,
				Text: fmt.Sprintf("%s %s %s", addr, text, name),
			})
		}
		n := 7 + i/7
		told := status.Event{Time: at, Kind: "generation", Generation: n, Text: "changed " + name}
		if kind == "server_in" {
			told.In = 1 + i*5%4
		} else {
			told.Out = 1 + i*5%4
		}
		f.Tell(told)
		if i%7 == 0 {
			f.Tell(status.Event{
				Time: at, Kind: "pushed", Gateway: "edge-1", Generation: n, TookMS: float64(4 + i*i%37),
				Text: fmt.Sprintf("all of its workers have generation %d", n),
			})
		}
	}
	f.Tell(status.Event{
		Time: now.Add(-8 * time.Minute), Kind: "held", Text: f.state.Status.Holds[0].Reason,
	})
}
