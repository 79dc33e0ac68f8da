package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// script is what kind of story a seed tells.
type script struct {
	limits   guard.Config // of the first daemon
	loosest  guard.Config // of all that reloads may bring
	resync   time.Duration
	length   time.Duration
	events   int
	services int
	witness  bool
	routes   bool
	kills    int // of so many turns of a daemon one is its last; 0: it is never killed
	weights  []int
	shielded bool // nothing strikes any more
}

// limitsOf draws limits; the times stay, so that the oracle knows which window counts.
func limitsOf(rng *rand.Rand, times guard.Config) guard.Config {
	c := guard.DefaultConfig()
	c.Window, c.Recovery = times.Window, times.Recovery
	pick := func(of ...float64) float64 { return of[rng.IntN(len(of))] }
	c.MinServices = 1 + rng.IntN(2)
	c.MaxRemoval = pick(0.5, 0.5, 0.3, 0.7)
	c.MaxRemovalWindow = pick(0.5, 0.5, 0.3, 0.6)
	c.MaxServiceRemoval = pick(0.75, 0.75, 0.5, 0.9)
	c.MaxGrowth = pick(3, 3, 2)
	c.Damping = rng.IntN(3) > 0
	if rng.IntN(4) == 0 {
		c.OnUnhealthy = guard.Remove
	}
	if rng.IntN(4) == 0 {
		c.OnRemoved = guard.Down
	}
	return c
}

func loosest(a, b guard.Config) guard.Config {
	a.MaxRemoval = max(a.MaxRemoval, b.MaxRemoval)
	a.MaxRemovalWindow = max(a.MaxRemovalWindow, b.MaxRemovalWindow)
	a.MaxServiceRemoval = max(a.MaxServiceRemoval, b.MaxServiceRemoval)
	a.MaxGrowth = max(a.MaxGrowth, b.MaxGrowth)
	a.MaxServers = max(a.MaxServers, b.MaxServers)
	return a
}

// begin makes the world as it is before anything happens.
func (w *world) begin() {
	rng, s := w.rng, &w.script
	times := guard.Config{
		Window:   time.Duration(20+rng.IntN(30))*time.Second + 7*time.Millisecond,
		Recovery: time.Duration(4+rng.IntN(10))*time.Second + 13*time.Millisecond,
	}
	s.limits = limitsOf(rng, times)
	s.loosest = s.limits
	s.resync = time.Duration(3000+rng.IntN(7000))*time.Millisecond + 31*time.Microsecond
	s.length = time.Duration(30+rng.IntN(75)) * time.Second
	s.events = 8 + rng.IntN(18)
	s.services = 3 + rng.IntN(5)
	if rng.IntN(2) == 0 {
		s.kills = 50 + rng.IntN(400)
	}
	s.witness = rng.IntN(2) == 0
	s.routes = rng.IntN(2) == 0
	for range incidents {
		s.weights = append(s.weights, rng.IntN(4))
	}
	for i := range 1 + rng.IntN(2) {
		w.land = append(w.land, &station{name: fmt.Sprintf("r%d", i), truth: word{}, index: 100, options: map[string]upstream.Options{}, routes: map[string][]string{}})
	}
	for n := range s.services {
		r := w.land[n%len(w.land)]
		r.truth[serviceName(n)] = map[string]state{}
		for i := range 1 + rng.IntN(8) {
			r.truth[serviceName(n)][address(n, i)] = usable
		}
		w.reroutes(r, n)
	}
	for i := range 1 + rng.IntN(3) {
		n := &nginx{
			w: w, name: fmt.Sprintf("g%d", i), local: i == 0, own: map[string]block{}, strange: map[string]time.Time{},
			excused: map[string]bool{}, size: 2 + rng.IntN(2), routed: s.routes && rng.IntN(3) > 0,
		}
		if rng.IntN(3) == 0 {
			n.own[serviceName(s.services)] = byHandBlock // the next service will be called as it
		}
		n.start()
		w.front = append(w.front, n)
	}
	w.daemon = w.starts("a", "one", s.limits)
}

var byHandBlock = block{servers: []entry{{addr: "192.0.2.1:80", rest: "weight=1 max_fails=1 fail_timeout=10s"}}}.sealed()

// play tells the story, lets all wounds heal, and looks at what is left.
func (w *world) play() {
	w.begin()
	total := 0
	for _, weight := range w.script.weights {
		total += weight
	}
	for range w.script.events {
		at := w.between(0, w.script.length)
		n := w.rng.IntN(max(total, 1))
		for i, weight := range w.script.weights {
			if n -= weight; n < 0 {
				w.after(at, "", func() {
					w.oracle.explains(w.daemon)
					w.count(incidents[i].name)
					w.trace.line("world", incidents[i].name)
					incidents[i].happens(w)
				})
				break
			}
		}
	}
	w.until(time.Now().Add(w.script.length))
	if w.failure == nil {
		w.heal()
	}
}

// strikes has the daemon killed, or the power cut, instead of or within a turn.
func (s *script) strikes(w *world, t *turn) bool {
	if s.kills == 0 || s.shielded || !t.loop || t.daemon != w.daemon || w.rng.IntN(s.kills) > 0 {
		return false
	}
	switch how := w.rng.IntN(3); {
	case how == 0: // it never happened
	case how == 1 && t.half != nil:
		w.trace.line(t.actor, "half of "+t.what)
		t.half()
	default:
		w.trace.line(t.actor, t.what+", its last turn")
		_ = t.do()
	}
	w.mu.Lock()
	w.waiting = append(w.waiting, t)
	w.mu.Unlock()
	power := w.rng.IntN(2) == 0
	w.kill(w.daemon)
	w.count("kill at a turn")
	if power {
		w.power()
	}
	w.again(w.between(10*time.Millisecond, 10*time.Second))
	return true
}

func (w *world) again(wait time.Duration) {
	w.after(wait, "", func() {
		if w.daemon == nil {
			w.daemon = w.starts("a", "one", w.script.limits)
		}
	})
}

// power is cut and comes back: what is on this machine begins anew.
func (w *world) power() {
	w.count("power cut")
	w.trace.line("world", "the power is cut")
	w.disk.loseWhatIsNotSafe(w.rng)
	w.oracle.forgive()
	for _, n := range w.front {
		if n.local {
			n.start()
		}
	}
}

// incident is something that may happen.
type incident struct {
	name    string
	happens func(*world)
}

func (w *world) registry() *station { return w.land[w.rng.IntN(len(w.land))] }
func (w *world) nginx() *nginx      { return w.front[w.rng.IntN(len(w.front))] }

// service draws one that is registered.
func (w *world) service(r *station) (string, bool) {
	names := r.truth.names()
	if len(names) == 0 {
		return "", false
	}
	return names[w.rng.IntN(len(names))], true
}

// each has something happen to some instances of a registry, one after the other within a time.
func (w *world) each(r *station, share float64, within time.Duration, do func(instances map[string]state, addr string)) {
	for _, name := range r.truth.names() {
		for _, addr := range slices.Sorted(maps.Keys(r.truth[name])) {
			if w.rng.Float64() >= share {
				continue
			}
			w.after(w.between(0, within+time.Millisecond), "", func() {
				if r.truth[name] != nil {
					do(r.truth[name], addr)
				}
				w.says(r, r.truth.clone())
			})
		}
	}
}

var incidents = []incident{
	{"instances come up", func(w *world) {
		r := w.registry()
		if name, ok := w.service(r); ok {
			n := 0
			_, _ = fmt.Sscanf(name, "svc-%d", &n)
			for range 1 + w.rng.IntN(3) {
				w.up(r.truth[name], address(n, w.rng.IntN(20)))
			}
			w.says(r, r.truth.clone())
		}
	}},
	{"a service is registered", func(w *world) {
		r, n := w.registry(), w.rng.IntN(w.script.services+3)
		if r.truth[serviceName(n)] == nil {
			r.truth[serviceName(n)] = map[string]state{}
		}
		for i := range 1 + w.rng.IntN(5) {
			w.up(r.truth[serviceName(n)], address(n, i))
		}
		w.says(r, r.truth.clone())
	}},
	{"a service is deregistered", func(w *world) {
		r := w.registry()
		if name, ok := w.service(r); ok {
			if w.rng.IntN(2) == 0 {
				for addr := range r.truth[name] {
					w.down(addr)
				}
			}
			delete(r.truth, name)
			w.says(r, r.truth.clone())
		}
	}},
	{"a service gets other options", func(w *world) {
		r := w.registry()
		if name, ok := w.service(r); ok {
			r.options[name] = upstream.Options{Keepalive: 8 + w.rng.IntN(3), Method: []string{"", "least_conn"}[w.rng.IntN(2)]}
			w.says(r, r.truth.clone())
		}
	}},
	{"a service gets other routes", func(w *world) {
		r := w.registry()
		if name, ok := w.service(r); ok {
			n := 0
			_, _ = fmt.Sscanf(name, "svc-%d", &n)
			w.reroutes(r, n)
			w.says(r, r.truth.clone())
		}
	}},
	{"services swap their routes", func(w *world) {
		r := w.registry()
		if names := r.truth.names(); len(names) > 1 {
			r.routes[names[0]], r.routes[names[1]] = r.routes[names[1]], r.routes[names[0]]
			w.says(r, r.truth.clone())
		}
	}},
	{"nothing says routes any more, for a while", func(w *world) {
		r := w.registry()
		was := r.routes
		r.routes = map[string][]string{}
		w.says(r, r.truth.clone())
		w.after(w.between(100*time.Millisecond, time.Minute), "", func() {
			for name, said := range was {
				if r.routes[name] == nil {
					r.routes[name] = said
				}
			}
			w.says(r, r.truth.clone())
		})
	}},
	{"a rolling deploy", func(w *world) {
		r := w.registry()
		name, ok := w.service(r)
		if !ok {
			return
		}
		n, base := 0, 20+w.rng.IntN(200)
		_, _ = fmt.Sscanf(name, "svc-%d", &n)
		wait := time.Duration(0)
		for i, addr := range slices.Sorted(maps.Keys(r.truth[name])) {
			wait += w.between(time.Millisecond, 3*time.Second)
			w.after(wait, "", func() {
				if r.truth[name] != nil {
					delete(r.truth[name], addr)
					w.down(addr)
					w.up(r.truth[name], address(n, base+i))
					w.says(r, r.truth.clone())
				}
			})
		}
	}},
	{"checks fail", func(w *world) {
		share := []float64{0.1, 0.3, 0.6, 0.9, 1}[w.rng.IntN(5)]
		w.each(w.registry(), share, time.Duration(w.rng.IntN(3))*time.Second, func(i map[string]state, a string) { i[a] = critical })
	}},
	{"checks pass again", func(w *world) {
		w.each(w.registry(), 0.8, time.Second, func(i map[string]state, a string) {
			if _, there := i[a]; there {
				w.up(i, a)
			}
		})
	}},
	{"a slow bleed", func(w *world) {
		w.each(w.registry(), []float64{0.3, 0.7, 0.95}[w.rng.IntN(3)], time.Minute, func(i map[string]state, a string) { delete(i, a) })
	}},
	{"servers die, and their registrations with them", func(w *world) {
		r, share, within := w.registry(), []float64{0.3, 0.6, 0.9, 1}[w.rng.IntN(4)], time.Duration(w.rng.IntN(3))*time.Second
		w.each(r, share, within, func(i map[string]state, a string) {
			w.down(a)
			if i[a] = critical; w.rng.IntN(2) == 0 {
				delete(i, a)
			}
		})
	}},
	{"a host has no network", func(w *world) {
		w.dark[[]string{"one", "two"}[w.rng.IntN(2)]] = time.Now().Add(w.between(time.Second, time.Minute))
	}},
	{"a wiped registry gets it back in pieces", func(w *world) {
		r := w.registry()
		was := r.truth.clone()
		for _, s := range w.sourcesOf(r) {
			s.lapse(false)
		}
		r.truth, r.index = word{}, 0
		w.says(r, word{})
		for name, instances := range sorted(was) {
			for _, addr := range slices.Sorted(maps.Keys(instances)) {
				is := instances[addr]
				w.after(w.between(0, time.Minute), "", func() {
					if r.truth[name] == nil {
						r.truth[name] = map[string]state{}
					}
					r.truth[name][addr] = is
					w.says(r, r.truth.clone())
				})
			}
		}
	}},
	{"an instance flaps", func(w *world) {
		r := w.registry()
		name, ok := w.service(r)
		if !ok || len(r.truth[name]) == 0 {
			return
		}
		addr := slices.Sorted(maps.Keys(r.truth[name]))[0]
		for i := range 8 {
			w.after(time.Duration(i+1)*w.between(time.Second, 3*time.Second), "", func() {
				if r.truth[name] != nil {
					r.truth[name][addr] = state(i % 2)
					w.says(r, r.truth.clone())
				}
			})
		}
	}},
	{"the registry is away", func(w *world) {
		r := w.registry()
		wait := w.between(time.Second, 40*time.Second)
		r.away = time.Now().Add(wait)
		for _, s := range w.sourcesOf(r) {
			s.lapse(true)
		}
		w.after(wait, "it is back", func() {
			for _, s := range w.sourcesOf(r) {
				s.lapse(false)
			}
			w.says(r, r.truth.clone())
		})
	}},
	{"the registry lists nothing", func(w *world) { w.misleads(w.registry(), func(word) word { return word{} }) }},
	{"the registry lists a part", func(w *world) {
		share := w.rng.Float64()
		w.misleads(w.registry(), func(said word) word {
			for _, name := range said.names() {
				if w.rng.Float64() < share/2 {
					delete(said, name)
					continue
				}
				for _, addr := range slices.Sorted(maps.Keys(said[name])) {
					if w.rng.Float64() < share {
						delete(said[name], addr)
					}
				}
			}
			return said
		})
	}},
	{"the registry goes back in time", func(w *world) {
		r := w.registry()
		if len(r.past) == 0 {
			return
		}
		n := w.rng.IntN(len(r.past))
		said := r.past[n]
		r.index = uint64(n)
		w.misleads(r, func(word) word { return said })
	}},
	{"the registry lists everything many times", func(w *world) {
		times := 2 + w.rng.IntN(6)
		w.misleads(w.registry(), func(said word) word {
			for _, name := range said.names() {
				n, more := 0, map[string]state{}
				_, _ = fmt.Sscanf(name, "svc-%d", &n)
				for addr, is := range said[name] {
					for i := range times {
						more[fmt.Sprintf("%s%d", addr, i+1)] = is // other ports
					}
				}
				maps.Copy(said[name], more)
			}
			return said
		})
	}},
	{"services swap their instances", func(w *world) {
		w.misleads(w.registry(), func(said word) word {
			if names := said.names(); len(names) > 1 {
				said[names[0]], said[names[1]] = said[names[1]], said[names[0]]
			}
			return said
		})
	}},
	{"the registry says it again", func(w *world) { r := w.registry(); w.says(r, r.truth.clone()) }},
	{"nginx hangs", func(w *world) { n := w.nginx(); n.hung = w.trouble(n, time.Minute) }},
	{"nginx is slow", func(w *world) { n := w.nginx(); n.slow = w.trouble(n, time.Minute) }},
	{"nginx says 200 and does nothing", func(w *world) { n := w.nginx(); n.deaf = w.trouble(n, 30*time.Second) }},
	{"a worker crashes", func(w *world) { w.nginx().crash() }},
	{"nginx starts again", func(w *world) { w.nginx().start() }},
	{"the disk is full", func(w *world) {
		w.disk.fails = unix.ENOSPC
		w.after(w.between(time.Second, time.Minute), "there is room again", func() { w.disk.fails = nil })
	}},
	{"kill -9", func(w *world) {
		if w.daemon != nil {
			w.kill(w.daemon)
			w.again(w.between(10*time.Millisecond, time.Minute))
		}
	}},
	{"a stop and a start", func(w *world) {
		if w.daemon != nil {
			w.daemon.cancel()
		}
	}},
	{"a reload with other limits", func(w *world) {
		if w.daemon != nil && w.daemon.ctx.Err() == nil {
			limits := limitsOf(w.rng, w.script.limits)
			w.script.limits, w.script.loosest = limits, loosest(w.script.loosest, limits)
			w.daemon.next = &limits
			w.daemon.cancel()
		}
	}},
	{"a second daemon with an older plan", func(w *world) {
		if w.other != nil {
			return
		}
		w.other = w.starts("b", "two", w.script.limits)
		w.after(w.between(time.Second, time.Minute), "", func() {
			if w.other != nil {
				w.kill(w.other)
			}
		})
	}},
	{"a person puts an upstream into nginx", func(w *world) {
		n, name := w.nginx(), fmt.Sprintf("hand-%d", w.rng.IntN(3))
		switch w.rng.IntN(4) {
		case 0, 1:
			name = serviceName(w.script.services + 1 + w.rng.IntN(2))
		case 2:
			name = hostile
		}
		now := w.oracle.now()
		if now == nil || now.number == 0 || w.oracle.ours[name] || len(n.workers) == 0 {
			return
		}
		if _, own := n.own[name]; !own {
			n.strange[name] = time.Now()
			n.byHand(post{name, byHandBlock})
		}
	}},
	{"a person removes the conf file", func(w *world) {
		if f := w.disk.folders[confFolder]; f.live[confName] != nil && w.daemon != nil && w.daemon.syncer != nil {
			w.oracle.takenAway()
			f.happen(func(names map[string]*inode) { delete(names, confName) })
			w.oracle.forgive()
		}
	}},
	{"a person approves", func(w *world) {
		if w.daemon == nil || w.daemon.syncer == nil {
			return
		}
		if holds := w.daemon.syncer.Status().Holds; len(holds) > 0 {
			h := holds[w.rng.IntN(len(holds))]
			w.order("approve", syncer.Approve(h.ID), func(err error) { w.did("approved", err) })
		}
	}},
	{"a person freezes everything", func(w *world) { w.freeze("") }},
	{"a person freezes a service", func(w *world) { w.freeze(generation.Scope(serviceName(w.rng.IntN(w.script.services)))) }},
	{"a person unfreezes", func(w *world) {
		if now := w.oracle.now(); now != nil && len(now.frozen) > 0 {
			name, _ := generation.ParseScope(now.frozen[w.rng.IntN(len(now.frozen))])
			w.order("unfreeze", syncer.Unfreeze(name), func(err error) { w.did("unfrozen", err) })
		}
	}},
	{"a person rolls back", func(w *world) {
		if w.daemon == nil || len(w.daemon.written) == 0 {
			return
		}
		to := w.daemon.written[w.rng.IntN(len(w.daemon.written))]
		w.order(fmt.Sprintf("rollback to %d", to.Number), syncer.Rollback(to), func(err error) { w.did("rolled back", err) })
	}},
	{"nothing happens for a while", func(w *world) {
		if w.rng.IntN(300) == 0 {
			w.script.length += time.Hour
			w.until(time.Now().Add(time.Hour))
		}
	}},
}

func sorted(said word) func(func(string, map[string]state) bool) {
	return func(yield func(string, map[string]state) bool) {
		for _, name := range said.names() {
			if !yield(name, said[name]) {
				return
			}
		}
	}
}

func (w *world) did(what string, err error) {
	if err == nil {
		w.count(what)
	}
}

func (w *world) freeze(name generation.Scope) {
	f := generation.Freeze{Name: name}
	if w.rng.IntN(2) == 0 {
		f.Until = time.Now().Add(w.between(time.Second, time.Minute))
	}
	w.order("freeze "+string(name), syncer.Freeze(f), func(err error) { w.did("frozen", err) })
}

func (w *world) sourcesOf(r *station) []*source {
	var all []*source
	for d := range w.daemons() {
		for _, s := range d.sources {
			if s.r == r {
				all = append(all, s)
			}
		}
	}
	return all
}

// misleads has a registry say something else than the truth, for a while.
func (w *world) misleads(r *station, change func(word) word) {
	w.says(r, change(r.truth.clone()))
	w.after(w.between(100*time.Millisecond, time.Minute), "", func() { w.says(r, r.truth.clone()) })
}

// trouble begins at an nginx, until the time that it returns.
func (w *world) trouble(n *nginx, most time.Duration) time.Time {
	wait := w.between(time.Second, most)
	n.ill()
	w.after(wait, "", n.ill)
	return time.Now().Add(wait)
}
