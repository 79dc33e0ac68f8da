package dyups

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/budget"
)

// worker is one nginx worker and the connection kept to it.
type worker struct {
	pid    string // "" where workers can't be told apart
	link   *link
	client *Client

	hash uint64 // of the last answer about its whole copy
	copy *copyOf
}

// workers keeps a connection to each worker that shows its pid. nginx offers no way to
// choose a worker: connections are opened in bursts, so that several workers accept,
// until no new one shows up.
type workers struct {
	measure func(http.RoundTripper) http.RoundTripper // nil: nothing measures
	budget  *budget.Budget                            // nil: each answer is bounded by itself

	base    string
	dial    func(context.Context) (net.Conn, error)
	timeout time.Duration // of one call
	// patience is how long a worker that is gone is expected back: one that starts after
	// a crash sleeps for twice the read timeout before it answers.
	patience time.Duration
	log      logrus.FieldLogger

	slow slow

	list    []*worker // sorted by pid
	plain   bool      // workers can't be told apart: list has one connection to any of them
	told    bool      // the log has been told so
	missing []absentee
	// arrived counts workers that were not there at the first search.
	arrived int
	// fresh is when all workers were new last: one that starts late is not known to be missing.
	fresh time.Time
	// crashed and reloaded are called after a worker has arrived.
	crashed, reloaded func()
}

type absentee struct {
	pid   string
	since time.Time
}

// How workers are looked for. One worker tends to take several connections in a row, so
// it takes many of them to be sure that there is none that nobody has met.
const (
	burst         = 8
	longestSearch = 64 * burst
	// longestBurst limits how long a worker that hangs holds up the search for others.
	longestBurst = 2 * time.Second
)

// meet sees to it that there is a connection to each worker. It is cheap where all is
// well: look is true now and then, to find workers that earlier searches missed.
func (p *workers) meet(ctx context.Context, look bool) error {
	dismissed := p.dismiss()
	switch {
	case len(p.list) == 0 || p.plain && look || dismissed:
		return p.search(ctx)
	case look || len(p.missing) > 0:
		return p.glance(ctx)
	}
	return nil
}

// glance looks for workers with one burst, and searches where that finds one.
func (p *workers) glance(ctx context.Context) error {
	survivors, gone, arrived := len(p.list), len(p.missing), p.arrived
	found, err := p.open(ctx, burst)
	if err != nil {
		return err
	}
	n := p.adopt(found)
	p.tell(false, survivors, gone, p.arrived-arrived)
	if n > 0 {
		return p.search(ctx)
	}
	return nil
}

func (p *workers) incomplete() bool {
	return len(p.missing) > 0 || time.Since(p.fresh) < p.patience
}

// dismiss drops workers whose connection is no good any more, and reports whether there were any.
func (p *workers) dismiss() bool {
	now, before := time.Now(), len(p.missing)
	p.list = slices.DeleteFunc(p.list, func(w *worker) bool {
		if w.link.usable() {
			return false
		}
		p.missing = append(p.missing, absentee{w.pid, now})
		return true
	})
	return len(p.missing) > before
}

func (p *workers) search(ctx context.Context) error {
	first := len(p.list)+len(p.missing) == 0
	survivors, gone, arrived := len(p.list), len(p.missing), p.arrived

	n := burst
	if p.plain {
		n = 1
	}
	found, err := p.open(ctx, n)
	if err != nil {
		return err
	}
	if w, plain := settled(found); plain {
		p.settleForOne(w)
		for _, o := range found {
			if o != w {
				o.link.close()
			}
		}
		return nil
	}
	if p.plain {
		p.closeAll()
		p.plain, first = false, true
	}
	p.adopt(found)
	for fruitless := 0; gone == 0 || len(p.missing) > 0; {
		enough := min(4*burst*(len(p.list)+1), longestSearch)
		if p.slow.limited() {
			enough = burst + 2*len(p.list) // later looks find who was missed
		}
		if fruitless >= enough {
			break
		}
		began := time.Now()
		if found, err = p.open(ctx, burst); err != nil {
			break // those that are adopted are told of all the same
		}
		if p.adopt(found) > 0 {
			fruitless = 0
		}
		fruitless += max(1, len(found))
		if time.Since(began) >= longestBurst {
			break // some worker hangs, and would hold up each burst
		}
	}
	p.tell(first, survivors, gone, p.arrived-arrived)
	return err
}

// tell says in the log who came and went, and has the rest of the gateway draw its
// conclusions.
func (p *workers) tell(first bool, survivors, gone, arrived int) {
	pids := make([]string, len(p.list))
	for i, w := range p.list {
		pids[i] = w.pid
	}
	log := p.log.WithField("workers", strings.Join(pids, " "))
	switch {
	case first:
		p.arrived -= arrived // nobody knew any worker before
		p.fresh = time.Now()
		log.Info("a connection to each nginx worker is kept")
		return
	case arrived == 0:
	case survivors == 0 && gone > 1 && arrived > 1:
		// Nothing that the interface shows tells the two apart, and a reload, which is
		// common, must not have all posted again. What nginx shows is compared either
		// way; what it hides is taken to be as in the conf file.
		log.Info("all nginx workers are new: a reload, or a crash of all")
		p.missing, p.fresh = nil, time.Now()
		p.reloaded()
	default:
		log.WithField("new", arrived).Warn("an nginx worker is new, as after a crash: its upstreams are compared")
		p.crashed()
	}
	p.missing = slices.DeleteFunc(p.missing, func(a absentee) bool {
		late := time.Since(a.since) > p.patience
		if late {
			log.WithField("missing", a.pid).Warn("going on without an nginx worker that does not answer")
		}
		return late
	})
}

// settled reports whether workers can't be told apart: an answer names none, or no
// connection outlives its answer.
func settled(found []*worker) (*worker, bool) {
	for _, w := range found {
		if w.pid == "" {
			return w, true
		}
	}
	for _, w := range found {
		if w.link.conn != nil {
			return nil, false
		}
	}
	return found[0], true
}

// settleForOne goes on without telling workers apart.
func (p *workers) settleForOne(w *worker) {
	for _, o := range p.list {
		w.copy, w.hash = o.copy, o.hash
	}
	p.closeAll()
	why := "add_header " + workerHeader + " $pid always; in the location of dyups_interface would let every " +
		"worker be asked at once instead of waiting until it has read the change"
	if w.pid != "" {
		why = "the interface closes each connection; with keepalive_timeout and keepalive_requests above 0 " +
			"every worker could be asked"
	}
	if !p.told {
		p.log.Info("nginx workers can't be told apart: " + why)
		p.told = true
	}
	w.pid = ""
	p.plain, p.list, p.missing = true, []*worker{w}, nil
}

// adopt keeps the first connection to each worker, closes the others, and returns how
// many workers it did not know.
func (p *workers) adopt(found []*worker) int {
	n := 0
	for _, w := range found {
		at, known := slices.BinarySearchFunc(p.list, w.pid, func(w *worker, pid string) int {
			return strings.Compare(w.pid, pid)
		})
		if known || w.pid == "" || w.link.conn == nil {
			w.link.close()
			continue
		}
		w.link.pinned = true
		p.list = slices.Insert(p.list, at, w)
		n++
		back := slices.IndexFunc(p.missing, func(a absentee) bool { return a.pid == w.pid })
		switch {
		case back >= 0:
			p.missing = slices.Delete(p.missing, back, back+1)
			continue
		case len(p.missing) > 0:
			p.missing = p.missing[1:]
		}
		p.arrived++
	}
	return n
}

// open makes up to n connections at once and asks each a cheap question. It is an error
// if none of them answers. Where calls are refused it makes one.
func (p *workers) open(ctx context.Context, n int) ([]*worker, error) {
	if p.slow.limited() {
		return p.openOne(ctx)
	}
	limit := p.timeout
	if n > 1 {
		limit = min(limit, longestBurst)
	}
	asking, cancel := withTimeout(ctx, limit)
	defer cancel()
	found := make([]*worker, n)
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { found[i], errs[i] = p.ask(asking) })
	}
	running.Wait()
	found = slices.DeleteFunc(found, func(w *worker) bool { return w == nil })
	for _, err := range errs {
		if p.slow.heard(err) {
			break // of a burst that was too large one is told
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case p.slow.limited():
		return p.openOne(ctx)
	}
	return nil, fmt.Errorf("look for nginx workers: %w", errs[0])
}

// openOne makes one connection, as soon as nginx lets it.
func (p *workers) openOne(ctx context.Context) ([]*worker, error) {
	for try := 1; ; try++ {
		if err := p.slow.turn(ctx); err != nil {
			return nil, err
		}
		asking, cancel := withTimeout(ctx, p.timeout)
		w, err := p.ask(asking)
		cancel()
		again := p.slow.heard(err)
		switch {
		case w != nil:
			return []*worker{w}, nil
		case !again || try == refusals:
			return nil, fmt.Errorf("look for nginx workers: %w", err)
		}
	}
}

// ask makes a connection and finds out to whom. Also a refusal names its worker where nginx is told to
// always do so, and its connection is as good as any.
func (p *workers) ask(ctx context.Context) (*worker, error) {
	w := p.newWorker()
	_, err := w.client.List(ctx)
	w.pid = w.link.worker
	if err == nil || refused(err) && w.pid != "" && w.link.conn != nil {
		return w, err
	}
	w.link.close()
	return nil, err
}

func (p *workers) newWorker() *worker {
	l := &link{dial: p.dial}
	return &worker{link: l, client: &Client{
		BaseURL: p.base, HTTPClient: &http.Client{Transport: p.measured(l), CheckRedirect: noRedirect}, Budget: p.budget,
	}}
}

// one is a worker to send changes to.
func (p *workers) one(ctx context.Context) (*worker, error) {
	for try := 0; ; try++ {
		for _, w := range p.list {
			if w.link.usable() {
				return w, nil
			}
		}
		if try > 0 {
			return nil, errNoWorker
		}
		if err := p.meet(ctx, false); err != nil {
			return nil, err
		}
	}
}

func (p *workers) closeAll() {
	for _, w := range p.list {
		w.link.close()
	}
	p.list = nil
}

// withTimeout bounds a call and says so where it ends it.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	err := fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded)
	return context.WithTimeoutCause(ctx, limit, err)
}

// wait waits, or returns the context's error.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func (p *workers) measured(l *link) http.RoundTripper {
	if p.measure == nil {
		return l
	}
	return p.measure(l)
}
