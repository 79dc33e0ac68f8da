package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"swallowkeeper/guard"
)

// Run tries what was asked for until the context ends; then no try is under way any more. It calls heard, which
// must not block, after answers have become others: at once when all are there, before that five times a second at
// most, and less often the more is asked for.
func (p *Pool) Run(ctx context.Context, heard func()) {
	var tries sync.WaitGroup
	defer p.Metrics.asked(0)
	defer tries.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := time.NewTimer(0)
	defer next.Stop()
	var last, told time.Time // when servers were looked through for the last time, and when somebody heard of it
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
	wait = again
	asked, pending := 0, false
	for addr, s := range p.servers {
		if s.asked {
			asked++
			pending = pending || !s.known(now)
		}
		switch {
		case !s.asked || s.flying:
		case s.due.After(now):
			wait = min(wait, s.due.Sub(now))
		default:
			start = append(start, addr)
		}
	}
	// What has waited longest comes first.
	slices.SortFunc(start, func(a, b netip.AddrPort) int {
		if order := p.servers[a].due.Compare(p.servers[b].due); order != 0 {
			return order
		}
		return a.Compare(b)
	})
	if free := max(min(perBatch, p.AtOnce-p.flying), 0); len(start) > free {
		start, wait = start[:free], pace
	}
	for _, addr := range start {
		p.servers[addr].flying = true
	}
	p.flying += len(start)
	if p.news {
		// Whoever hears of it judges all that there is.
		if quiet := min(time.Duration(asked)*quietEach, mostQuiet) - told; pending && quiet > 0 {
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
		if ctx.Err() == nil { // else it was cut short
			answer = judge(err)
		}
		p.Metrics.end(answer)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, now := p.servers[addr], time.Now()
	s.flying = false
	p.flying--
	if ctx.Err() == nil {
		p.took(s, answer, now)
		p.rouse()
	}
}

// took takes in what came of a try.
func (p *Pool) took(s *server, answer guard.Answer, now time.Time) {
	s.due = now.Add(again)
	if answer != guard.Refused {
		s.failed = 0
	} else if s.failed++; s.failed < refusals {
		s.due = now.Add(secondTry)
		return // what was known counts as long as it did
	}
	p.news = p.news || s.answer != answer || !s.known(now)
	s.answer, s.at = answer, now
}
