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

// worker is an nginx worker and the connection kept to it.
type worker struct {
	pid    string // "" if workers can't be distinguished
	link   *link
	client *Client

	hash uint64 // of the last /detail answer
	copy *copyOf
}

// workers keeps a connection to each worker that shows its pid. nginx offers no way to choose a worker, so connections
// are opened in bursts, so that several workers accept, until no new worker turns up.
type workers struct {
	measure func(http.RoundTripper) http.RoundTripper // nil: not measured
	budget  *budget.Budget                            // nil: each answer only has its own limit

	base    string
	dial    func(context.Context) (net.Conn, error)
	timeout time.Duration // of one call
	// patience is how long to wait for a worker that is gone: one that starts after a crash sleeps for twice the read
	// timeout before it answers.
	patience time.Duration
	log      logrus.FieldLogger

	slow slow

	list        []*worker // sorted by pid
	plain       bool      // workers can't be distinguished: list has one connection, to any of them
	plainLogged bool      // plain was logged
	missing     []missingWorker
	// arrived counts workers found after the first search.
	arrived int
	// fresh is when all workers were last new. A worker that starts late is then not known to be missing.
	fresh time.Time
	// crashed and reloaded are called after a worker has arrived.
	crashed, reloaded func()
}

type missingWorker struct {
	pid      string
	since    time.Time
	reported bool // an answer without it was reported as unsettled
}

// Limits of the search for workers. One worker often accepts several connections in a row, so it takes many connections
// to be sure that no worker was missed.
const (
	burst     = 8
	maxSearch = 64 * burst
	// maxBurst limits how long a hanging worker delays the search for others.
	maxBurst = 2 * time.Second
)

// meet makes sure that there is a connection to each worker. It is cheap if nothing changed. If look is set, it also
// looks for workers that earlier searches missed.
func (p *workers) meet(ctx context.Context, look bool) error {
	dismissed := p.dismiss()
	switch {
	case len(p.list) == 0 || p.plain && look || dismissed:
		return p.search(ctx)
	case look || len(p.missing) > 0:
		return p.quickSearch(ctx)
	}
	return nil
}

// quickSearch opens one burst, and searches if that finds a new worker.
func (p *workers) quickSearch(ctx context.Context) error {
	survivors, gone, arrived := len(p.list), len(p.missing), p.arrived
	found, err := p.open(ctx, burst)
	if err != nil {
		return err
	}
	n := p.adopt(found)
	p.report(false, survivors, gone, p.arrived-arrived)
	if n > 0 {
		return p.search(ctx)
	}
	return nil
}

// unsettled reports whether an answer given now may soon be outdated: a worker is missing, or all workers were new
// recently. Each missing worker makes at least one answer unsettled.
func (p *workers) unsettled() bool {
	for i := range p.missing {
		p.missing[i].reported = true
	}
	return len(p.missing) > 0 || time.Since(p.fresh) < p.patience
}

// dismiss drops workers whose connection is unusable, and reports whether there were any.
func (p *workers) dismiss() bool {
	now, before := time.Now(), len(p.missing)
	p.list = slices.DeleteFunc(p.list, func(w *worker) bool {
		if w.link.usable() {
			return false
		}
		p.missing = append(p.missing, missingWorker{pid: w.pid, since: now})
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
		p.goPlain(w)
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
		enough := min(4*burst*(len(p.list)+1), maxSearch)
		if p.slow.limited() {
			enough = burst + 2*len(p.list) // later calls of meet find those that were missed
		}
		if fruitless >= enough {
			break
		}
		began := time.Now()
		if found, err = p.open(ctx, burst); err != nil {
			break // still report the adopted ones
		}
		if p.adopt(found) > 0 {
			fruitless = 0
		}
		fruitless += max(1, len(found))
		if time.Since(began) >= maxBurst {
			break // a hanging worker would delay every burst
		}
	}
	p.report(first, survivors, gone, p.arrived-arrived)
	return err
}

// report logs which workers came and went, and notifies the memory.
func (p *workers) report(first bool, survivors, gone, arrived int) {
	pids := make([]string, len(p.list))
	for i, w := range p.list {
		pids[i] = w.pid
	}
	log := p.log.WithField("workers", strings.Join(pids, " "))
	switch {
	case first:
		p.arrived -= arrived // no worker was known before
		p.fresh = time.Now()
		log.Info("a connection to each nginx worker is kept")
		return
	case arrived == 0:
	case survivors == 0 && gone > 1 && arrived > 1:
		// Nothing in the interface distinguishes the two, and a reload, which is common, must not cause everything to
		// be posted again. What nginx shows is compared in both cases; what it hides is assumed to be as in the conf
		// file.
		log.Info("all nginx workers are new: a reload, or a crash of all")
		p.missing, p.fresh = nil, time.Now()
		p.reloaded()
	default:
		log.WithField("new", arrived).Warn("an nginx worker is new, as after a crash: its upstreams are compared")
		p.crashed()
	}
	p.missing = slices.DeleteFunc(p.missing, func(a missingWorker) bool {
		late := a.reported && time.Since(a.since) > p.patience
		if late {
			log.WithField("missing", a.pid).Warn("going on without an nginx worker that does not answer")
		}
		return late
	})
}

// settled reports whether workers can't be distinguished: an answer names none, or no connection stays open after its
// answer.
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

// goPlain continues without distinguishing workers.
func (p *workers) goPlain(w *worker) {
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
	if !p.plainLogged {
		p.log.Info("nginx workers can't be told apart: " + why)
		p.plainLogged = true
	}
	w.pid = ""
	p.plain, p.list, p.missing = true, []*worker{w}, nil
}

// adopt keeps the first connection to each worker and closes the others. It returns the number of new workers.
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
		back := slices.IndexFunc(p.missing, func(a missingWorker) bool { return a.pid == w.pid })
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

// open makes up to n connections at once, each with a cheap call. If none of them gets an answer, open returns an
// error. If calls are being refused, it makes one connection.
func (p *workers) open(ctx context.Context, n int) ([]*worker, error) {
	if p.slow.limited() {
		return p.openOne(ctx)
	}
	limit := p.timeout
	if n > 1 {
		limit = min(limit, maxBurst)
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
		if p.slow.observe(err) {
			break // count one refusal per burst
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

// openOne makes one connection, as soon as nginx allows it.
func (p *workers) openOne(ctx context.Context) ([]*worker, error) {
	for try := 1; ; try++ {
		if err := p.slow.turn(ctx); err != nil {
			return nil, err
		}
		asking, cancel := withTimeout(ctx, p.timeout)
		w, err := p.ask(asking)
		cancel()
		again := p.slow.observe(err)
		switch {
		case w != nil:
			return []*worker{w}, nil
		case !again || try == maxRefusals:
			return nil, fmt.Errorf("look for nginx workers: %w", err)
		}
	}
}

// ask makes a connection and finds out which worker accepted it. A refusal also names its worker if nginx is configured
// to always add the header, and its connection is just as good.
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

// one returns a worker to send changes to.
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

// withTimeout limits a call, with a cause that states the limit.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	err := fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded)
	return context.WithTimeoutCause(ctx, limit, err)
}

// wait waits for d, or returns the context's cause.
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
