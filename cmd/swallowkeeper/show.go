package main

import (
	"fmt"
	"strings"
	"time"

	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// What follows turns what the parts say into the API's words.

func showGeneration(g upstream.Generation) status.Generation {
	return status.Generation{
		Number: g.Number, Time: g.Time, Digest: g.Digest, Reason: g.Reason,
		Upstreams: g.Set.Len(), Servers: g.Set.Servers(),
	}
}

func showHold(h *syncer.Hold, since time.Time) *status.Hold {
	if h == nil {
		return nil
	}
	shown := &status.Hold{ID: h.ID, Rule: h.Rule, Reason: h.Reason, Since: since, Servers: []status.HeldServer{}, Of: h.Of}
	for _, r := range h.Removed {
		shown.Servers = append(shown.Servers, status.HeldServer{Upstream: r.Upstream, Addr: r.Addr.String()})
	}
	return shown
}

func showFreezes(freezes []upstream.Freeze) []status.Freeze {
	shown := make([]status.Freeze, 0, len(freezes))
	for _, f := range freezes {
		name := f.Name
		if name == "" {
			name = status.Everything
		}
		shown = append(shown, status.Freeze{Name: name, Until: f.Until})
	}
	return shown
}

// showSet is what a generation has, where nothing else is known.
func showSet(g upstream.Generation) []status.Upstream {
	shown := make([]status.Upstream, 0, g.Set.Len())
	for u := range g.Set.All() {
		shown = append(shown, showUpstream(u, syncer.Status{Generation: g}, nil, nil).Upstream)
	}
	return shown
}

// showGateway also says why the gateway is not in step, "" where it is.
func showGateway(g syncer.GatewayStatus, newest int) (shown status.Gateway, why string) {
	shown = status.Gateway{
		Name: g.Name, InStep: g.InStep && g.Generation == newest, Generation: g.Generation,
		Checked: g.Checked, Since: g.Since, Workers: []status.Worker{},
	}
	for _, w := range g.Workers {
		worker := status.Worker{ID: w.ID, InStep: shown.InStep && w.Err == nil, Since: w.Since}
		if w.Err != nil {
			worker.Error = printable(w.Err.Error())
		}
		shown.Workers = append(shown.Workers, worker)
	}
	switch {
	case g.Err != nil:
		shown.Error = printable(g.Err.Error())
		why = fmt.Sprintf("gateway %s is not in step: %s", g.Name, shown.Error)
	case g.Checked.IsZero():
		why = fmt.Sprintf("gateway %s has not been asked yet", g.Name)
	case !shown.InStep:
		why = fmt.Sprintf("gateway %s shows generation %d, the newest is %d", g.Name, g.Generation, newest)
	}
	return shown, why
}

// showUpstreams joins what is accepted with what is left out.
func showUpstreams(s *syncer.Syncer) []status.Upstream {
	st := s.Status()
	in, out := s.Since()
	held := map[syncer.Held]bool{}
	if st.Hold != nil {
		for _, r := range st.Hold.Removed {
			held[r] = true
		}
	}
	left := map[string][]upstream.Out{}
	for _, o := range st.Out {
		name := o.Upstream
		if name == "" {
			name = o.Service
		}
		left[strings.ToLower(name)] = append(left[strings.ToLower(name)], o)
	}
	shown := make([]status.Upstream, 0, st.Generation.Set.Len())
	for u := range st.Generation.Set.All() {
		v := showUpstream(u, st, held, in)
		for _, o := range left[strings.ToLower(u.Name)] {
			v.leave(o, out[o])
		}
		delete(left, strings.ToLower(u.Name))
		shown = append(shown, v.Upstream)
	}
	// A service of which nothing is in traffic has no upstream, and still a place here.
	for _, o := range st.Out {
		name := o.Upstream
		if name == "" {
			name = o.Service
		}
		rest, there := left[strings.ToLower(name)]
		if !there {
			continue
		}
		delete(left, strings.ToLower(name))
		v := view{status.Upstream{Name: printable(name), Options: []string{}, Servers: []status.Server{}}}
		for _, o := range rest {
			v.leave(o, out[o])
		}
		shown = append(shown, v.Upstream)
	}
	return shown
}

type view struct{ status.Upstream }

// leave adds an instance that is out, or says of one that is in why it would be out.
func (v *view) leave(o upstream.Out, since time.Time) {
	for i, s := range v.Servers {
		if o.Addr != "" && s.Addr == o.Addr {
			v.Servers[i].Reason = printable(o.Reason)
			if s.State == status.In {
				v.Servers[i].State = status.Held
			}
			return
		}
	}
	v.Servers = append(v.Servers, status.Server{
		Addr: printable(o.Addr), State: status.Out, Reason: printable(o.Reason), Since: since,
	})
}

func showUpstream(u upstream.Upstream, st syncer.Status, held map[syncer.Held]bool, in map[syncer.Held]time.Time) view {
	frozen := ""
	for _, f := range st.Generation.Frozen {
		if f.Name == "" || upstream.SameName(f.Name, u.Name) {
			frozen = "frozen until it is released"
			if !f.Until.IsZero() {
				frozen = "frozen until " + when(f.Until)
			}
		}
	}
	v := view{status.Upstream{
		Name: u.Name, Canary: u.Canary, Frozen: frozen != "",
		Options: []string{}, Servers: make([]status.Server, 0, len(u.Servers)),
	}}
	var options []string
	for _, l := range lines(u) {
		if text, ok := strings.CutPrefix(l, "server "); ok {
			_, text, _ = strings.Cut(text, " ")
			options = append(options, strings.TrimSuffix(text, ";"))
		} else {
			v.Options = append(v.Options, strings.TrimSuffix(l, ";"))
		}
	}
	for i, s := range u.Servers {
		id := syncer.Held{Upstream: u.Name, Addr: s.Addr}
		shown := status.Server{
			Addr: s.Addr.String(), State: status.In, Reason: "listed as usable by " + s.Origin,
			Origin: s.Origin, Since: in[id],
		}
		if i < len(options) {
			shown.Options = options[i]
		}
		switch {
		case s.Down:
			shown.State, shown.Reason = status.Down, "marked down: its service is deregistered"
		case held[id]:
			shown.State, shown.Reason = status.Held, "gone from its registry, and the guard holds the removal"
		case frozen != "":
			shown.State, shown.Reason = status.Frozen, frozen
		}
		v.Servers = append(v.Servers, shown)
	}
	return v
}

func showPlan(out syncer.Outcome) status.Plan {
	p := status.Plan{File: showChanges(out.Written), Hold: showHold(out.Hold, time.Time{}), Gateways: []status.GatewayPlan{}}
	for _, g := range out.Gateways {
		shown := status.GatewayPlan{Name: g.Name, Changes: showChanges(g.Changes)}
		if g.Err != nil {
			shown.Error = printable(g.Err.Error())
		}
		p.Gateways = append(p.Gateways, shown)
	}
	return p
}

func showChanges(c upstream.Changes) status.Changes {
	r := status.Changes{
		Summary: summary(c),
		Added:   []status.ChangedLines{}, Updated: []status.UpstreamChange{}, Removed: []status.ChangedLines{},
	}
	for _, u := range c.Added {
		r.Added = append(r.Added, status.ChangedLines{Name: u.Name, Lines: lines(u)})
	}
	for _, u := range c.Updated {
		in, gone := lineDiff(u)
		r.Updated = append(r.Updated, status.UpstreamChange{Name: u.New.Name, In: in, Out: gone})
	}
	for _, u := range c.Removed {
		r.Removed = append(r.Removed, status.ChangedLines{Name: u.Name, Lines: lines(u)})
	}
	return r
}
