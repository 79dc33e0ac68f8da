package probe

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"swallowkeeper/guard"
)

// Run tries the requested servers until ctx ends, and returns once no try is in progress. It calls heard, which must
// not block, after answers have changed: at once if all are known, otherwise at most five times a second, and less
// often the more servers are requested.
func (p *Pool) Run(ctx context.Context, heard func()) {
	var tries sync.WaitGroup
	defer p.Metrics.asked(0)
	defer tries.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := time.NewTimer(0)
	defer next.Stop()
	var last, told time.Time // last batch, and last report
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-next.C:
		}
		now := time.Now()
		if wait := last.Add(pace).Sub(now); wait > 0 {
			next.Reset(wait)
			continue
		}
		last = now
		start, wait, news := p.due(now, now.Sub(told))
		for _, addr := range start {
			tries.Go(func() { p.once(ctx, addr) })
		}
		if news {
			told = now
			heard()
		}
		next.Reset(wait)
	}
}

// due picks the servers to try now. It returns the longest wait until the next look, and whether there is news to
// report; told is the time since the last report.
func (p *Pool) due(now time.Time, told time.Duration) (start []netip.AddrPort, wait time.Duration, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prove()
	p.call()
	type waiting struct {
		addr netip.AddrPort
		*server
		since time.Time
	}
	var late []waiting
	asked := 0
	wait = again
	for addr, s := range p.servers {
		if !s.asked {
			continue
		}
		if asked++; s.inFlight {
			continue
		}
		if at := p.next(s); at.After(now) {
			wait = min(wait, at.Sub(now))
		} else {
			late = append(late, waiting{addr, s, at})
		}
	}
	// Live servers that check the network come first, then those that have waited longest.
	slices.SortFunc(late, func(a, b waiting) int {
		if a.soon != b.soon {
			if a.soon {
				return -1
			}
			return 1
		}
		return cmp.Or(a.since.Compare(b.since), a.addr.Compare(b.addr))
	})
	if free := max(min(perBatch, p.AtOnce-p.inFlight), 0); len(late) > free {
		late, wait = late[:free], pace
	}
	for _, s := range late {
		s.inFlight, s.soon, s.began = true, false, now
		start = append(start, s.addr)
	}
	p.inFlight += len(start)
	if p.news {
		// Each report makes the guard decide about everything.
		if quiet := min(time.Duration(asked)*quietEach, maxQuiet) - told; quiet > 0 && p.pending() {
			wait = min(wait, quiet)
		} else {
			news, p.news = true, false
		}
	}
	return start, wait, news
}

// once tries a server.
func (p *Pool) once(ctx context.Context, addr netip.AddrPort) {
	answer := guard.Untried
	if p.Forbids(addr) == "" { // it may have become one of our own
		p.Metrics.begin()
		err := p.try(ctx, addr)
		if ctx.Err() == nil { // otherwise the try was cut short
			answer = judge(err)
		}
		p.Metrics.end(answer)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, now := p.servers[addr], time.Now()
	s.inFlight = false
	p.inFlight--
	if ctx.Err() == nil {
		p.took(s, answer, now)
		p.rouse()
	}
}

// next returns when to try a server again.
func (p *Pool) next(s *server) time.Time {
	switch {
	case s.tried.IsZero():
		return s.at
	case s.soon, s.failed > 0 && s.failed < refusals, p.doubted(s):
		return s.tried.Add(secondTry)
	}
	return s.tried.Add(again)
}

// took records the result of a try.
func (p *Pool) took(s *server, answer guard.Answer, now time.Time) {
	s.tried = now
	switch answer {
	case guard.Answered:
		s.failed = 0
		p.answered(s, now)
	case guard.Refused:
		s.missed = s.began
		if s.failed++; s.failed == 1 {
			p.beganFailing(s)
		}
		if s.failed < refusals {
			return // the previous result stays
		}
		if s.answer != guard.Refused { // a dead server stays dead
			answer = guard.Unproven
		}
	default:
		s.failed = 0
	}
	p.news = p.news || s.answer != answer || !s.known
	s.answer, s.known = answer, true
}
