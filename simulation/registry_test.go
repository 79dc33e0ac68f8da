package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// state is how an instance is; one that is not there is in no map.
type state int

const (
	usable state = iota
	critical
)

// word is what a registry says: the instances of each service, by address.
type word map[string]map[string]state

func (w word) clone() word {
	c := make(word, len(w))
	for name, instances := range w {
		c[name] = maps.Clone(instances)
	}
	return c
}

func (w word) names() []string { return slices.Sorted(maps.Keys(w)) }

func (w word) usable(service, addr string) bool {
	s, listed := w[service][addr]
	return listed && s == usable
}

// station is a registry: where instances are registered: what is true, and what it says.
type station struct {
	name  string
	truth word
	past  []word    // what it said some time ago
	away  time.Time // until then it can't be read
	index uint64
	// options are those of services that have others than usual, at any time.
	options map[string]upstream.Options
	// routes are those of services that have some, at any time, in words.
	routes map[string][]string
}

type land []*station

// source is a registry as one daemon watches it.
type source struct {
	w *world
	r *station
	d *daemon

	mu      sync.Mutex
	publish func(upstream.Set)
	is      registry.Condition

	greeted bool
	// What follows is for the oracle: the last word, since when each usable server has been listed, and until when
	// each was that is not any more.
	said   word
	began  time.Time
	listed map[string]time.Time
	gone   map[string]time.Time
	before map[string]time.Time // and until when it had been, when it was listed again
	routes map[string]time.Time // when each route was last said: "service words"; the zero time is still
	last   map[string]time.Time // since when it is not listed, also where it was for so short that perhaps no decision saw it
	lapses []time.Time
}

// Watch implements syncer.Registry. What is said is said from the world's side.
func (s *source) Watch(ctx context.Context, publish func(upstream.Set)) error {
	s.mu.Lock()
	s.publish = publish
	s.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// watched reports whether somebody watches who has not been told anything.
func (s *source) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publish != nil && !s.greeted
}

// Condition implements registry.Registry.
func (s *source) Condition() registry.Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.is
}

var errAway = errors.New("the registry can't be read")

// lapse notes that the registry can't be read, or could not until now.
func (s *source) lapse(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.is.Lapsed, s.is.Trouble = time.Now(), nil
	s.lapses = append(s.lapses, s.is.Lapsed)
	if away {
		s.is.Trouble = errAway
	}
}

// tell has the daemon hear a word.
func (s *source) tell(said word, index uint64) {
	s.mu.Lock()
	publish := s.publish
	s.mu.Unlock()
	if publish == nil {
		return
	}
	now := time.Now()
	s.mu.Lock()
	if index < s.is.Index {
		s.is.Lapsed = now
		s.lapses = append(s.lapses, now)
	}
	s.is.Index, s.is.Heard, s.is.Trouble = index, now, nil
	s.mu.Unlock()
	s.note(said, now)
	s.noteRoutes(said, now)
	publish(s.set(said))
}

// unseen is how briefly a server may be listed again without any decision seeing it: what comes close together is
// taken together.
const unseen = 25 * time.Millisecond

func (s *source) note(said word, now time.Time) {
	listed := map[string]time.Time{}
	for service, instances := range said {
		for addr, is := range instances {
			if is == usable {
				key := service + " " + addr
				if since, was := s.listed[key]; was {
					listed[key] = since
					continue
				}
				listed[key] = now
				if went, was := s.gone[key]; was {
					s.before[key] = went
					delete(s.gone, key)
				}
			}
		}
	}
	for key, since := range s.listed {
		if _, still := listed[key]; still {
			continue
		}
		s.gone[key], s.last[key] = now, now
		if went, was := s.before[key]; was && now.Sub(since) < unseen {
			s.gone[key] = went
		}
	}
	s.listed, s.said = listed, said
	if s.began.IsZero() {
		s.began = now
	}
}

// missingSince is since when a server is not listed; now for one that is, and the zero time where the daemon never
// heard of it.
func (s *source) missingSince(key string, now time.Time) time.Time {
	if _, is := s.listed[key]; is {
		return now
	}
	return s.gone[key]
}

// hostile is what whoever registers a service may have a check say, and what a person may write.
const hostile = "ok\"; }\nupstream evil { server 10.9.9.9:1; }\n\x1b[2J\u202e"

func (s *source) set(said word) upstream.Set {
	list := make([]upstream.Upstream, 0, len(said))
	var out []upstream.Out
	for _, name := range said.names() {
		u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
		if o, has := s.r.options[name]; has {
			u.Options = o
		}
		for _, words := range s.r.routes[name] {
			r := inWords(words, name)
			r.Origin = s.r.name
			u.Routes = append(u.Routes, r)
		}
		u.Routes = route.Canonical(u.Routes)
		for _, addr := range slices.Sorted(maps.Keys(said[name])) {
			if said[name][addr] == usable {
				u.Servers = append(u.Servers, upstream.Server{
					Addr: netip.MustParseAddrPort(addr), Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: s.r.name,
				})
			} else {
				out = append(out, upstream.Out{
					Service: name, Upstream: name, Addr: addr, Reason: reason.Text("check is critical"), Unhealthy: true, Output: hostile, Instance: hostile,
				})
			}
		}
		list = append(list, u)
	}
	return upstream.NewSet(list, out...)
}

// says has every daemon that watches the registry hear what it says now: a word that nobody changes any more. One with an
// older plan hears old news.
func (w *world) says(r *station, said word) {
	if time.Now().Before(r.away) {
		return
	}
	r.index++
	r.past = append(r.past, said)
	for d := range w.daemons() {
		for _, s := range d.sources {
			if s.r == r && s.greeted {
				w.hear(s, said)
			}
		}
	}
}

func (w *world) hear(s *source, said word) {
	if s.d.ctx.Err() != nil {
		return
	}
	index := s.r.index
	if s.d == w.other && len(s.r.past) > 1 {
		old := w.rng.IntN(len(s.r.past))
		said, index = s.r.past[old], uint64(old+1)
	}
	w.trace.line(s.r.name, fmt.Sprintf("tells %s %s", s.d.name, brief(said)))
	s.tell(said, index)
	w.calm() // two things that are heard at the same moment are not heard in an order
}

func brief(said word) string {
	text := ""
	for _, name := range said.names() {
		up, all := 0, len(said[name])
		for addr := range said[name] {
			if said.usable(name, addr) {
				up++
			}
		}
		text += fmt.Sprintf(" %s:%d/%d", name, up, all)
	}
	return text
}

// address is the one of a service's instance.
func address(service, instance int) string {
	return fmt.Sprintf("10.%d.0.%d:80", service+1, instance+1)
}

func serviceName(n int) string { return fmt.Sprintf("svc-%d", n) }
