package main

import (
	"cmp"
	"fmt"
	"iter"
	"strings"
	"time"

	"swallowkeeper/internal/nginxconf"
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
	see := lookout{frozen: g.Frozen}
	for u := range g.Set.All() {
		shown = append(shown, see.upstream(u))
	}
	return shown
}

// showGateway also says why the gateway is out of sync, "" where it is.
func showGateway(g syncer.GatewayStatus, newest int) (shown status.Gateway, why string) {
	shown = status.Gateway{
		Name: g.Name, InSync: g.InSync && g.Generation == newest, Generation: g.Generation,
		Checked: g.Checked, Since: g.Since, Workers: []status.Worker{},
	}
	for _, w := range g.Workers {
		worker := status.Worker{ID: w.ID, InSync: shown.InSync && w.Err == nil, Since: w.Since}
		if w.Err != nil {
			worker.Error = printable(w.Err.Error())
		}
		shown.Workers = append(shown.Workers, worker)
	}
	switch {
	case g.Err != nil:
		shown.Error = printable(g.Err.Error())
		why = fmt.Sprintf("gateway %s is out of sync: %s", g.Name, shown.Error)
	case g.Checked.IsZero():
		why = fmt.Sprintf("gateway %s has not been asked yet", g.Name)
	case !shown.InSync:
		why = fmt.Sprintf("gateway %s shows generation %d, the newest is %d", g.Name, g.Generation, newest)
	}
	return shown, why
}

// showUpstreams joins what is accepted with what is left out, one upstream after the other: there
// may be thousands.
func showUpstreams(s *syncer.Syncer) iter.Seq[status.Upstream] {
	st := s.Status()
	see := &lookout{frozen: st.Generation.Frozen, since: s.Since(), heldSince: st.HeldSince}
	if st.Hold != nil {
		see.held = map[syncer.Held]bool{}
		for _, r := range st.Hold.Removed {
			see.held[r] = true
		}
	}
	left := map[string][]upstream.Out{} // by the name of the upstream in lower case
	var names []string                  // in the order of their first
	for _, o := range st.Out {
		name := strings.ToLower(cmp.Or(o.Upstream, o.Service))
		if _, there := left[name]; !there {
			names = append(names, name)
		}
		left[name] = append(left[name], o)
	}
	return func(yield func(status.Upstream) bool) {
		for u := range st.Generation.Set.All() {
			shown := see.upstream(u)
			for _, o := range left[strings.ToLower(u.Name)] {
				see.leave(&shown, o)
			}
			if !yield(shown) {
				return
			}
		}
		// A service of which nothing is in traffic has no upstream, and still a place here.
		for _, name := range names {
			if _, there := st.Generation.Set.Get(name); there {
				continue
			}
			first := left[name][0]
			shown := status.Upstream{
				Name: printable(cmp.Or(first.Upstream, first.Service)), Options: []string{}, Servers: []status.Server{},
			}
			for _, o := range left[name] {
				see.leave(&shown, o)
			}
			if !yield(shown) {
				return
			}
		}
	}
}

// lookout is what has to be known to say why a server is in or out, and since when. Of what it does
// not have it says nothing.
type lookout struct {
	frozen    []upstream.Freeze
	held      map[syncer.Held]bool
	heldSince time.Time
	since     syncer.Since

	body           []byte // used again for each upstream
	origin, listed string // the last server's, and the words for it: most have the same
}

// leave adds an instance that is out, or says of one that is in why it would be out.
func (l *lookout) leave(u *status.Upstream, o upstream.Out) {
	for i, s := range u.Servers {
		if o.Addr != "" && s.Addr == o.Addr {
			u.Servers[i].Reason = printable(o.Reason)
			if s.State == status.In {
				u.Servers[i].State, u.Servers[i].Since = status.Held, l.since.Out(o)
			}
			return
		}
	}
	u.Servers = append(u.Servers, status.Server{
		Addr: printable(o.Addr), State: status.Out, Reason: printable(o.Reason), Since: l.since.Out(o),
	})
}

func (l *lookout) upstream(u upstream.Upstream) status.Upstream {
	frozen := frozenBy(l.frozen, u.Name)
	shown := status.Upstream{
		Name: u.Name, Canary: u.Canary, Frozen: frozen != "",
		Options: []string{}, Servers: make([]status.Server, 0, len(u.Servers)),
	}
	for _, s := range u.Servers {
		server := l.server(u.Name, s)
		if frozen != "" && server.State == status.In {
			server.State, server.Reason, server.Since = status.Frozen, frozen, time.Time{}
		}
		shown.Servers = append(shown.Servers, server)
	}
	l.body = nginxconf.AppendBody(l.body[:0], u)
	i := 0
	for line := range strings.SplitSeq(strings.TrimSpace(string(l.body)), "\n") {
		directive := strings.TrimSuffix(line, ";")
		if text, ok := strings.CutPrefix(directive, "server "); ok {
			_, shown.Servers[i].Options, _ = strings.Cut(text, " ")
			i++
		} else if directive != "" {
			shown.Options = append(shown.Options, directive)
		}
	}
	return shown
}

func (l *lookout) server(name string, s upstream.Server) status.Server {
	id := syncer.Held{Upstream: name, Addr: s.Addr}
	if l.listed == "" || l.origin != s.Origin {
		l.origin, l.listed = s.Origin, "listed as usable by "+s.Origin
	}
	shown := status.Server{Addr: s.Addr.String(), State: status.In, Reason: l.listed, Origin: s.Origin, Since: l.since.In(id)}
	switch {
	case s.Down:
		shown.State, shown.Reason = status.Down, "marked down: its service is deregistered"
	case l.held[id]:
		shown.State, shown.Since = status.Held, l.heldSince
		shown.Reason = "gone from its registry, and the guard holds the removal"
	}
	return shown
}

// frozenBy says how an upstream is frozen, "" where it is not.
func frozenBy(freezes []upstream.Freeze, name string) string {
	for _, f := range freezes {
		if f.Name == "" || upstream.SameName(f.Name, name) {
			return "frozen " + frozenUntil(f.Until)
		}
	}
	return ""
}

// frozenUntil says until when; the zero time is until a person ends the freeze.
func frozenUntil(t time.Time) string {
	if t.IsZero() {
		return "until it is released"
	}
	return "until " + when(t)
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
