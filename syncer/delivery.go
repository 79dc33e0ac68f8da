package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/internal/retry"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Target is a gateway with its name and the interval at which its live state is compared with the wanted one.
type Target struct {
	Name    string
	Gateway gateway.Gateway
	Resync  time.Duration
	// Written receives what the conf file held before the gateway is first asked; nil if the gateway has no use for
	// it.
	Written *gateway.Written
}

// written passes on what the conf file held, without what is being pushed: that may not have reached the gateway.
func (t Target) written(g generation.Generation) { t.Written.Set(g.Set.Without(g.Pushing)) }

// unsettledAgain is the delay before asking a gateway again that may be about to change on its own.
const unsettledAgain = time.Second

// delivery brings one gateway to the newest generation and keeps it there. Each has its own goroutine, so that a slow
// gateway does not delay the others.
type delivery struct {
	target Target
	log    logrus.FieldLogger
	// wake signals a new generation. moved tells the syncer that the state changed, strangers that the set of
	// upstreams that are not ours changed.
	wake             chan struct{}
	moved, strangers chan<- struct{}
	questions        chan question

	event func(Event)
	// mayPush returns errOvertaken if nothing may be pushed because it would be outdated.
	mayPush func() error

	mu      sync.Mutex
	want    generation.Generation
	timing  Timing // of want
	state   GatewayStatus
	first   upstream.Set // what it used before anything was written
	foreign names        // upstreams it uses that we never wrote, as of the last answer
	asked   bool         // it has answered since the start
	// readable means that it answered the last time.
	readable bool
	// unsure means that another process may have pushed something.
	unsure bool
	// epoch is incremented when all work in progress becomes outdated. held means that the wanted generation is being
	// replaced by one of another process.
	epoch int
	held  bool
	// passing are the sets that were wanted since run last took one. The gateway may have seen any of them, from
	// another process or from the conf file.
	passing []upstream.Set
	// orphans are names that only another process wanted in the meantime. The gateway may have those as well.
	orphans []string

	// The remaining fields are used by run only.
	admission gateway.Admission

	known    *upstream.Set // what the gateway confirmed last; nil if it must be asked
	gone     gone          // names it has confirmed to be without and that are not wanted again
	taking   bool          // nothing was written when it was last asked, so nothing counts as a stranger
	compared time.Time     // when it was last asked
	pushing  time.Time     // when the last push began
	posted   time.Time     // when it had accepted the push; zero if there was nothing to push
	applied  time.Time     // when it last accepted changes
	retry    time.Time     // while out of sync: when to try again without being woken
	waits    *backoff.ExponentialBackOff

	unsettled bool     // it said last that it may be about to change on its own
	reserved  []string // names in its own configuration, as it said last
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
		questions: make(chan question),
		moved:     moved,
		strangers: strangers,
		state:     GatewayStatus{Name: t.Name},
		gone:      gone{names: names{}},
		waits:     policy.Backoff(),
	}
}

// to sets the generation that the gateway should reach, and the times of its earlier stages; the zero Timing if it is
// not a new generation.
func (d *delivery) to(g generation.Generation, t Timing) {
	d.mu.Lock()
	if g.Number != d.want.Number {
		d.timing = t
	}
	d.want = g
	d.passing = append(d.passing, g.Set)
	d.mu.Unlock()
	signal(d.wake)
}

// doubt makes run ask the gateway before pushing anything: another process may have pushed something, so the gateway
// may have the orphans.
func (d *delivery) doubt(orphans []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsure = true
	d.orphans = append(d.orphans, orphans...)
}

// hold marks what is wanted as outdated until it is known what another process wrote. replace or release must follow.
func (d *delivery) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = true
	d.epoch++
}

// release ends a hold without a new generation.
func (d *delivery) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	d.epoch++
}

// replace sets a generation of another process, like to. That process pushes it as well, so the gateways are asked first.
func (d *delivery) replace(g generation.Generation) {
	d.mu.Lock()
	d.want, d.timing, d.unsure, d.held = g, Timing{}, true, false
	d.passing = append(d.passing, g.Set)
	d.state.Generation = 0 // it counts our generations, whatever their numbers
	d.epoch++
	d.mu.Unlock()
	signal(d.wake)
}

// wanted returns the generation to reach, its epoch, and whether the known state of the gateway may be outdated. Only
// run calls it.
func (d *delivery) wanted() (g generation.Generation, epoch int, unsure bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	unsure, d.unsure = d.unsure, false
	for _, set := range d.passing { // even what was wanted only briefly may be back if nginx started meanwhile
		d.gone.forget(set)
	}
	d.gone.adopt(d.orphans)
	d.passing, d.orphans = nil, nil
	return d.want, d.epoch, unsure
}

// outdated reports whether what was wanted in the epoch is outdated.
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

// workers returns the workers that the gateway last showed.
func (d *delivery) workers() []gateway.Worker {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.Workers
}

// run delivers until the context ends. For a new generation it starts from the known state of the gateway; at every
// resync and after a failure it asks the gateway first. If both are due, as after a slow answer, it asks.
func (d *delivery) run(ctx context.Context) {
	again := time.NewTimer(d.target.Resync)
	defer again.Stop()
	var later <-chan time.Time // a new generation that waits for the gateway's interval
	for {
		woken := true
		select {
		case <-ctx.Done():
		case <-d.wake:
			if wait := d.pause(); wait > 0 {
				if later == nil {
					later = time.After(wait)
				}
				continue // further changes are delivered together
			}
			woken = !drain(again.C)
		case <-later:
			drain(d.wake)
			woken = !drain(again.C)
		case <-again.C:
			woken = false
			drain(d.wake)
		case q := <-d.questions:
			q.answer <- d.lacks(ctx, q.of)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		later = nil
		g, epoch, unsure := d.wanted()
		if !woken || unsure {
			d.known = nil
		}
		changes, err := d.deliver(ctx, g, epoch)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOvertaken) {
			again.Reset(unsettledAgain) // not the gateway's fault; the newer generation is on its way
			continue
		}
		again.Reset(d.report(g, epoch, changes, err, woken))
	}
}

// pause returns how long to wait before pushing again, by the gateway's own minimum interval.
func (d *delivery) pause() time.Duration {
	interval := d.target.Gateway.Abilities().Interval
	if interval <= 0 || d.applied.IsZero() {
		return 0
	}
	return time.Until(d.applied.Add(interval))
}

// drain receives without blocking, and reports whether there was something.
func drain[T any](c <-chan T) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var errOvertaken = errors.New("another process wrote a newer generation")

// deliver brings the gateway to the generation that was wanted in the epoch.
func (d *delivery) deliver(ctx context.Context, g generation.Generation, epoch int) (upstream.Changes, error) {
	known := d.known
	d.known = nil
	if known == nil {
		live, err := look(ctx, d.target.Gateway)
		if err != nil {
			d.setUnreadable()
			return upstream.Changes{}, err
		}
		d.compared, d.unsettled, known = time.Now(), live.Unsettled, &live.Set
		d.mu.Lock()
		d.state.Live, d.state.LiveServers = live.Set.Len(), live.Set.Servers()
		d.mu.Unlock()
		d.reserved = live.Reserved
		d.noteLive(live, g)
		d.setForeign(strangers(live, g, d.gone.names))
	} else if d.taking && g.Number > 0 {
		d.taking = false
		d.setForeign(strangers(gateway.Live{Set: *known, Reserved: d.reserved}, g, d.gone.names))
	}
	d.admission.Abilities = d.target.Gateway.Abilities()
	want, out := d.admission.Admit(g.Set)
	changes := plan(*known, want, g, d.gone.names)
	d.admitted(out)
	d.pushing, d.posted = time.Now(), time.Time{}
	if !changes.Empty() {
		if err := d.mayPush(); err != nil {
			return changes, err
		}
		if d.outdated(epoch) { // checked last: mayPush may have read the store after the take-over did
			return changes, errOvertaken
		}
		receipt, err := d.target.Gateway.Apply(ctx, changes)
		if err != nil {
			return changes, err
		}
		d.posted, d.unsettled = receipt.Posted, receipt.Unsettled
		if !d.posted.IsZero() {
			d.applied = d.posted
		}
		d.setWorkers(receipt.Workers)
	}
	if d.taking {
		d.known = known // nothing is written yet: it may already have all of it
	} else {
		has := withOut(changes.Want, *known, out)
		d.known = &has
	}
	d.mu.Lock()
	d.state.Live += len(changes.Added) - len(changes.Removed)
	d.state.LiveServers += moreServers(changes)
	d.mu.Unlock()
	d.gone.add(changes.Removed)
	return changes, nil
}

// admitted records what the gateway can't do, and logs what is new.
func (d *delivery) admitted(out upstream.Outs) {
	d.mu.Lock()
	before := d.state.Out
	d.state.Out = out
	d.mu.Unlock()
	left := mostLines
	for _, o := range before.Changed(out) {
		if o == (upstream.Out{}) {
			continue
		}
		if left--; left >= 0 {
			d.log.WithFields(withRoute(logrus.Fields{"upstream": o.Upstream, "reason": o.Reason.String()}, o)).Warn("the gateway can't serve an upstream as wanted")
		}
	}
}

// withOut returns set, with the upstreams in out as they were before.
func withOut(set, before upstream.Set, out upstream.Outs) upstream.Set {
	var stay []upstream.Upstream
	for o := range out.All() {
		if o.Route != "" {
			continue // its upstream is there without the route
		}
		if u, there := before.Get(o.Upstream); there {
			stay = append(stay, u)
		}
	}
	if stay == nil {
		return set
	}
	return set.With(stay, nil)
}

// setWorkers sets the gateway's workers.
func (d *delivery) setWorkers(workers []gateway.Worker) {
	d.mu.Lock()
	d.state.Workers = workers
	d.mu.Unlock()
}

// moreServers returns by how many servers the changes enlarge a set.
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

// look reads the live state of a gateway.
func look(ctx context.Context, gw gateway.Gateway) (gateway.Live, error) {
	live, err := gw.Live(ctx)
	if err != nil {
		return gateway.Live{}, fmt.Errorf("read what is live: %w", err)
	}
	return live, nil
}

// plan returns the changes from live to want. Of what is live but not wanted, it removes only what swallowkeeper
// wrote: what an operator configured by hand stays.
func plan(live, want upstream.Set, g generation.Generation, gone names) upstream.Changes {
	changes := upstream.Diff(live, want)
	if len(changes.Removed) == 0 {
		return changes
	}
	leaving := leaving(g)
	return changes.RemoveOnly(func(u upstream.Upstream) bool { return leftover(u, leaving, gone) })
}

// report records the result of a delivery, unless its epoch is outdated, and returns when to check again.
func (d *delivery) report(g generation.Generation, epoch int, changes upstream.Changes, err error, woken bool) time.Duration {
	now := time.Now()
	d.mu.Lock()
	if d.held || epoch != d.epoch {
		d.mu.Unlock()
		return unsettledAgain
	}
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
			// Changes while the gateway is down neither add to the log nor lengthen the waits.
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
	// Resyncs stay on schedule, however often the delivery is woken.
	return max(0, d.compared.Add(d.target.Resync).Sub(now))
}

// tell emits events for what has changed.
func (d *delivery) tell(before GatewayStatus, g generation.Generation, t Timing, err error, now time.Time) {
	e := Event{Time: now, Generation: g.Number, Gateway: d.target.Name, Err: err}
	switch {
	case err != nil:
		if before.InSync || before.Checked.IsZero() {
			e.Kind, e.Text = EventOutOfSync, reason.Of(err)
			d.event(e)
		}
		return
	case !before.InSync:
		e.Kind, e.Text = EventInSync, shows.With(g.Number)
		d.event(e)
	}
	if before.Generation != g.Number && !t.Seen.IsZero() {
		t.Pushing, t.Posted, t.Pushed = d.pushing, d.posted, now
		e.Kind, e.Timing, e.Workers = EventPushed, t, len(d.workers())
		e.Text = allShow.With(g.Number)
		d.event(e)
	}
}

func counts(c upstream.Changes) logrus.Fields {
	return logrus.Fields{"added": len(c.Added), "updated": len(c.Updated), "removed": len(c.Removed)}
}
