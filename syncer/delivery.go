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

	"swallowkeeper/gateway"
	"swallowkeeper/internal/retry"
	"swallowkeeper/upstream"
)

// Target is a gateway, its name, and how often what it really uses is compared with
// what it should.
type Target struct {
	Name    string
	Gateway gateway.Gateway
	Resync  time.Duration
	// Written is told what the conf file held before the gateway is asked; nil where the gateway wants to know nothing.
	Written *gateway.Written
}

// written tells a target what the conf file held. What is being pushed may not have reached the gateway.
func (t Target) written(g upstream.Generation) { t.Written.Set(g.Set.Without(g.Pushing)) }

// unsettledAgain is how soon a gateway is asked again that may be about to change by itself.
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
	// epoch counts what made old all that was taken up before; held says that what is wanted is being replaced by
	// another process's generation.
	epoch int
	held  bool

	// What follows is run's own.
	known    *upstream.Set // what the gateway confirmed last; nil where it must be asked
	gone     gone          // what it has confirmed to be without, and is not wanted again
	taking   bool          // nothing was written when it was asked last: then nothing is a stranger's
	compared time.Time     // when it was asked last
	pushing  time.Time     // when it began to be told last
	posted   time.Time     // when it had taken that; the zero time where there was nothing to tell
	retry    time.Time     // while it is out of sync: when to try again by itself
	waits    *backoff.ExponentialBackOff

	unsettled bool     // it may be about to change by itself, as it said last
	reserved  []string // the names that its own configuration has, as it said last
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

// hold makes old what is wanted, before it is known what another process wrote: anew or release follows.
func (d *delivery) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = true
	d.epoch++
}

// release ends a hold that led to nothing.
func (d *delivery) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	d.epoch++
}

// anew is to for a generation of another process. That tells the gateways of it, too, so they are asked first.
func (d *delivery) anew(g upstream.Generation) {
	d.mu.Lock()
	d.want, d.timing, d.unsure, d.held = g, Timing{}, true, false
	d.state.Generation = 0 // what it shows is ours, whatever its number
	d.epoch++
	d.mu.Unlock()
	signal(d.wake)
}

// wanted is the generation that it should reach, in which epoch, and whether what it is known to use may have changed.
func (d *delivery) wanted() (g upstream.Generation, epoch int, unsure bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	unsure, d.unsure = d.unsure, false
	return d.want, d.epoch, unsure
}

// outdated reports whether what was wanted in an epoch is old by now.
func (d *delivery) outdated(epoch int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held || epoch != d.epoch
}

func (d *delivery) status() GatewayStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// workers are those that the gateway showed last.
func (d *delivery) workers() []gateway.Worker {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.Workers
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
		g, epoch, unsure := d.wanted()
		if !woken || unsure {
			d.known = nil
		}
		changes, err := d.deliver(ctx, g, epoch)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOvertaken) || d.outdated(epoch) {
			again.Reset(unsettledAgain) // it is no trouble of the gateway's; the newer generation is on its way
			continue
		}
		again.Reset(d.report(g, changes, err, woken))
	}
}

var errOvertaken = errors.New("another process wrote a newer generation")

// deliver brings the gateway to the generation that was wanted in an epoch.
func (d *delivery) deliver(ctx context.Context, g upstream.Generation, epoch int) (upstream.Changes, error) {
	known := d.known
	d.known = nil
	if known == nil {
		live, err := look(ctx, d.target.Gateway)
		if err != nil {
			d.unread()
			return upstream.Changes{}, err
		}
		d.compared, d.unsettled, known = time.Now(), live.Unsettled, &live.Set
		d.mu.Lock()
		d.state.Live, d.state.LiveServers = live.Set.Len(), live.Set.Servers()
		d.mu.Unlock()
		d.reserved = live.Reserved
		d.notice(live, g)
		d.meet(strangers(live, g, d.gone.names))
	} else if d.taking && g.Number > 0 {
		d.taking = false
		d.meet(strangers(gateway.Live{Set: *known, Reserved: d.reserved}, g, d.gone.names))
	}
	d.gone.forget(g.Set)
	changes := plan(*known, g, d.gone.names)
	d.pushing, d.posted = time.Now(), time.Time{}
	if !changes.Empty() {
		if err := d.mayPush(); err != nil {
			return changes, err
		}
		if d.outdated(epoch) { // asked last: mayPush may have found the store as the take-over has just read it
			return changes, errOvertaken
		}
		receipt, err := d.target.Gateway.Apply(ctx, changes)
		if err != nil {
			return changes, err
		}
		d.posted, d.unsettled = receipt.Posted, receipt.Unsettled
		d.manned(receipt.Workers)
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

// manned keeps who the gateway's workers are.
func (d *delivery) manned(workers []gateway.Worker) {
	d.mu.Lock()
	d.state.Workers = workers
	d.mu.Unlock()
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
func look(ctx context.Context, gw gateway.Gateway) (gateway.Live, error) {
	live, err := gw.Live(ctx)
	if err != nil {
		return gateway.Live{}, fmt.Errorf("read what is live: %w", err)
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
	if d.unsettled {
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
		t.Pushing, t.Posted, t.Pushed = d.pushing, d.posted, now
		e.Kind, e.Timing, e.Workers = EventPushed, t, len(d.workers())
		e.Text = "all of its workers have generation " + strconv.Itoa(g.Number)
		d.event(e)
	}
}

func counts(c upstream.Changes) logrus.Fields {
	return logrus.Fields{"added": len(c.Added), "updated": len(c.Updated), "removed": len(c.Removed)}
}
