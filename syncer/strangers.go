package syncer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// nginx loads no configuration in which it finds an upstream twice, and once it is down it tells
// nobody which ones it has. So a name becomes ours only when it can't be somebody else's: after
// every gateway was asked since the start, and none has it. Whatever is ours already goes on.

// firstLook is how long the first decision waits for gateways to say what they use.
const firstLook = 500 * time.Millisecond

// notYet begins the reason of a new name that waits for gateways to be asked.
const notYet = "not written yet: "

// names are those of upstreams.
type names map[upstream.Key]bool

func (n names) has(name string) bool { return n[upstream.KeyOf(name)] }

func (n names) add(list []upstream.Upstream) {
	for _, u := range list {
		n[upstream.KeyOf(u.Name)] = true
	}
}

// leftover reports whether an upstream that is live and not wanted is one that we wrote: it is leaving,
// and the gateway never confirmed that it was gone. Of one that it did confirm, a worker that crashed
// comes back with what nginx loaded last; what all workers have again somebody has configured.
func leftover(u upstream.Upstream, g upstream.Generation, gone names) bool {
	if gone.has(u.Name) {
		return len(u.Servers) == 0
	}
	return slices.ContainsFunc(g.Leaving, func(leaving string) bool { return upstream.SameName(leaving, u.Name) })
}

// strangers are the upstreams of a gateway that swallowkeeper never wrote. Before it has
// written anything there are none but those of which the gateway knows that nginx's own
// configuration has them: then it takes over what another program left.
func strangers(live gateway.Live, g upstream.Generation, gone names) names {
	foreign := names{}
	for _, name := range live.Reserved {
		if _, ours := g.Set.Get(name); !ours {
			foreign.add([]upstream.Upstream{{Name: name}})
		}
	}
	if g.Number == 0 {
		return foreign
	}
	for u := range live.Set.All() {
		if _, ours := g.Set.Get(u.Name); !ours && !leftover(u, g, gone) {
			foreign.add([]upstream.Upstream{u})
		}
	}
	return foreign
}

// notice keeps who the gateway's workers are, and what it uses where nothing was written yet.
func (d *delivery) notice(live gateway.Live, g upstream.Generation) {
	d.manned(live.Workers)
	d.taking = g.Number == 0
	if d.taking {
		d.mu.Lock()
		d.first = live.Set
		d.mu.Unlock()
	}
}

// meet keeps which upstreams of the gateway are not ours, as it has just shown.
func (d *delivery) meet(foreign names) {
	d.mu.Lock()
	same := d.asked && d.readable && maps.Equal(d.foreign, foreign)
	d.asked, d.readable, d.foreign = true, true, foreign
	d.mu.Unlock()
	if !same {
		signal(d.strangers)
	}
}

// unread notes that the gateway could not be asked: what it showed last may have changed.
func (d *delivery) unread() {
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
				d.unread() // the pass tells of it when it brings the gateway to what is accepted
				return
			}
			d.notice(live, s.gen)
			d.meet(strangers(live, s.gen, nil))
		})
	}
	asking.Wait()
}

// known is the names that are somebody else's as far as is known, in order: what the gateways showed
// when they were asked last, and, unless each of them could be read then, what was known before.
func (s *Syncer) known() []string {
	s.waiting = s.unasked() // first: what is admitted has to be judged by what a gateway showed
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
		if _, ours := s.gen.Set.Get(name); !ours && upstream.ValidName(name) == nil { // no service can be called otherwise
			s.foreign = append(s.foreign, name)
		}
	}
	return s.foreign
}

// withoutStrangers leaves a service out that a gateway has an upstream of the same name
// for, written by somebody else: who registers a service must not take that over, and
// beside it in the conf file nginx would not load.
func withoutStrangers(written upstream.Generation, seen upstream.Set) upstream.Set {
	if len(written.Strangers) == 0 {
		return seen
	}
	foreign := make(names, len(written.Strangers))
	for _, name := range written.Strangers {
		foreign[upstream.KeyOf(name)] = true
	}
	var taken []string
	out := seen.Out()
	for u := range seen.All() {
		if _, ours := written.Set.Get(u.Name); !ours && foreign.has(u.Name) {
			taken = append(taken, u.Name)
			out = append(out, upstream.Out{
				Service: u.Name, Upstream: u.Name,
				Reason: "a gateway has an upstream of this name that swallowkeeper did not write",
			})
		}
	}
	if taken == nil {
		return seen
	}
	return upstream.NewSet(slices.Collect(seen.Without(taken).All()), out...)
}

// admit keeps new names out of what is accepted unless each gateway was asked since the start when the
// strangers were looked up. One that answers meanwhile may have shown further ones.
func (s *Syncer) admit(written upstream.Generation, v guard.Decision) guard.Decision {
	if s.waiting == "" {
		return v
	}
	var wait []string
	for u := range v.Accepted.All() {
		if _, ours := written.Set.Get(u.Name); !ours {
			wait = append(wait, u.Name)
			v.Out = append(v.Out, upstream.Out{Service: u.Name, Upstream: u.Name, Reason: notYet + s.waiting})
		}
	}
	v.Accepted = v.Accepted.Without(wait)
	return v
}

// unasked names the gateways that have not been asked since the start, "" for none.
func (s *Syncer) unasked() string {
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
		return ""
	case 1:
		return fmt.Sprintf("gateway %s has not been asked since the start", list[0])
	}
	return fmt.Sprintf("gateways %s have not been asked since the start", strings.Join(list, " and "))
}

// firstLook is how long to wait until each gateway was asked once what it uses, so that what
// is not ours is known before the first decision. One that does not answer is not waited for long.
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
