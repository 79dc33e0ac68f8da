package statustest

import (
	"fmt"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/status"
	words "swallowkeeper/upstream"
)

// HoldID is the initial hold of [New]: all servers of "billing" and "gallery" would be removed.
const HoldID = "a91f04c2"

// Hostile is the name of an upstream and part of reasons: the worst that a registry may contain.
const Hostile = `<script>alert(1)</script>`

const mostEvents = 1000

// Empty returns a daemon that has just started: nothing is written and no registry has answered.
func Empty() *Fake {
	return &Fake{timeline: status.NewTimeline(mostEvents)}
}

// New returns a daemon in sync at generation 12 with 21 upstreams, four servers out, one hold, one freeze, two gateways
// and six kept generations, one of them damaged.
func New() *Fake {
	f := Empty()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	s := &f.state
	s.Opinion = reason.Text("9 of 82 servers would go")
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
	s.Upstreams[0].Routes = append(s.Upstreams[0].Routes, status.Route{
		Route: "/<b>;x", Upstream: names[0], State: status.Out, Reason: hostile.With("'</code>'"), Code: hostile.Code(), Refused: []status.RefusedRoute{},
	})
	taken := status.NewRoute(route.Route{Host: "shop.example", Path: "/checkout/{id}", Methods: []string{"GET"}, Rewrite: "/v2/{id}", Origin: "consul@127.0.0.1:8500"}, "checkout")
	taken.Reason, taken.Code = listed.With("consul@127.0.0.1:8500"), listed.Code()
	taken.Refused = []status.RefusedRoute{{Gateway: "edge-2", Reason: noRoutes.With(), Code: noRoutes.Code()}}
	s.Upstreams[5].Routes = append(s.Upstreams[5].Routes, taken)
	out := func(i, k int, why reason.Reason, since time.Time) {
		server := &s.Upstreams[i].Servers[k]
		server.State, server.Since = status.Out, since
		server.Because(why)
	}
	out(0, 0, hostile.With(`<img src=x onerror=alert(2)> "quoted" & 'quoted'`), ago(5*time.Minute))
	out(5, 1, check.With(), ago(3*time.Minute))
	out(17, 0, maintenance.With(`"kernel update"`), ago(70*time.Minute))
	out(17, 1, maintenance.With(`"kernel update"`), ago(70*time.Minute))
	down := &s.Upstreams[20].Servers[0]
	down.State = status.Down
	down.Because(markedDown.With())
	f.generations(now)
	s.hold(status.Hold{ID: HoldID, Rule: "max_removal", Since: ago(8 * time.Minute), Routes: []status.HeldRoute{}}, []string{"billing", "gallery"})
	s.Status.Freezes = []status.Freeze{{Name: "coupon", Until: now.Add(2 * time.Hour)}}
	s.markFrozen()
	s.Notes = map[string][]reason.Reason{"billing": {held.With(s.Status.Holds[0].Reason)}}
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

// Large returns a daemon with a number of upstreams, each with a number of servers.
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
	s.write(words.ReadReason("added service-0000"), generation.Signature{})
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
	u := status.Upstream{Name: name, Options: []string{"keepalive 20"}, Routes: []status.Route{}}
	for k := range servers {
		u.Servers = append(u.Servers, status.Server{
			Addr: fmt.Sprintf("10.%d.%d.%d:8080", 20+i/250, i%250, k+11), State: status.In, Reason: listed.With("consul@127.0.0.1:8500"), Code: listed.Code(),
			Options: "max_fails=3 fail_timeout=2s", Origin: "consul@127.0.0.1:8500", Since: since,
		})
	}
	return u
}

// generations keeps generations 7 to 12. Each has one server more in "checkout" than the one before.
func (f *Fake) generations(now time.Time) {
	s := &f.state
	all := s.Upstreams
	reasons := []string{"added account, basket, billing, 17 more", "rolled back to generation 5", "changed mail", "changed billing, catalog", "changed search", "changed account"}
	s.Status.Generation.Number = 6
	for i, why := range reasons {
		s.Upstreams = clone(all)
		checkout := &s.Upstreams[5]
		checkout.Servers = checkout.Servers[:max(1, len(checkout.Servers)-len(reasons)+1+i)]
		s.write(words.ReadReason(why), generation.Signature{})
	}
	s.Upstreams = all
	for i := range s.History {
		s.History[i].Time = now.Add(-time.Duration(i*i*17+3) * time.Minute)
	}
	s.Status.Generation = s.History[0]
	s.History[len(reasons)-1].Summary = reason.Reason{}
	s.History[4].Damaged = "its digest is wrong"
}

// night adds five hours of events, with twelve generations.
func (f *Fake) night(now time.Time, names []string) {
	for i := range 12 {
		at := now.Add(-time.Duration(300-i*24-i%3) * time.Minute)
		name, n := names[(i*5+1)%len(names)], i+1
		told := status.Event{Time: at, Kind: "generation", Generation: n, Text: words.ReadReason("changed " + name)}
		for k := range 1 + i*5%4 {
			addr := fmt.Sprintf("10.20.%d.%d:8080", i%len(names), k+11)
			e := status.Event{Time: at, Kind: "server_in", Generation: n, Upstream: name, Addr: addr, Text: getsTraffic.With(addr, name)}
			if i%3 == 1 {
				e.Kind, e.Text, e.Cause = "server_out", getsNone.With(addr, name), maintenance.With(`"kernel update"`)
				told.Out++
			} else {
				told.In++
			}
			f.Tell(e)
		}
		f.Tell(told)
		for g, took := range []float64{float64(4 + i*i%37), float64(7 + i*i%29)} {
			f.Tell(status.Event{
				Time: at, Kind: "pushed", Gateway: fmt.Sprintf("edge-%d", g+1), Generation: n, TookMS: took, Text: allHave.With(n),
			})
		}
	}
	f.Tell(status.Event{
		Time: now.Add(-8 * time.Minute), Kind: "held", Text: f.state.Status.Holds[0].Reason,
	})
}

// Incident returns a daemon in an incident, with upstreams of four servers each: a lost node has two servers of every
// sixth upstream, whose removal is held, one registry is unreachable, one gateway refuses connections, and some
// upstreams are frozen or in maintenance.
func Incident(upstreams int) *Fake {
	f := Large(upstreams, 4)
	now := time.Now()
	s := &f.state
	names := []string{"cart", "login", "search", "stock", "mail", "billing", "catalog", "payment", "pricing", "session"}
	parts := []string{"api", "web", "worker", "cache", "gateway"}
	h := status.Hold{ID: HoldID, Rule: "max_removal", Since: now.Add(-7 * time.Minute), Routes: []status.HeldRoute{}}
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		u.Name = fmt.Sprintf("%s-%s", names[i%len(names)], parts[i/len(names)%len(parts)])
		if i >= len(names)*len(parts) {
			u.Name += fmt.Sprintf("-%d", i/(len(names)*len(parts)))
		}
		switch {
		case i%6 == 0:
			for k := range u.Servers {
				if server := &u.Servers[k]; k < 2 || i%60 == 0 {
					server.Addr, server.State, server.Since = fmt.Sprintf("10.0.7.7:%d", 20000+len(h.Servers)), status.Held, h.Since
					server.Because(nodeCheck.With(`"serfHealth"`, `"edge-7"`))
					h.Servers = append(h.Servers, status.HeldServer{Upstream: u.Name, Addr: server.Addr, Registered: true})
				}
			}
		case i%47 == 5:
			server := &u.Servers[1]
			server.State, server.Since = status.Out, now.Add(-70*time.Minute)
			server.Because(maintenance.With(`"kernel update"`))
			server.Detail = reason.Text("instance \"" + u.Name + "-2\" on node \"edge-3\"")
		}
	}
	_, h.Of, _ = count(s.Upstreams)
	h.Reason = wouldGo.With(len(h.Servers), h.Of)
	h.Code = h.Reason.Code()
	s.explainHold(&h)
	s.Status.Holds = []status.Hold{h}
	s.Status.Gateways = append(s.Status.Gateways, gateway("edge-2", now, "2201", "2202"))
	behind := &s.Status.Gateways[1]
	behind.InSync, behind.Generation, behind.Since = false, 0, now.Add(-6*time.Minute)
	behind.Error = `Get "http://10.0.0.9:8081/detail": dial tcp 10.0.0.9:8081: connect: connection refused`
	s.Status.Freezes = []status.Freeze{{Name: s.Upstreams[1].Name, Until: now.Add(2 * time.Hour), By: "alice", Why: "deploy 42"}}
	s.markFrozen()
	for i := range 5 {
		n, name := i+2, s.Upstreams[(i*47+5)%upstreams].Name
		at := now.Add(-time.Duration(90-i*15) * time.Minute)
		addr := fmt.Sprintf("10.20.%d.12:8080", i)
		f.Tell(status.Event{
			Time: at, Kind: "server_out", Generation: n, Upstream: name, Addr: addr, Text: getsNone.With(addr, name), Cause: maintenance.With(`"kernel update"`),
		})
		f.Tell(status.Event{Time: at, Kind: "generation", Generation: n, Out: 1, Text: words.ReadReason("changed " + name)})
		f.Tell(status.Event{Time: at, Kind: "pushed", Gateway: "edge-1", Generation: n, TookMS: float64(8 + i), Text: allHave.With(n)})
	}
	f.Tell(status.Event{Time: h.Since, Kind: "held", Text: h.Reason})
	return f
}
