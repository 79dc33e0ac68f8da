package nginx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
)

// mayReload waits for the minimum interval. Too many old workers are an error: each reload may leave one more, with all
// of its memory.
func (g *Gateway) mayReload(ctx context.Context) error {
	old := 0
	for _, w := range g.crew(nil) {
		if w.Leaving {
			old++
		}
	}
	if old > g.config.MaxOldWorkers {
		return tooManyOld.Err(old, g.config.MaxOldWorkers)
	}
	if g.reloaded.IsZero() {
		return nil
	}
	return wait(ctx, time.Until(g.reloaded.Add(g.config.MinInterval)))
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// load reloads nginx, and returns once every worker has shown the generation.
func (g *Gateway) load(ctx context.Context, a *attempt) (gateway.Receipt, error) {
	before := slices.DeleteFunc(g.crew(nil), func(w nginxproc.Worker) bool { return w.Leaving })
	p := newProof(a.placed.digest, before)
	g.reloaded = time.Now()
	err := g.reload(ctx)
	posted := time.Now()
	if err != nil {
		g.meter.reloaded(err)
		return gateway.Receipt{}, err
	}
	workers, err := g.verify(ctx, p)
	g.meter.reloaded(err)
	if err != nil {
		return gateway.Receipt{}, g.unproven(a, p, workers, posted, err)
	}
	g.futile = futile{}
	g.alive = nil // they are all new, as intended
	crew, unsettled := g.combine(workers, p.answers())
	return gateway.Receipt{Posted: posted, Workers: crew, Unsettled: unsettled}, nil
}

// reload makes nginx load its configuration.
func (g *Gateway) reload(ctx context.Context) error {
	if g.config.PID != "" {
		return g.hangUp()
	}
	out, err := g.run(ctx, g.config.Reload)
	if err != nil {
		return fmt.Errorf("%s: %s", strings.Join(g.command(g.config.Reload), " "), failure(out, err))
	}
	return nil
}

// hangUp sends HUP to the process in the pid file if it is an nginx. It gets a handle first, so that the signal never
// reaches another process that reuses the ID.
func (g *Gateway) hangUp() error {
	pid, err := g.readPID()
	if err != nil {
		return err
	}
	process, err := g.machine.Find(pid)
	if err != nil {
		return noProcess.Err(pid, g.config.PID, err)
	}
	defer func() { _ = process.Release() }()
	table := g.machine.Processes()
	name, err := table.Name(pid)
	switch {
	case err != nil:
		return noProcess.Err(pid, g.config.PID, err)
	case name != "nginx" && table.IsMaster(pid) != nil: // a Tengine's program may have another name
		return stranger.Err(pid, safetext.Quote(name))
	}
	if err := process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("send HUP to pid %d of %s: %w", pid, g.config.PID, err)
	}
	return nil
}

// readPID reads the pid file each time, as nginx may have been restarted.
func (g *Gateway) readPID() (int, error) {
	f, err := os.Open(g.config.PID)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const longest = 32
	text, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return 0, noPID.Err(g.config.PID, safetext.Quote(string(text)))
	}
	return pid, nil
}

// How often nginx is asked during a reload, and over how many connections once its old workers are leaving.
const (
	askAgain = 3 * time.Millisecond
	atOnce   = 8
)

// verify asks until every worker has shown the generation.
func (g *Gateway) verify(ctx context.Context, p *proof) ([]nginxproc.Worker, error) {
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	var workers []nginxproc.Worker
	for {
		t := g.asker.ask(ctx)
		p.hear(t, time.Now())
		if p.row > 0 && !g.oldTakes(p) { // scanning all processes costs more
			workers = g.crew([]told{t})
			if p.shows(workers) && !p.byWorkers(workers, time.Now()) { // a new one may not have answered yet
				for _, t := range g.asker.several(ctx, atOnce) {
					p.hear(t, time.Now())
				}
			}
			now := time.Now()
			if p.byWorkers(workers, now) || !p.shows(workers) && p.byAnswers(now) {
				return workers, nil
			}
		}
		if err := wait(ctx, askAgain); err != nil {
			return g.crew(nil), err
		}
	}
}

// oldTakes reports whether a worker from before the reload is known to accept connections and has not shown the
// generation.
func (g *Gateway) oldTakes(p *proof) bool {
	for pid := range p.before {
		if !p.heard[pid] && g.machine.Processes().Takes(pid) {
			return true
		}
	}
	return false
}

// unproven returns why a reload could not be verified.
func (g *Gateway) unproven(a *attempt, p *proof, workers []nginxproc.Worker, posted time.Time, err error) error {
	if p.last.digest == "" && p.last.other != "" {
		err := notServed.Err(g.config.Verify, p.last.other, g.asker.host(), g.config.Dir)
		var alive []int
		for _, w := range workers {
			if !w.Leaving {
				alive = append(alive, w.PID)
			}
		}
		if !slices.ContainsFunc(alive, func(pid int) bool { return p.before[pid] }) {
			// All are new and have no generation: the reload itself worked.
			g.futile = futile{digest: a.placed.digest, alive: alive, at: time.Now(), err: err}
		}
		return err
	}
	who := g.why(p, workers, err)
	return notShown.Err(time.Since(posted).Round(time.Millisecond), who, a.named())
}

func (g *Gateway) why(p *proof, workers []nginxproc.Worker, err error) reason.Reason {
	if i := slices.IndexFunc(workers, func(w nginxproc.Worker) bool { return !w.Leaving && p.before[w.PID] }); i >= 0 {
		return oldWorker.With(workers[i].PID)
	}
	switch {
	case p.last.pid == 0 && p.lost != nil:
		return noAnswer.With(p.lost)
	case p.last.pid > 0 && p.last.digest != p.digest:
		return oldAnswer.With(p.last.pid)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return newWorkers.With()
	}
	return noAnswer.With(err)
}

// answers returns the workers that answered with the generation.
func (p *proof) answers() []told {
	var all []told
	for pid := range p.heard {
		all = append(all, told{pid: pid, digest: p.digest})
	}
	return all
}
