// Package replay runs the guard over recorded time, with the recorded limits or with others.
//
// It is a loop over [Moment]s in virtual time. It also makes the decisions that the guard asked for
// ([guard.Decision.Again]) and that the daemon did not make. The same moments and limits give the same [Report].
package replay

import (
	"iter"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// Moment is a decision of the daemon: the input of the guard, and the outcome.
type Moment struct {
	// Input has the state and the history before the decision. The history is valid only if Fresh is set.
	guard.Input
	// Answers are the results of the witness, if it was asked. Local has those of the tried addresses that belong to
	// the daemon's machine.
	Answers map[netip.AddrPort]guard.Answer
	Local   map[netip.Addr]bool
	// Limits are the limits that the daemon used.
	Limits guard.Config
	// Result is what was written after the decision.
	Result upstream.Set
	// Fresh means that the history does not come from the previous decision: the daemon started, or an operator
	// rolled back.
	Fresh bool
	// Began means that a daemon started with this decision. Before it, none was running.
	Began bool
	// Waiting means that new names were left out because gateways had yet to be asked about them.
	Waiting bool
	// Unsaved means that the decision could not be written, so everything stayed as before.
	Unsaved bool
	// Calm means that the daemon was running but had nothing to decide. Only Now is valid.
	Calm bool
}

// Asking sets the witness of the input and records its results. Repeated questions get the same answer.
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

// Said sets the witness of the input to the recorded results.
func (m *Moment) Said() {
	answers, local := m.Answers, m.Local
	m.Witness = func(addr netip.AddrPort) guard.Answer { return answers[addr] }
	m.Here = func(addr netip.Addr) bool { return local[addr] }
}

// slack is how late a decision of the daemon may be to count as the one that the guard asked for. Nothing is decided
// twice then, and the recorded limits give exactly the recorded decisions.
const slack = 2 * time.Second

// run is a replay in progress with one set of limits.
type run struct {
	limits   guard.Config
	accepted upstream.Set
	history  guard.History
	seen     guard.Input // the last input
	due      time.Time   // when the guard asked to decide again; the zero time means never
	decision guard.Decision
	loader   gateway.Loader
	tracker  tracker
}

// takes replays a decision of the daemon. before is the previous one, or nil for the first.
func (r *run) takes(m, before *Moment) {
	if before == nil {
		r.accepted, r.history = m.Accepted, m.History
	} else {
		r.accepted = follow(r.accepted, before.Result, m.Accepted)
		alike := r.accepted.Equal(m.Accepted) && sameLimits(r.limits, m.Limits)
		rollback := !m.Began && len(m.History.Lines()) == 0 // a rollback always starts a new history
		if m.Fresh && (alike || rollback) {
			r.history = m.History
		}
	}
	r.decide(m.Input, m)
}

// wakes makes the decision that the guard asked for, with the last input.
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
	next := r.loader.Loadable(r.decision.Accepted)
	if m.Waiting {
		next = next.With(nil, fresh(r.accepted, next))
	}
	r.accepted, r.history = next, r.decision.History
}

// follow applies the changes between from and to, which were not made by the guard: by a rollback, by an edit of the
// conf file, or because an address is no longer allowed.
func follow(set, from, to upstream.Set) upstream.Set {
	if from.Equal(to) {
		return set
	}
	var put []upstream.Upstream
	var drop []string
	for old, u := range upstream.Changed(from, to) {
		if u.Name == "" {
			drop = append(drop, old.Name)
		} else {
			put = append(put, u)
		}
	}
	return set.With(put, drop)
}

// fresh lists the names in set that before does not have.
func fresh(before, set upstream.Set) []string {
	var names []string
	for old, u := range upstream.Pairs(before, set) {
		if old.Name == "" {
			names = append(names, u.Name)
		}
	}
	return names
}

// sameLimits reports whether two configurations make the same decisions.
func sameLimits(a, b guard.Config) bool {
	// Allowed addresses are checked before the guard runs.
	a.AllowAddresses, a.DenyAddresses, b.AllowAddresses, b.DenyAddresses = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

// Limits replays the moments with the given limits, and with those of today for comparison. It stops at until, unless
// that is the zero time.
func Limits(limits, today guard.Config, moments iter.Seq[Moment], until time.Time) Report {
	p := play{here: &run{limits: limits}, report: Report{OtherLimits: true}}
	p.runs = []*run{p.here}
	if !sameLimits(limits, today) {
		p.today = &run{limits: today}
		p.runs = append(p.runs, p.today)
	}
	for m := range ahead(moments) {
		if !until.IsZero() && m.Now.After(until) {
			p.advance(until)
			p.now = until
			break
		}
		p.take(m)
	}
	return p.end()
}

// play is both replays in progress.
type play struct {
	here, today *run // today is nil if it would be the same as here
	runs        []*run
	before      *Moment // the last moment with a decision
	now         time.Time
	report      Report
}

// ahead yields moments that another goroutine produces in the background. It buffers only a few at a time, as each
// has its own list of all upstreams.
func ahead(moments iter.Seq[Moment]) iter.Seq[Moment] {
	const some = 16
	return func(yield func(Moment) bool) {
		made, enough := make(chan []Moment, 1), make(chan struct{})
		var making sync.WaitGroup
		defer making.Wait()
		defer close(enough)
		making.Go(func() {
			defer close(made)
			var batch []Moment
			give := func() bool {
				select {
				case made <- batch:
					batch = nil
					return true
				case <-enough:
					return false
				}
			}
			for m := range moments {
				if batch = append(batch, m); len(batch) == some && !give() {
					return
				}
			}
			give()
		})
		for batch := range made {
			for _, m := range batch {
				if !yield(m) {
					return
				}
			}
		}
	}
}

func (p *play) take(m Moment) {
	if p.now.IsZero() {
		p.report.From = m.Now
	}
	if !m.Began { // otherwise no daemon was running that could have decided
		p.advance(m.Now.Add(-slack))
	}
	p.now = m.Now
	if m.Calm {
		return
	}
	p.report.Decisions++
	p.report.noteLimits(m.Limits, p.limitsOfToday())
	var other sync.WaitGroup
	if p.today != nil {
		other.Go(func() { p.today.takes(&m, p.before) })
	}
	p.here.takes(&m, p.before)
	other.Wait()
	for _, r := range p.runs {
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

// track updates the holds of the runs that have just decided.
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
