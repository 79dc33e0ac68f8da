package dns

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// nxToBelieve is how many consecutive answers must be NXDOMAIN for a name to be gone, with nxdomain = "gone".
const nxToBelieve = 3

// entry is what is known about a name. The registry's mutex guards it, except for busy.
type entry struct {
	name    string
	service *Service
	busy    atomic.Bool
	asked   bool
	parts   parts
	records []record // of the last trusted answer
	nx      int      // consecutive NXDOMAIN answers
	since   time.Time
	state
}

// state is the part whose changes matter to others.
type state struct {
	answered bool // the last answer was an answer: records, no records, or NXDOMAIN
	known    bool // upstream and out are set, from the last trusted answer
	gone     bool // it is deregistered
	upstream upstream.Upstream
	out      []upstream.Out
	why      reason.Reason // why the last answer is not trusted, and since when
	pending  bool          // it is about to be gone, which is no error
}

// note records an answer. It reports whether that changes the state.
func (e *entry) note(r *Registry, l listed, nx string, err error) bool {
	was := e.state
	switch {
	case err != nil:
		e.answered, e.nx = false, 0
		e.unknown(reason.Of(err), false)
	case nx != "" && r.cfg.NXDomain == nxGone && e.nx+1 >= nxToBelieve:
		e.nx++
		e.state, e.records, e.since = state{answered: true, known: true, gone: true}, nil, time.Time{}
	case nx != "":
		e.answered = true
		e.nx++
		if e.unknown(nxdomain.With(shown(e.service.Query), nx), r.cfg.NXDomain == nxGone); e.gone {
			e.why, e.pending, e.since = reason.Reason{}, false, time.Time{}
		}
	default:
		e.parts.note(l.records)
		e.nx, e.since, e.records = 0, time.Time{}, l.records
		e.state = state{answered: true, known: true}
		e.upstream, e.out = l.upstream(e.name, e.service, r.defaults, r.name)
	}
	is := e.state
	return was.known != is.known || was.gone != is.gone || was.answered != is.answered || was.why != is.why || was.pending != is.pending ||
		!was.upstream.Identical(is.upstream) || !slices.EqualFunc(was.out, is.out, upstream.Out.Same)
}

func (e *entry) unknown(why reason.Reason, pending bool) {
	if e.since.IsZero() {
		e.since = time.Now()
	}
	e.why, e.pending = why, pending
}

// trouble reports whether it should be reported that the name is not known.
func (e *entry) trouble() bool { return !e.why.IsZero() && !e.pending }

// parts remembers the last answers of a name, to detect a server that returns subsets of its records.
type parts struct {
	last  [][]netip.AddrPort // newest last
	shown bool               // logged once
}

const (
	// partAnswers is how many answers are compared, and partReturns how many of them must bring back a missing record.
	partAnswers = 8
	partReturns = 3
)

// note records an answer. Answers are subsets if all have the same size, and records leave and return repeatedly.
func (p *parts) note(records []record) {
	var now []netip.AddrPort
	for _, r := range records {
		now = append(now, netip.AddrPortFrom(r.addr, uint16(r.port))) //nolint:gosec // a port
	}
	slices.SortFunc(now, netip.AddrPort.Compare)
	now = slices.Compact(now)
	if len(p.last) > 0 && len(p.last[0]) != len(now) || len(now) == 0 {
		p.last = nil
	}
	if p.last = append(p.last, now); len(p.last) > partAnswers {
		p.last = p.last[1:]
	}
	p.shown = p.shown || p.partial()
}

func (p *parts) partial() bool {
	returns := 0
	seen := map[netip.AddrPort]bool{}
	for i, answer := range p.last {
		back := false
		for _, a := range answer {
			back = back || seen[a] && !slices.Contains(p.last[i-1], a)
		}
		if back {
			returns++
		}
		for _, a := range answer {
			seen[a] = true
		}
	}
	return returns >= partReturns
}
