package operate

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// What follows turns what the parts say into the API's words.

// ShowGeneration is a generation without what it changed.
func ShowGeneration(g upstream.Generation) status.Generation {
	return status.Generation{
		Number: g.Number, Time: g.Time, Digest: g.Digest, Reason: g.Reason, By: g.Signed.By, Why: g.Signed.Why,
		Upstreams: g.Set.Len(), Servers: g.Set.Servers(),
	}
}

// showHolds also says which of the servers are registered still: those are among what is out.
func showHolds(holds []guard.Hold, out []upstream.Out) []status.Hold {
	shown := make([]status.Hold, 0, len(holds))
	if len(holds) == 0 {
		return shown
	}
	registered := make(map[outKey]bool, len(out))
	for _, o := range out {
		registered[keyOf(o)] = true
	}
	for _, h := range holds {
		one := status.Hold{
			ID: h.ID, Rule: h.Rule, Upstream: h.Upstream, Reason: h.Reason, Since: h.Since,
			Servers: []status.HeldServer{}, Of: h.Of, KeptOut: len(h.KeptOut),
		}
		found := foundBy(h)
		for _, r := range h.Removed {
			addr := r.Addr.String()
			one.Servers = append(one.Servers, status.HeldServer{
				Upstream: r.Upstream, Addr: addr, Registered: registered[outKey{upstream.KeyOf(r.Upstream), addr}], Witness: found[r],
			})
		}
		shown = append(shown, one)
	}
	return shown
}

// foundBy is what the witness found out of a hold's servers.
func foundBy(h guard.Hold) map[guard.ServerID]string {
	found := make(map[guard.ServerID]string, len(h.Alive)+len(h.Dead))
	for _, id := range h.Alive {
		found[id] = status.Alive
	}
	for _, id := range h.Dead {
		found[id] = status.Dead
	}
	return found
}

// outKey is an instance of an upstream.
type outKey struct {
	upstream upstream.Key
	addr     string
}

func keyOf(o upstream.Out) outKey {
	return outKey{upstream.KeyOf(cmp.Or(o.Upstream, o.Service)), o.Addr}
}

// ShowDamaged says that the conf file was found damaged: what stands in it is no older than the history, and
// its freezes are lost. It does for as long as the damaged file is there, and makes nothing unready.
func ShowDamaged(st *status.Status, aside []string) {
	if len(aside) == 0 {
		return
	}
	st.DamagedFile = aside[len(aside)-1]
	st.Reasons = append(st.Reasons, "the conf file was damaged, and the newest good generation of the history took its place without "+
		"its freezes: look at "+st.DamagedFile+", then move it away")
}

func showFreezes(freezes []upstream.Freeze) []status.Freeze {
	shown := make([]status.Freeze, 0, len(freezes))
	for _, f := range freezes {
		shown = append(shown, status.Freeze{Name: f.Name.String(), Until: f.Until, By: f.Signed.By, Why: f.Signed.Why})
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

// ShowStatus is what is true, with the verdict on it.
func ShowStatus(st syncer.Status) status.Status {
	out := status.Status{
		Time: time.Now(), InSync: st.InSync() && st.Generation.Number > 0, Generation: ShowGeneration(st.Generation),
		Upstreams: st.Generation.Set.Len(), Servers: st.Generation.Set.Servers(), Out: len(st.Out),
		Reasons: []string{}, Freezes: showFreezes(st.Generation.Frozen),
	}
	out.Unserved, out.LeftOut, out.OutOf = showOut(st)
	if st.StoreErr != nil {
		out.FileError = safetext.Line(st.StoreErr.Error())
		out.Reasons = append(out.Reasons, "the conf file can't be written: "+out.FileError)
	}
	out.Holds = showHolds(st.Holds, st.Out)
	for _, r := range st.Registries {
		shown := status.Registry{Name: r.Name, Answered: r.Answered, Heard: r.Heard}
		switch {
		case r.Trouble != nil:
			shown.Trouble, shown.TroubleSince = safetext.Line(r.Trouble.Error()), r.TroubleSince
			out.Reasons = append(out.Reasons, fmt.Sprintf("registry %s: %s", r.Name, shown.Trouble))
		case r.Answered.IsZero():
			out.Reasons = append(out.Reasons, fmt.Sprintf("registry %s has not answered yet", r.Name))
		}
		out.Registries = append(out.Registries, shown)
	}
	for _, g := range st.Gateways {
		shown, why := ShowGateway(g, st.Generation.Number)
		if why != "" {
			out.Reasons = append(out.Reasons, why)
		}
		out.Gateways = append(out.Gateways, shown)
	}
	out.Ready = len(out.Reasons) == 0
	out.Verdict = status.Judge(out)
	return out
}

// What is named of what is out: upstreams, and reasons of each.
const mostLeftOut, mostReasons = 10, 3

// showOut says which upstreams have no healthy server, which have the most instances out, and how many have any.
func showOut(st syncer.Status) (unserved []status.Unserved, left []status.LeftOut, upstreams int) {
	type leaving struct {
		name    string
		reasons []string
	}
	byName := map[upstream.Key]*leaving{}
	for _, o := range st.Out {
		name := keyOf(o).upstream
		if byName[name] == nil {
			byName[name] = &leaving{name: cmp.Or(o.Upstream, o.Service)}
		}
		byName[name].reasons = append(byName[name].reasons, strings.TrimSuffix(o.Reason, guard.KeptAllTheSame))
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

// mostFrequent counts texts that are alike, and returns a few.
func mostFrequent(texts []string) []status.Reason {
	counts := map[string]int{}
	for _, text := range texts {
		counts[text]++
	}
	all := []status.Reason{}
	for text, n := range counts {
		all = append(all, status.Reason{Text: safetext.Line(text), Count: n})
	}
	slices.SortFunc(all, func(a, b status.Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Text, b.Text))
	})
	return all[:min(len(all), mostReasons)]
}

// ShowGateway also says why the gateway is out of sync, "" where it is.
func ShowGateway(g syncer.GatewayStatus, newest int) (shown status.Gateway, why string) {
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
		why = fmt.Sprintf("gateway %s is out of sync: %s", g.Name, shown.Error)
	case g.Checked.IsZero():
		why = fmt.Sprintf("gateway %s has not been asked yet", g.Name)
	case !shown.InSync:
		why = fmt.Sprintf("gateway %s shows generation %d, the newest is %d", g.Name, g.Generation, newest)
	}
	return shown, why
}

// ShowUpstreams joins what is accepted with what is left out, one upstream after the other: there
// may be thousands.
func ShowUpstreams(s *syncer.Syncer) iter.Seq[status.Upstream] {
	st := s.Status()
	see := newLookout(st, s.Since())
	left := map[upstream.Key][]upstream.Out{}
	var names []upstream.Key // in the order of their first
	for _, o := range st.Out {
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
		// A service of which nothing is in traffic has no upstream, and still a place here.
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

// lookout is what has to be known to say why a server is in or out, and since when. Of what it does
// not have it says nothing.
type lookout struct {
	running  bool // a registry has said what is usable; else only the conf file speaks
	frozen   []upstream.Freeze
	held     map[guard.ServerID]time.Time // since when
	found    map[guard.ServerID]string    // what the witness found out of those
	trial    map[guard.ServerID]bool      // those that it is asked about, before anybody is told of their hold
	stays    map[guard.ServerID]bool
	unserved map[string]bool
	since    syncer.Since

	body           []byte // used again for each upstream
	origin, listed string // the last server's, and the words for it: most have the same
}

func newLookout(st syncer.Status, since syncer.Since) *lookout {
	l := &lookout{
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
	for _, u := range st.Unserved {
		l.unserved[u.Upstream] = true
	}
	return l
}

// leave adds an instance that is out, or says of one that is in why it would be out.
func (l *lookout) leave(u *status.Upstream, o upstream.Out) {
	for i, s := range u.Servers {
		if o.Addr != "" && s.Addr == o.Addr {
			u.Servers[i].Reason, u.Servers[i].Detail = safetext.Line(o.Reason), safetext.Line(o.Detail())
			id, err := netip.ParseAddrPort(o.Addr)
			if err == nil {
				u.Servers[i].Reason += l.witnessed(guard.ServerID{Upstream: u.Name, Addr: id})
			}
			switch {
			case s.State == status.In, s.State == status.Held && s.Since.IsZero():
				u.Servers[i].State, u.Servers[i].Since = status.Held, l.since.Out(o)
			}
			return
		}
	}
	u.Servers = append(u.Servers, status.Server{
		Addr: safetext.Line(o.Addr), State: status.Out, Reason: safetext.Line(o.Reason), Detail: safetext.Line(o.Detail()), Since: l.since.Out(o),
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
		if frozen != "" && (server.State == status.In || server.State == status.Held) {
			why := frozen
			if server.State == status.Held {
				why = "deregistered, kept because it is " + frozen
			}
			server.State, server.Reason, server.Since = status.Frozen, why, time.Time{}
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
	id := guard.ServerID{Upstream: name, Addr: s.Addr}
	if l.listed == "" || l.origin != s.Origin {
		l.origin, l.listed = s.Origin, "in the conf file, from "+s.Origin
		if l.running {
			l.listed = "listed as usable by " + s.Origin
		}
	}
	shown := status.Server{Addr: s.Addr.String(), State: status.In, Reason: l.listed, Origin: s.Origin, Since: l.since.In(id)}
	heldSince, held := l.held[id]
	switch {
	case s.Down:
		shown.State, shown.Reason = status.Down, "marked down: its service is deregistered"
	case held:
		shown.State, shown.Since = status.Held, heldSince
		shown.Reason = "deregistered, kept by the guard because its removal is held" + l.witnessed(id)
	case l.trial[id]:
		shown.State, shown.Since = status.Held, time.Time{}
		shown.Reason = "deregistered, kept by the guard until it is known whether it is alive"
	case l.stays[id]:
		shown.State, shown.Since = status.Held, time.Time{}
		shown.Reason = "deregistered, kept by the guard because its service has no healthy server"
	}
	return shown
}

// witnessed is what the witness found out of a server that is held, to be added to its reason.
func (l *lookout) witnessed(id guard.ServerID) string {
	switch l.found[id] {
	case status.Alive:
		return "; it answers from here"
	case status.Dead:
		return "; it does not answer from here"
	}
	return ""
}

// frozenBy says how an upstream is frozen, "" where it is not.
func frozenBy(freezes []upstream.Freeze, name string) string {
	for _, f := range freezes {
		if f.Name.Covers(name) {
			return "frozen " + FrozenUntil(f.Until)
		}
	}
	return ""
}

// FrozenUntil says until when; the zero time is until a person ends the freeze.
func FrozenUntil(t time.Time) string {
	if t.IsZero() {
		return "until it is released"
	}
	return "until " + When(t)
}

// ShowPlan is what a dry run found.
func ShowPlan(out syncer.Outcome) status.Plan {
	p := status.Plan{File: ShowChanges(out.Written), Gateways: []status.GatewayPlan{}}
	if holds := showHolds(out.Holds, out.Out); len(holds) > 0 {
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

// ShowChanges is a difference in lines of nginx syntax.
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
