// Package replay has the guard decide over recorded time, with the limits of then or with others.
//
// It is pure: a loop over [Moment]s in virtual time, which also decides when a decision asked for another one
// ([guard.Decision.Again]) and the daemon made none. The same moments and limits give the same [Report].
package replay

import (
	"iter"
	"net/netip"
	"reflect"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Moment is a decision of the daemon: what the guard was told, and what became of it.
type Moment struct {
	// Input has the state and the account of before the decision. The account holds only where Fresh is set.
	guard.Input
	// Answers are those of the witness, where it was asked, and Local the addresses of the daemon's machine among those
	// that the guard asked about.
	Answers map[netip.AddrPort]guard.Answer
	Local   map[netip.Addr]bool
	// Limits are those that the daemon decided with.
	Limits guard.Config
	// Result is what was written after the decision.
	Result upstream.Set
	// Fresh says that the account is not what the decision before left: the daemon began, or a person rolled back.
	Fresh bool
	// Began says that a daemon began with this decision. It was away before.
	Began bool
	// Waiting says that new names waited for gateways to be asked, so the decision's were left out.
	Waiting bool
	// Unsaved says that the decision could not be written, so everything is as before it.
	Unsaved bool
	// Calm says that nothing was decided: the daemon was at work and had no reason to. Only Now counts.
	Calm bool
}

// Asking has a decision ask a witness, and notes what it says. A decision that asks twice is told the same.
func (m *Moment) Asking(witness func(netip.AddrPort) guard.Answer, here func(netip.Addr) bool) {
	asked, places := map[netip.AddrPort]guard.Answer{}, map[netip.Addr]bool{}
	m.Answers, m.Local = map[netip.AddrPort]guard.Answer{}, map[netip.Addr]bool{}
	answers, local := m.Answers, m.Local
	m.Witness = func(addr netip.AddrPort) guard.Answer {
		a, known := asked[addr]
		if !known {
			a = witness(addr)
			if asked[addr] = a; a != guard.Untried {
				answers[addr] = a
			}
		}
		return a
	}
	m.Here = func(addr netip.Addr) bool {
		is, known := places[addr]
		if !known {
			is = here(addr)
			if places[addr] = is; is {
				local[addr] = true
			}
		}
		return is
	}
}

// Said has the guard told what the witness said then.
func (m *Moment) Said() {
	answers, local := m.Answers, m.Local
	m.Witness = func(addr netip.AddrPort) guard.Answer { return answers[addr] }
	m.Here = func(addr netip.Addr) bool { return local[addr] }
}

// slack is how long after the time that the guard asked for a decision of the daemon counts as that one. Nothing
// has to be decided twice then, and the limits of then give exactly the decisions of then.
const slack = 2 * time.Second

// run is one replay under way.
type run struct {
	limits   guard.Config
	accepted upstream.Set
	history  guard.History
	seen     guard.Input // as told last
	due      time.Time   // when the guard wants to decide again; zero: never
	decision guard.Decision
	tracker  tracker
}

// takes has the run decide what the daemon decided at a moment. before is the daemon's moment before, nil for the
// first.
func (r *run) takes(m, before *Moment) {
	if before == nil {
		r.accepted, r.history = m.Accepted, m.History
	} else {
		r.accepted = follow(r.accepted, before.Result, m.Accepted)
		alike := r.accepted.Equal(m.Accepted) && sameLimits(r.limits, m.Limits)
		rollback := !m.Began && len(m.History.Lines()) == 0 // it begins every account anew
		if m.Fresh && (alike || rollback) {
			r.history = m.History
		}
	}
	r.decide(m.Input, m)
}

// wakes has the run decide when it asked for it, with what it was told last.
func (r *run) wakes() {
	in := r.seen
	in.Now, in.Approved = r.due, ""
	r.decide(in, &Moment{})
}

func (r *run) decide(in guard.Input, m *Moment) {
	r.seen = in
	in.Accepted, in.History = r.accepted, r.history
	if r.limits.WitnessBy == guard.WitnessOff {
		in.Witness = nil
	}
	r.decision, r.due = r.limits.Decide(in), time.Time{}
	if r.decision.Again > 0 {
		r.due = in.Now.Add(r.decision.Again)
	}
	if m.Unsaved {
		return
	}
	next := r.decision.Accepted
	if m.Waiting {
		next = next.With(nil, fresh(r.accepted, next))
	}
	r.accepted, r.history = next, r.decision.History
}

// follow makes the changes to a set that led from one to another by somebody else's hand: by a rollback, by an
// edit of the conf file, or because an address may not be reached any more.
func follow(set, from, to upstream.Set) upstream.Set {
	if from.Equal(to) {
		return set
	}
	var put []upstream.Upstream
	var drop []string
	for old, u := range upstream.Pairs(from, to) {
		switch {
		case u.Name == "":
			drop = append(drop, old.Name)
		case !u.Identical(old):
			put = append(put, u)
		}
	}
	return set.With(put, drop)
}

// fresh lists the names of a set that another one does not have.
func fresh(before, set upstream.Set) []string {
	var names []string
	for old, u := range upstream.Pairs(before, set) {
		if old.Name == "" {
			names = append(names, u.Name)
		}
	}
	return names
}

// sameLimits reports whether two configurations decide alike.
func sameLimits(a, b guard.Config) bool {
	// Which addresses are allowed is decided before the guard is asked.
	a.AllowAddresses, a.DenyAddresses, b.AllowAddresses, b.DenyAddresses = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

// Limits replays the moments with some limits, and beside that with those of today. Of the moments after until
// nothing is looked at, unless that is the zero time.
func Limits(limits, today guard.Config, moments iter.Seq[Moment], until time.Time) Report {
	p := play{here: &run{limits: limits}, report: Report{OtherLimits: true}}
	p.runs = []*run{p.here}
	if !sameLimits(limits, today) {
		p.today = &run{limits: today}
		p.runs = append(p.runs, p.today)
	}
	for m := range moments {
		if !until.IsZero() && m.Now.After(until) {
			p.advance(until)
			p.now = until
			break
		}
		p.take(m)
	}
	return p.end()
}

// play is both replays, moment by moment.
type play struct {
	here, today *run // today is nil where it would be the same
	runs        []*run
	before      *Moment // the last one of which something was decided
	now         time.Time
	report      Report
}

func (p *play) take(m Moment) {
	if p.now.IsZero() {
		p.report.From = m.Now
	}
	if !m.Began { // else nobody was there to decide
		p.advance(m.Now.Add(-slack))
	}
	p.now = m.Now
	if m.Calm {
		return
	}
	p.report.Decisions++
	p.report.noteLimits(m.Limits, p.limitsOfToday())
	for _, r := range p.runs {
		r.takes(&m, p.before)
		if sameLimits(r.limits, m.Limits) && !r.accepted.Equal(m.Result) {
			p.report.Unlike++
		}
	}
	p.track(p.runs...)
	p.before = &m
}

func (p *play) limitsOfToday() guard.Config {
	if p.today != nil {
		return p.today.limits
	}
	return p.here.limits
}

// advance makes the decisions that the runs asked for until then, in order of time.
func (p *play) advance(to time.Time) {
	for {
		var next *run
		for _, r := range p.runs {
			if !r.due.IsZero() && !r.due.After(to) && (next == nil || r.due.Before(next.due)) {
				next = r
			}
		}
		if next == nil {
			return
		}
		next.wakes()
		p.track(next)
	}
}

// track notes the holds of runs that have just decided.
func (p *play) track(decided ...*run) {
	for _, r := range decided {
		other := p.today
		if r == p.today {
			other = p.here
		}
		r.tracker.take(r, other)
	}
}

func (p *play) end() Report {
	r := p.report
	r.To, r.OtherLimits = p.now, p.today != nil
	r.Holds = p.here.tracker.end(p.here, p.today)
	if p.today != nil {
		for _, h := range p.today.tracker.end(p.today, p.here) {
			if h.Elsewhere.Through > 0 {
				r.NotHere = append(r.NotHere, h)
			}
		}
	}
	return r
}
