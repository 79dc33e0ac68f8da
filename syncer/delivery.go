package syncer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// Target is a gateway, its name, and how often what it really uses is compared with
// what it should.
type Target struct {
	Name    string
	Gateway Gateway
	Resync  time.Duration
}

// Assumer is a gateway that can't show all of what it uses. It is told once, before
// anything else, what the conf file held at the start: nginx loaded that file, so what
// the gateway does not show is as it stands there until something else is applied.
type Assumer interface {
	Assume(written upstream.Set)
}

// Unsettled is a gateway that may be about to change by itself: a worker of it is gone and
// the one that takes its place is not there yet, or all of them were new a moment ago. It
// is asked again soon.
type Unsettled interface{ Incomplete() bool }

// Crewed is a gateway whose workers can be told apart.
type Crewed interface{ Workers() []upstream.Worker }

// Posted is a gateway that tells when it had taken what it was told by the last Apply, which
// then waits until every worker has it.
type Posted interface{ Posted() time.Time }

// unsettledAgain is how soon.
const unsettledAgain = time.Second

// delivery brings one gateway to the newest generation and keeps it there. It has a
// goroutine of its own, so that one gateway's trouble delays no other.
type delivery struct {
	target Target
	log    logrus.FieldLogger
	// wake says that there is a new generation; moved tells the syncer that the state
	// changed, and strangers that other upstreams than before are not ours.
	wake             chan struct{}
	moved, strangers chan<- struct{}

	event func(Event)
	// mayPush is errOvertaken where no gateway may be told anything, for it would be old.
	mayPush func() error

	mu      sync.Mutex
	want    upstream.Generation
	timing  Timing // of want
	state   GatewayStatus
	first   upstream.Set // what it used when nothing was written yet
	foreign names        // what it uses that we never wrote, when it was asked last
	asked   bool         // since the start, and it answered
	// readable says that it answered when it was asked last.
	readable bool
	// unsure says that another process may have told it something.
	unsure bool

	// What follows is run's own.
	known    *upstream.Set // what the gateway confirmed last; nil where it must be asked
	gone     gone          // what it has confirmed to be without, and is not wanted again
	taking   bool          // nothing was written when it was asked last: then nothing is a stranger's
	compared time.Time     // when it was asked last
	pushing  time.Time     // when it began to be told last
	retry    time.Time     // while it is out of sync: when to try again by itself
	waits    *backoff.ExponentialBackOff
}

func newDelivery(
	t Target, policy retry.Policy, log logrus.FieldLogger, event func(Event), mayPush func() error, moved, strangers chan<- struct{},
) *delivery {
	return &delivery{
		target:    t,
		log:       log.WithField("gateway", t.Name),
		event:     event,
		mayPush:   mayPush,
		wake:      make(chan struct{}, 1),
		moved:     moved,
		strangers: strangers,
		state:     GatewayStatus{Name: t.Name},
		gone:      gone{names: names{}},
		waits:     policy.Backoff(),
	}
}

// to sets the generation that the gateway should reach, and when it went through the stages
// before; the zero Timing where it is not a new one.
func (d *delivery) to(g upstream.Generation, t Timing) {
	d.mu.Lock()
	if g.Number != d.want.Number {
		d.timing = t
	}
	d.want = g
	d.mu.Unlock()
	signal(d.wake)
}

// anew is to for a generation of another process. That tells the gateways of it, too, so they are asked first.
func (d *delivery) anew(g upstream.Generation) {
	d.mu.Lock()
	d.unsure = true
	d.mu.Unlock()
	d.to(g, Timing{})
}

// wanted is the generation that it should reach, and whether what it is known to use may have changed.
func (d *delivery) wanted() (g upstream.Generation, unsure bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	unsure, d.unsure = d.unsure, false
	return d.want, unsure
}

func (d *delivery) status() GatewayStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.state
	if c, ok := d.target.Gateway.(Crewed); ok {
		st.Workers = c.Workers()
	}
	return st
}

// run goes on until the context ends: at a new generation from what the gateway is
// known to use, at every resync and after each failure from what it says it uses.
func (d *delivery) run(ctx context.Context) {
	again := time.NewTimer(d.target.Resync)
	defer again.Stop()
	for {
		woken := true
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-again.C:
			woken = false
		}
		g, unsure := d.wanted()
		if !woken || unsure {
			d.known = nil
		}
		changes, err := d.deliver(ctx, g)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOvertaken) {
			again.Reset(unsettledAgain) // it is no trouble of the gateway's; the newer generation is on its way
			continue
		}
		again.Reset(d.report(g, changes, err, woken))
	}
}

var errOvertaken = errors.New("another process wrote a newer generation")

// deliver brings the gateway to the generation.
func (d *delivery) deliver(ctx context.Context, g upstream.Generation) (upstream.Changes, error) {
	known := d.known
	d.known = nil
	if known == nil {
		live, err := look(ctx, d.target.Gateway)
		if err != nil {
			d.unread()
			return upstream.Changes{}, err
		}
		d.compared, known = time.Now(), &live
		d.mu.Lock()
		d.state.Live, d.state.LiveServers = live.Len(), live.Servers()
		d.mu.Unlock()
		d.notice(live, g)
		d.meet(strangers(live, g, d.gone.names))
	} else if d.taking && g.Number > 0 {
		d.taking = false
		d.meet(strangers(*known, g, d.gone.names))
	}
	d.gone.forget(g.Set)
	changes := plan(*known, g, d.gone.names)
	d.pushing = time.Now()
	if !changes.Empty() {
		if err := d.mayPush(); err != nil {
			return changes, err
		}
		if err := d.target.Gateway.Apply(ctx, changes); err != nil {
			return changes, err
		}
	}
	if d.known = &g.Set; d.taking {
		d.known = known // nothing is written yet: it may have all of it already
	}
	d.mu.Lock()
	d.state.Live += len(changes.Added) - len(changes.Removed)
	d.state.LiveServers += moreServers(changes)
	d.mu.Unlock()
	d.gone.add(changes.Removed)
	return changes, nil
}

// moreServers is by how many servers changes make a set larger.
func moreServers(c upstream.Changes) int {
	n := 0
	for _, u := range c.Added {
		n += len(u.Servers)
	}
	for _, u := range c.Updated {
		n += len(u.New.Servers) - len(u.Old.Servers)
	}
	for _, u := range c.Removed {
		n -= len(u.Servers)
	}
	return n
}

// look reads what a gateway uses.
func look(ctx context.Context, gw Gateway) (upstream.Set, error) {
	live, err := gw.Live(ctx)
	if err != nil {
		return upstream.Set{}, fmt.Errorf("read what is live: %w", err)
	}
	return live, nil
}

// plan is what leads from live to the generation. Of what is live and not wanted only
// that goes which swallowkeeper wrote itself: what an operator configured by hand stays.
func plan(live upstream.Set, g upstream.Generation, gone names) upstream.Changes {
	return upstream.Diff(live, g.Set).RemoveOnly(func(u upstream.Upstream) bool { return leftover(u, g, gone) })
}

// report notes how it went and says when to look again.
func (d *delivery) report(g upstream.Generation, changes upstream.Changes, err error, woken bool) time.Duration {
	now := time.Now()
	d.mu.Lock()
	before, timing := d.state, d.timing
	d.state.Checked = now
	d.state.InSync, d.state.Err = err == nil, err
	if err == nil {
		d.state.Generation = g.Number
	}
	if d.state.InSync != before.InSync || before.Checked.IsZero() {
		d.state.Since = now
	}
	d.mu.Unlock()
	defer signal(d.moved)
	d.tell(before, g, timing, err, now)

	log := d.log.WithField("generation", g.Number)
	if err != nil {
		if woken && d.retry.After(now) {
			// Changes that come while it is down make neither the log longer nor the waits.
			return d.retry.Sub(now)
		}
		wait := d.waits.NextBackOff()
		d.retry = now.Add(wait)
		log.WithError(err).WithField("again_in", wait.Round(time.Millisecond).String()).Warn("the gateway is out of sync")
		return wait
	}
	d.waits.Reset()
	d.retry = time.Time{}
	switch {
	case !changes.Empty():
		log.WithFields(counts(changes)).Info("the gateway took the changes and is in sync")
	case before.Checked.IsZero() || !before.InSync:
		log.WithField("upstreams", g.Set.Len()).Info("the gateway is in sync")
	}
	if u, ok := d.target.Gateway.(Unsettled); ok && u.Incomplete() {
		return min(unsettledAgain, d.target.Resync)
	}
	// However often it is woken, it is compared at every resync.
	return max(0, d.compared.Add(d.target.Resync).Sub(now))
}

// tell makes events of what has changed.
func (d *delivery) tell(before GatewayStatus, g upstream.Generation, t Timing, err error, now time.Time) {
	e := Event{Time: now, Generation: g.Number, Gateway: d.target.Name, Err: err}
	switch {
	case err != nil:
		if before.InSync || before.Checked.IsZero() {
			e.Kind, e.Text = EventOutOfSync, err.Error()
			d.event(e)
		}
		return
	case !before.InSync:
		e.Kind, e.Text = EventInSync, "it shows generation "+strconv.Itoa(g.Number)
		d.event(e)
	}
	if before.Generation != g.Number && !t.Seen.IsZero() {
		t.Pushing, t.Pushed = d.pushing, now
		if p, ok := d.target.Gateway.(Posted); ok && !p.Posted().Before(t.Pushing) {
			t.Posted = p.Posted()
		}
		if c, ok := d.target.Gateway.(Crewed); ok {
			e.Workers = len(c.Workers())
		}
		e.Kind, e.Timing = EventPushed, t
		e.Text = "all of its workers have generation " + strconv.Itoa(g.Number)
		d.event(e)
	}
}

func counts(c upstream.Changes) logrus.Fields {
	return logrus.Fields{"added": len(c.Added), "updated": len(c.Updated), "removed": len(c.Removed)}
}
