package operate

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// The rest of the file converts values of the parts into types of the API.

// ShowGeneration returns a generation without its changes.
func ShowGeneration(g generation.Generation) status.Generation {
	return status.Generation{
		Number: g.Number, Time: g.Time, Digest: g.Digest, Reason: g.Reason, By: g.Signed.By, Why: g.Signed.Why,
		Upstreams: g.Set.Len(), Servers: g.Set.Servers(),
	}
}

// ShowDamaged reports that the conf file was damaged: it was replaced from the history, and its freezes are lost. It is
// reported as long as the damaged file exists, and does not affect readiness.
func ShowDamaged(st *status.Status, aside []string) {
	if len(aside) == 0 {
		return
	}
	st.DamagedFile = aside[len(aside)-1]
	st.Reasons = append(st.Reasons, fileDamaged.With(st.DamagedFile))
}

func showFreezes(freezes []generation.Freeze) []status.Freeze {
	shown := make([]status.Freeze, 0, len(freezes))
	for _, f := range freezes {
		shown = append(shown, status.Freeze{Name: f.Name.String(), Until: f.Until, By: f.Signed.By, Why: f.Signed.Why})
	}
	return shown
}

// showSet returns the upstreams of a generation when nothing else is known.
func showSet(g generation.Generation, refused refusals) []status.Upstream {
	shown := make([]status.Upstream, 0, g.Set.Len())
	see := explainer{frozen: g.Frozen, refused: refused}
	for u := range g.Set.All() {
		shown = append(shown, see.upstream(u))
	}
	return shown
}

// ShowStatus returns the current state with its verdict. since is called if something is held; it may be nil.
func ShowStatus(st syncer.Status, since func() syncer.Since) status.Status {
	out := status.Status{
		Time: time.Now(), InSync: st.InSync() && st.Generation.Number > 0, Generation: ShowGeneration(st.Generation),
		Upstreams: st.Generation.Set.Len(), Servers: st.Generation.Set.Servers(), Out: st.Out.Servers(),
		Routes: st.Generation.Set.RouteCount(), RoutesOut: st.Out.Len() - st.Out.Servers(), Reasons: []reason.Reason{}, Freezes: showFreezes(st.Generation.Frozen),
	}
	out.Unserved, out.LeftOut, out.OutOf = showOut(st)
	if st.StoreErr != nil {
		out.FileError = safetext.Line(st.StoreErr.Error())
		out.FilePlain = status.Plain(out.FileError)
		out.Reasons = append(out.Reasons, fileFailed.With(out.FileError))
	}
	var known syncer.Since
	if len(st.Holds) > 0 && since != nil {
		known = since()
	}
	out.Holds = showHolds(st.Holds, st.Out, st.Generation.Set, known)
	for _, r := range st.Registries {
		shown := status.Registry{Name: r.Name, Answered: r.Answered, Heard: r.Heard}
		switch {
		case r.Trouble != nil:
			shown.Trouble, shown.TroubleSince = safetext.Line(r.Trouble.Error()), r.TroubleSince
			shown.Plain = status.Plain(shown.Trouble)
			out.Reasons = append(out.Reasons, registryTrouble.With(r.Name, shown.Trouble))
		case r.Answered.IsZero():
			out.Reasons = append(out.Reasons, registrySilent.With(r.Name))
		}
		out.Registries = append(out.Registries, shown)
	}
	for _, g := range st.Gateways {
		shown, why := ShowGateway(g, st.Generation.Number)
		if !why.IsZero() {
			out.Reasons = append(out.Reasons, why)
		}
		out.Gateways = append(out.Gateways, shown)
	}
	out.Ready = len(out.Reasons) == 0
	out.Verdict = status.Judge(out)
	return out
}

// How many upstreams with instances that are out are listed, and how many reasons of each.
const mostLeftOut, mostReasons = 10, 3

// showOut returns the upstreams without a healthy server, those with the most instances out, and how many have any.
func showOut(st syncer.Status) (unserved []status.Unserved, left []status.LeftOut, upstreams int) {
	type leaving struct {
		name    string
		reasons []reason.Reason
	}
	byName := map[upstream.Key]*leaving{}
	for o := range st.Out.All() {
		if o.Route != "" {
			continue // not an instance
		}
		name := keyOf(o).upstream
		if byName[name] == nil {
			byName[name] = &leaving{name: cmp.Or(o.Upstream, o.Service)}
		}
		byName[name].reasons = append(byName[name].reasons, ownReason(o))
	}
	all := slices.SortedFunc(maps.Values(byName), func(a, b *leaving) int {
		return cmp.Or(cmp.Compare(len(b.reasons), len(a.reasons)), strings.Compare(a.name, b.name))
	})
	left = []status.LeftOut{}
	for _, l := range all[:min(len(all), mostLeftOut)] {
		left = append(left, status.LeftOut{Upstream: safetext.Line(l.name), Out: len(l.reasons), Reasons: mostFrequent(l.reasons)})
	}
	unserved = []status.Unserved{}
	for _, u := range st.Unserved {
		shown := status.Unserved{Upstream: u.Upstream, Servers: u.Servers, Reasons: []status.Reason{}}
		if l := byName[upstream.KeyOf(u.Upstream)]; l != nil {
			shown.Reasons = mostFrequent(l.reasons)
		}
		unserved = append(unserved, shown)
	}
	return unserved, left, len(all)
}

// mostFrequent groups equal reasons, and returns the most frequent ones.
func mostFrequent(reasons []reason.Reason) []status.Reason {
	counts := map[reason.Reason]int{}
	for _, r := range reasons {
		counts[r]++
	}
	all := []status.Reason{}
	for r, n := range counts {
		all = append(all, status.Reason{Text: r, Code: r.Code(), Count: n})
	}
	slices.SortFunc(all, func(a, b status.Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), a.Text.Compare(b.Text))
	})
	return all[:min(len(all), mostReasons)]
}

// ShowGateway also returns why the gateway is out of sync; the zero Reason if it is in sync.
func ShowGateway(g syncer.GatewayStatus, newest int) (shown status.Gateway, why reason.Reason) {
	shown = status.Gateway{
		Name: g.Name, InSync: g.InSync && g.Generation == newest, Generation: g.Generation,
		Checked: g.Checked, Since: g.Since, Workers: []status.Worker{},
	}
	for _, w := range g.Workers {
		worker := status.Worker{ID: w.ID, InSync: shown.InSync && w.Err == nil, Since: w.Since}
		if w.Err != nil {
			worker.Error = safetext.Line(w.Err.Error())
		}
		shown.Workers = append(shown.Workers, worker)
	}
	switch {
	case g.Err != nil:
		shown.Error = safetext.Line(g.Err.Error())
		shown.Plain = status.Plain(shown.Error)
		why = gatewayTrouble.With(g.Name, shown.Error)
	case g.Checked.IsZero():
		why = gatewaySilent.With(g.Name)
	case !shown.InSync:
		why = gatewayBehind.With(g.Name, g.Generation, newest)
	}
	return shown, why
}

// ShowUpstreams merges accepted servers with instances that are out. It yields one upstream at a time, as there may be
// thousands.
func ShowUpstreams(s *syncer.Syncer) iter.Seq[status.Upstream] {
	st := s.Status()
	see := newExplainer(st, s.Since())
	left := map[upstream.Key][]upstream.Out{}
	var names []upstream.Key // in order of first appearance
	for o := range st.Out.All() {
		name := upstream.KeyOf(cmp.Or(o.Upstream, o.Service))
		if _, there := left[name]; !there {
			names = append(names, name)
		}
		left[name] = append(left[name], o)
	}
	return func(yield func(status.Upstream) bool) {
		for u := range st.Generation.Set.All() {
			shown := see.upstream(u)
			for _, o := range left[upstream.KeyOf(u.Name)] {
				see.leave(&shown, o)
			}
			shown.Trouble = status.Trouble(shown, see.unserved[u.Name])
			if !yield(shown) {
				return
			}
		}
		// A service without servers in traffic has no upstream, but is listed all the same.
		for _, name := range names {
			if _, there := st.Generation.Set.Get(string(name)); there {
				continue
			}
			first := left[name][0]
			shown := status.Upstream{
				Name: safetext.Line(cmp.Or(first.Upstream, first.Service)), Options: []string{}, Servers: []status.Server{},
			}
			for _, o := range left[name] {
				see.leave(&shown, o)
			}
			shown.Trouble = status.Trouble(shown, false)
			if !yield(shown) {
				return
			}
		}
	}
}

// explainer has what is needed to tell why a server is in or out, and since when. What is missing is not reported.
type explainer struct {
	running  bool // a registry has answered; otherwise only the conf file is known
	frozen   []generation.Freeze
	held     map[guard.ServerID]time.Time // since when
	found    map[guard.ServerID]string    // what the witness found out about them
	trial    map[guard.ServerID]bool      // those the witness is asked about before a hold is reported
	stays    map[guard.ServerID]bool
	unserved map[string]bool
	since    syncer.Since

	heldRoutes map[routeKey]bool
	refused    refusals

	body   []byte // reused for each upstream
	origin string // of the last server, with the resulting reason: most servers have the same
	listed reason.Reason
}

func newExplainer(st syncer.Status, since syncer.Since) *explainer {
	l := &explainer{
		running: true, frozen: st.Generation.Frozen, since: since,
		held: map[guard.ServerID]time.Time{}, found: map[guard.ServerID]string{}, trial: map[guard.ServerID]bool{}, stays: map[guard.ServerID]bool{}, unserved: map[string]bool{},
	}
	for _, h := range st.Holds {
		for _, id := range h.Removed {
			l.held[id] = h.Since
		}
		maps.Copy(l.found, foundBy(h))
	}
	for _, h := range st.OnTrial {
		for _, id := range h.Removed {
			l.trial[id] = true
		}
	}
	for _, s := range st.Stays {
		l.stays[s] = true
	}
	l.noteRoutes(st)
	for _, u := range st.Unserved {
		l.unserved[u.Upstream] = true
	}
	return l
}

// leave adds an instance that is out, or to one that is in why it should be out.
func (l *explainer) leave(u *status.Upstream, o upstream.Out) {
	if o.Route != "" {
		l.leaveRoute(u, o)
		return
	}
	for i, s := range u.Servers {
		if o.Addr != "" && s.Addr == o.Addr {
			var found reason.Reason
			if addr, err := netip.ParseAddrPort(o.Addr); err == nil {
				found = l.witnessed(guard.ServerID{Upstream: u.Name, Addr: addr})
			}
			u.Servers[i].Because(reason.Join(o.Reason, found))
			u.Servers[i].Detail = o.Detail()
			switch {
			case s.State == status.In, s.State == status.Held && s.Since.IsZero():
				u.Servers[i].State, u.Servers[i].Since = status.Held, l.since.Out(o)
			}
			return
		}
	}
	u.Servers = append(u.Servers, status.Server{
		Addr: safetext.Line(o.Addr), State: status.Out, Reason: o.Reason, Code: o.Reason.Code(), Detail: o.Detail(), Since: l.since.Out(o),
	})
}

func (l *explainer) upstream(u upstream.Upstream) status.Upstream {
	isFrozen := frozenBy(l.frozen, u.Name)
	shown := status.Upstream{
		Name: u.Name, Canary: u.Canary, Frozen: !isFrozen.IsZero(),
		Options: []string{}, Servers: make([]status.Server, 0, len(u.Servers)), Routes: l.routes(u),
	}
	for _, s := range u.Servers {
		server := l.server(u.Name, s)
		if shown.Frozen && (server.State == status.In || server.State == status.Held) {
			why := isFrozen
			if server.State == status.Held {
				why = keptFrozen.With(isFrozen)
			}
			server.Because(why)
			server.State, server.Since = status.Frozen, time.Time{}
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

func (l *explainer) server(name string, s upstream.Server) status.Server {
	id := guard.ServerID{Upstream: name, Addr: s.Addr}
	if l.listed.IsZero() || l.origin != s.Origin {
		l.origin, l.listed = s.Origin, written.With(s.Origin)
		if l.running {
			l.listed = listed.With(s.Origin)
		}
	}
	shown := status.Server{Addr: s.Addr.String(), State: status.In, Reason: l.listed, Code: l.listed.Code(), Origin: s.Origin, Since: l.since.In(id)}
	heldSince, held := l.held[id]
	switch {
	case s.Down:
		shown.State = status.Down
		shown.Because(syncer.MarkedDown.With())
	case held:
		shown.State, shown.Since = status.Held, heldSince
		shown.Because(reason.Join(keptHeld.With(), l.witnessed(id)))
	case l.trial[id]:
		shown.State, shown.Since = status.Held, time.Time{}
		shown.Because(keptTrial.With())
	case l.stays[id]:
		shown.State, shown.Since = status.Held, time.Time{}
		shown.Because(keptUnserved.With())
	}
	return shown
}

// witnessed returns what the witness found out about a held server, to be added to its reason.
func (l *explainer) witnessed(id guard.ServerID) reason.Reason {
	switch l.found[id] {
	case status.Alive:
		return alive.With()
	case status.Dead:
		return dead.With()
	}
	return reason.Reason{}
}

// frozenBy returns how an upstream is frozen; the zero Reason if it is not.
func frozenBy(freezes []generation.Freeze, name string) reason.Reason {
	for _, f := range freezes {
		if f.Name.Covers(name) {
			return until(f, frozen, frozenFor)
		}
	}
	return reason.Reason{}
}

// until words a freeze by released, or by ends if it has an end.
func until(f generation.Freeze, released, ends *reason.Phrase) reason.Reason {
	if f.Until.IsZero() {
		return released.With()
	}
	return ends.With(When(f.Until))
}

// FrozenUntil formats the end of a freeze; zero means until it is released.
func FrozenUntil(t time.Time) string {
	if t.IsZero() {
		return "until it is released"
	}
	return "until " + When(t)
}

// ShowPlan returns the result of a dry run.
func ShowPlan(out syncer.Outcome) status.Plan {
	p := status.Plan{File: ShowChanges(out.Written), Gateways: []status.GatewayPlan{}}
	if holds := showHolds(out.Holds, out.Out, upstream.Set{}, syncer.Since{}); len(holds) > 0 {
		p.Hold = &holds[0]
		if len(holds) > 1 {
			p.Holds = holds
		}
	}
	for _, g := range out.Gateways {
		shown := status.GatewayPlan{Name: g.Name, InSync: g.InSync(true), Changes: ShowChanges(g.Changes)}
		if g.Err != nil {
			shown.Error = safetext.Line(g.Err.Error())
		}
		p.Gateways = append(p.Gateways, shown)
	}
	return p
}

// ShowChanges returns changes in lines of nginx syntax.
func ShowChanges(c upstream.Changes) status.Changes {
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
