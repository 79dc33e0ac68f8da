// Package nginx manages an nginx by reloading it. A [Gateway] renders the wanted state into a folder for each generation,
// switches the link that nginx includes from with one rename, lets nginx test the result, and reloads nginx once. It trusts
// only the workers' answers: each generation has a location that returns the worker's process ID and the generation's
// digest.
//
// The steps of a change, and what remains if it is interrupted after one:
//
//	write generation-N      nobody includes it yet
//	link current -> N       a restart of nginx loads it; until then the next check sees a difference
//	nginx -t                refused: the link goes back
//	reload                  as after the link
//	every worker shows N    in sync
package nginx

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/upstream"
)

// Gateway is an nginx. It is not safe for concurrent use.
type Gateway struct {
	config  Config
	log     logrus.FieldLogger
	machine Machine
	asker   *asker
	meter   *meter

	master int               // of the workers that last answered; 0 if unknown
	alive  []int             // the last known workers
	since  map[int]time.Time // when each was first seen

	written *gateway.Written
	told    *upstream.Set // the servers that another gateway should have sent; nil until asked

	kept  generation // as last read or written, if intact
	swept bool       // no obsolete generation is left

	reloaded time.Time // time of the last reload
	futile   futile
}

// Option is an optional setting of a gateway.
type Option func(*Gateway)

// On makes the gateway act on another machine.
func On(m Machine) Option { return func(g *Gateway) { g.machine = m } }

// WithWritten assumes that the servers sent by another gateway are initially those of the conf file.
func WithWritten(w *gateway.Written) Option { return func(g *Gateway) { g.written = w } }

// New makes a gateway. It sends no requests.
func New(c Config, log logrus.FieldLogger, options ...Option) *Gateway {
	g := &Gateway{
		config: c, log: log, machine: cmp.Or(c.On, System()), asker: newAsker(c), since: map[int]time.Time{},
	}
	for _, option := range options {
		option(g)
	}
	return g
}

// Close does nothing, as each query has its own connection.
func (g *Gateway) Close() error { return nil }

// Live returns what the workers run: the files of the generation that they report. If the link points to another
// generation, or the files are gone, it returns no servers, as nginx would load something else at its next start.
func (g *Gateway) Live(ctx context.Context) (gateway.Live, error) {
	if err := ctx.Err(); err != nil {
		return gateway.Live{}, err
	}
	f, err := openFolder(g.config.Dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = nil, nil
	}
	if err != nil {
		return gateway.Live{}, err
	}
	var current generation
	if f != nil {
		defer f.close()
		n, err := f.current()
		if err == nil {
			current, err = f.read(n)
		}
		if g.kept = (generation{}); current.whole {
			g.kept = current
		}
		if err != nil {
			return gateway.Live{}, err
		}
	}
	seen, err := g.look(ctx)
	if err != nil {
		return gateway.Live{}, err
	}
	live := gateway.Live{Workers: seen.workers, Unsettled: seen.unsettled || len(seen.digests) > 1}
	set, needed := whole(current), []int{current.n}
	for _, digest := range seen.digests {
		if digest == current.digest {
			continue
		}
		running := generation{}
		if f != nil && digest != "" {
			n, err := f.find(digest)
			if err == nil {
				running, err = f.read(n)
				needed = append(needed, n)
			}
			if err != nil {
				return gateway.Live{}, err
			}
		}
		set = agreed(set, whole(running))
	}
	live.Set = g.complete(set)
	if f != nil && !g.swept { // not while a change is waiting
		if err := f.sweep(needed...); err != nil {
			g.log.WithError(err).Warn("a generation that nobody needs any more is still there")
		}
		g.swept = true
	}
	return live, nil
}

// complete adds the servers that another gateway sends to nginx: as last wanted, or as written before.
func (g *Gateway) complete(has upstream.Set) upstream.Set {
	if g.config.Servers == byReload {
		return has
	}
	if g.told == nil {
		written := g.written.Get()
		g.told = &written
	}
	var put []upstream.Upstream
	for u := range g.told.All() {
		routed, there := has.Get(u.Name)
		u.Routes = routed.Routes
		if there && len(routed.Servers) == 0 {
			u.Servers = nil
		}
		put = append(put, u)
	}
	return has.With(put, nil)
}

// whole returns a generation's set. If files were changed by hand, it is unknown what nginx loaded.
func whole(g generation) upstream.Set {
	if g.whole {
		return g.set
	}
	return g.set.Select(func(upstream.Upstream, upstream.Server) bool { return false })
}

// agreed returns all upstreams of both sets, those that differ without servers.
func agreed(a, b upstream.Set) upstream.Set {
	var differ []upstream.Upstream
	note := func(u upstream.Upstream) {
		differ = append(differ, upstream.Upstream{Name: u.Name, Options: u.Options})
	}
	c := upstream.Diff(a, b)
	for _, u := range slices.Concat(c.Added, c.Removed) {
		note(u)
	}
	for _, u := range c.Updated {
		note(u.Old)
	}
	return a.With(differ, nil)
}

// sight is the result of looking at nginx once.
type sight struct {
	digests   []string // generations of the workers, "" for none of ours
	other     string   // answer of a worker without one
	workers   []gateway.Worker
	unsettled bool
}

const fewAnswers = 4

// look asks the workers for their generation. If the process table shows the workers of this nginx, a few answers are
// enough, as all workers that accept connections have the same configuration. Otherwise it needs as many as prove
// something.
func (g *Gateway) look(ctx context.Context) (sight, error) {
	answers := g.asker.several(ctx, fewAnswers)
	workers := g.crew(answers)
	if workers == nil {
		answers = append(answers, g.asker.several(ctx, rowOf-fewAnswers)...)
	}
	var s sight
	var lost error
	for _, a := range answers {
		switch {
		case a.err != nil:
			lost = a.err
			continue
		case a.digest == "":
			s.other = a.other
		}
		if !slices.Contains(s.digests, a.digest) {
			s.digests = append(s.digests, a.digest)
		}
	}
	if len(s.digests) == 0 {
		return sight{}, lost
	}
	s.workers, s.unsettled = g.combine(workers, answers)
	return s, nil
}

// crew returns the workers from the process table. It returns nil if nginx runs in a container, or the table shows
// another nginx than the one that answers.
func (g *Gateway) crew(answers []told) []nginxproc.Worker {
	if g.config.Container != "" {
		return nil
	}
	table, master := g.machine.Processes(), g.master
	if pid, err := g.readPID(); err == nil {
		master = pid
	}
	for _, a := range answers {
		if found, err := table.Master(a.pid); a.pid > 0 && err == nil && (g.config.PID == "" || found == master) {
			master = found
			break
		}
	}
	workers, err := table.Workers(master)
	if err != nil || len(workers) == 0 || !areOf(workers, answers) {
		return nil
	}
	g.master = master
	return workers
}

// areOf reports whether workers and answers may belong to one nginx: no answer has a process ID, or one of them
// matches.
func areOf(workers []nginxproc.Worker, answers []told) bool {
	nobody := true
	for _, a := range answers {
		if a.pid > 0 {
			nobody = false
			if slices.ContainsFunc(workers, func(w nginxproc.Worker) bool { return w.PID == a.pid }) {
				return true
			}
		}
	}
	return nobody
}

// combine returns the workers from the process table, or else from the answers.
func (g *Gateway) combine(workers []nginxproc.Worker, answers []told) ([]gateway.Worker, bool) {
	var alive []int
	stopped := map[int]bool{}
	for _, w := range workers {
		if !w.Leaving {
			alive = append(alive, w.PID)
			stopped[w.PID] = w.Stopped
		}
	}
	if workers == nil {
		for _, a := range answers {
			if a.pid > 0 && !slices.Contains(alive, a.pid) {
				alive = append(alive, a.pid)
			}
		}
	}
	slices.Sort(alive)
	unsettled := workers != nil && g.alive != nil && !slices.Equal(alive, g.alive)
	now := time.Now()
	since := make(map[int]time.Time, len(alive))
	crew := make([]gateway.Worker, len(alive))
	for i, pid := range alive {
		since[pid] = now
		if before, known := g.since[pid]; known {
			since[pid] = before
		}
		crew[i] = gateway.Worker{ID: strconv.Itoa(pid), Since: since[pid]}
		if stopped[pid] {
			crew[i].Err, unsettled = isStopped.Err(), true
		}
	}
	slices.SortFunc(crew, func(a, b gateway.Worker) int { return strings.Compare(a.ID, b.ID) })
	g.alive, g.since = alive, since
	return crew, unsettled
}
