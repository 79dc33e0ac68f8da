package syncer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// nginx refuses a configuration in which an upstream occurs twice, and once it is down it can't be asked for its
// upstreams. So a new name is written only after every gateway was asked since the start and none has it. Names that
// are already ours stay in use.

// firstLook is how long the first decision waits for the gateways' answers.
const firstLook = 500 * time.Millisecond

// names is a set of upstream names.
type names map[upstream.Key]bool

func (n names) has(name string) bool { return n[upstream.KeyOf(name)] }

func (n names) add(list []upstream.Upstream) {
	for _, u := range list {
		n[upstream.KeyOf(u.Name)] = true
	}
}

// leftover reports whether an upstream that is live but not wanted was written by us: it is leaving, and the gateway
// has never confirmed its removal. If the gateway did confirm it, a crashed worker may bring it back from what nginx
// last loaded; one that all workers have again was configured by somebody else.
func leftover(u upstream.Upstream, leaving, gone names) bool {
	if gone.has(u.Name) {
		return len(u.Servers) == 0
	}
	return leaving.has(u.Name)
}

// leaving returns the leaving names of a generation.
func leaving(g generation.Generation) names {
	all := make(names, len(g.Leaving))
	for _, name := range g.Leaving {
		all[upstream.KeyOf(name)] = true
	}
	return all
}

// strangers returns the upstreams of a gateway that swallowkeeper never wrote. Before anything is written, only those
// in nginx's own configuration count, as far as the gateway knows them; the others were left by another program and
// are taken over.
func strangers(live gateway.Live, g generation.Generation, gone names) names {
	foreign := names{}
	for _, name := range live.Reserved {
		if _, ours := g.Set.Get(name); !ours {
			foreign.add([]upstream.Upstream{{Name: name}})
		}
	}
	if g.Number == 0 {
		return foreign
	}
	leaving := leaving(g)
	for u, ours := range upstream.Changed(live.Set, g.Set) {
		if ours.Name == "" && !leftover(u, leaving, gone) {
			foreign.add([]upstream.Upstream{u})
		}
	}
	return foreign
}

// noteLive records the gateway's workers, and what it uses if nothing is written yet.
func (d *delivery) noteLive(live gateway.Live, g generation.Generation) {
	d.setWorkers(live.Workers)
	d.taking = g.Number == 0
	if d.taking {
		d.mu.Lock()
		d.first = live.Set
		d.mu.Unlock()
	}
}

// setForeign records which upstreams of the gateway are not ours.
func (d *delivery) setForeign(foreign names) {
	d.mu.Lock()
	same := d.asked && d.readable && maps.Equal(d.foreign, foreign)
	d.asked, d.readable, d.foreign = true, true, foreign
	d.mu.Unlock()
	if !same {
		signal(d.strangers)
	}
}

// setUnreadable records that the gateway could not be asked, so that its last answer may be outdated.
func (d *delivery) setUnreadable() {
	d.mu.Lock()
	d.readable = false
	d.mu.Unlock()
}

// ask asks every gateway once, for a pass without a daemon.
func (s *Syncer) ask(ctx context.Context) {
	var asking sync.WaitGroup
	for _, d := range s.deliveries {
		asking.Go(func() {
			live, err := look(ctx, d.target.Gateway)
			if err != nil {
				d.setUnreadable() // the pass reports it when it delivers to the gateway
				return
			}
			d.noteLive(live, s.gen)
			d.setForeign(strangers(live, s.gen, nil))
		})
	}
	asking.Wait()
}

// known returns the names that are known to be somebody else's, sorted: those that the gateways last showed and,
// unless all of them could be read, those known before.
func (s *Syncer) known() []string {
	s.waiting = s.unasked() // first: admission must be judged by what a gateway showed
	all, certain := names{}, true
	for _, d := range s.deliveries {
		d.mu.Lock()
		certain = certain && d.readable
		maps.Copy(all, d.foreign)
		d.mu.Unlock()
	}
	if !certain {
		for _, name := range s.foreign {
			all[upstream.KeyOf(name)] = true
		}
	}
	s.foreign = nil
	for _, key := range slices.Sorted(maps.Keys(all)) {
		name := string(key)
		if _, ours := s.gen.Set.Get(name); !ours && upstream.ValidName(name) == nil { // no service can have another name
			s.foreign = append(s.foreign, name)
		}
	}
	return s.foreign
}

// admit makes the accepted set loadable, and leaves out new names unless each gateway had been asked when the
// strangers were looked up. A gateway that answers later may show further strangers.
//
// An upstream that a hold or a freeze keeps also keeps its routes, even if the registries list them elsewhere.
func (s *Syncer) admit(written generation.Generation, v guard.Decision) guard.Decision {
	v = s.onlyAsked(written, v)
	var out upstream.Outs
	v.Accepted, out = s.accepted.Apply(s.loader.Loadable(v.Accepted), written.Set, nil)
	v.Out = v.Out.With(slices.Collect(out.All())...)
	return v
}

// onlyAsked removes new names from the accepted set unless each gateway was asked.
func (s *Syncer) onlyAsked(written generation.Generation, v guard.Decision) guard.Decision {
	if s.waiting.IsZero() {
		return v
	}
	var wait []string
	var out []upstream.Out
	for ours, u := range upstream.Changed(written.Set, v.Accepted) {
		if ours.Name == "" {
			wait = append(wait, u.Name)
			out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Reason: notYet.With(s.waiting)})
		}
	}
	v.Accepted, v.Out = v.Accepted.Without(wait), v.Out.With(out...)
	return v
}

// unasked names the gateways that have not been asked since the start.
func (s *Syncer) unasked() reason.Reason {
	var list []string
	for _, d := range s.deliveries {
		d.mu.Lock()
		if !d.asked {
			list = append(list, d.target.Name)
		}
		d.mu.Unlock()
	}
	switch len(list) {
	case 0:
		return reason.Reason{}
	case 1:
		return gatewayUnasked.With(list[0])
	}
	return gatewaysUnasked.With(strings.Join(list, " and "))
}

// firstLook returns how long to wait until each gateway was asked once, so that strangers are known before the first
// decision. The wait is short even if a gateway does not answer.
func (s *Syncer) firstLook(now time.Time) time.Duration {
	if now.Sub(s.began) >= firstLook {
		return 0
	}
	for _, d := range s.deliveries {
		d.mu.Lock()
		pending := !d.asked && d.state.Checked.IsZero()
		d.mu.Unlock()
		if pending {
			return time.Millisecond
		}
	}
	return 0
}
