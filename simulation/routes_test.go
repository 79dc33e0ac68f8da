package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/syncer"
)

// What the oracle says of routes:
//
//   - A host and path leads to one upstream, or nginx would not start.
//   - Who has a host and path keeps it for as long as its registry says so.
//   - Not more than max_removal of all servers lose routes to them at once, unless others take their place or they have
//     been missing for the recovery.
//   - With all well, each route that a registry says is there, or its host and path is another's who says it, too.

// reroutes gives a service other routes: none, some of its own, and at times one that others want as well.
func (w *world) reroutes(r *station, n int) {
	name, rng := serviceName(n), w.rng
	delete(r.routes, name)
	if !w.script.routes {
		return
	}
	for _, words := range []string{
		fmt.Sprintf("/svc-%d/*", n), fmt.Sprintf("shop.example/svc-%d/* strip=/svc-%d", n, n),
		fmt.Sprintf("/svc-%d/{id:[0-9]+}", n), fmt.Sprintf("/wanted-%d", rng.IntN(2)),
	} {
		if rng.IntN(3) > 0 {
			if rng.IntN(3) == 0 {
				words += fmt.Sprintf(" timeout=%ds", 1+rng.IntN(3))
			}
			r.routes[name] = append(r.routes[name], words)
		}
	}
}

// noteRoutes notes when each route was last said.
func (s *source) noteRoutes(word word, now time.Time) {
	for key, at := range s.routes {
		if at.IsZero() {
			s.routes[key] = now
		}
	}
	for name := range word {
		for _, words := range s.r.routes[name] {
			s.routes[name+" "+said{words: words}.claim()] = time.Time{}
		}
	}
}

// routed reports what is wrong with the routes of a file.
func (v *version) routed() error {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.upstream)) {
		for _, r := range v.upstream[name].routes {
			if other, is := owner[r.claim()]; is {
				return wrong(12, "upstreams %s and %s have both the route %s", other, name, r.claim())
			}
			owner[r.claim()] = name
		}
	}
	return nil
}

// owners are the upstreams of all hosts and paths.
func (v *version) owners() map[string]string {
	owner := map[string]string{}
	for name, b := range v.upstream {
		for _, r := range b.routes {
			owner[r.claim()] = name
		}
	}
	return owner
}

// origin is the registries that say a route.
func (v *version) origin(name, claim string) string {
	for _, r := range v.upstream[name].routes {
		if r.claim() == claim {
			return r.origin
		}
	}
	return ""
}

// unsaid is how long no registry has said that a service has a route, as far as the daemon was told; 0 is that one does, or that
// the one which said it has told the daemon nothing yet.
func (d *daemon) unsaid(name, claim, origin string) time.Duration {
	least := time.Hour
	for _, s := range d.sources {
		at, ever := s.routes[name+" "+claim]
		switch {
		case s.said == nil && strings.Contains(origin, s.r.name), ever && at.IsZero():
			return 0
		case ever:
			least = min(least, time.Since(at))
		}
	}
	return least
}

func (o *oracle) judgeRoutes(before, v *version, d *daemon) {
	if o.w.quarrels() || time.Since(o.w.disk.failed) < 2*o.w.script.limits.Recovery || time.Since(d.began) < slack {
		return
	}
	now, recovery := v.owners(), o.w.script.limits.Recovery
	lost, example, n := map[string]int{}, "", 0
	for claim, was := range before.owners() {
		is, there := now[claim]
		if is == was || v.size[was] == 0 || before.size[was] == 0 {
			continue
		}
		o.w.count("a route that goes or moves")
		if there && d.alone(was, claim) {
			o.w.fail(2, "%s gives route %s of %s to %s, and %s is there and still says it", d.name, claim, was, is, was)
		}
		if lost[was]++; d.unsaid(was, claim, before.origin(was, claim)) < recovery-slack && (example == "" || claim < example) {
			example = claim
		}
	}
	replaced := true
	for name, gone := range lost {
		came := 0
		for claim, is := range now {
			if is == name && before.owners()[claim] != name {
				came++
			}
		}
		replaced = replaced && came >= gone
		n += before.size[name]
	}
	if example != "" && !replaced && beyond(n, o.w.script.loosest.MaxRemoval, len(before.traffic)) {
		o.w.fail(2, "%s takes routes to %d of %d servers away at once, among them %s, which was said a moment ago", d.name, n, len(before.traffic), example)
	}
}

// alone reports whether exactly one registry lists a usable instance of a service, and says its route.
func (d *daemon) alone(name, claim string) bool {
	said, listed := false, 0
	for _, s := range d.sources {
		if s.said[name] == nil {
			continue
		}
		listed++
		at, ever := s.routes[name+" "+claim]
		said = ever && at.IsZero() && slices.Contains(slices.Collect(maps.Values(s.said[name])), usable)
	}
	return listed == 1 && said
}

// explainsRoutes: a route that is not there has a reason.
func (o *oracle) explainsRoutes(d *daemon, st syncer.Status) {
	now := o.now()
	if len(st.Holds)+len(st.OnTrial)+len(now.frozen) > 0 {
		return
	}
	out := map[string]bool{}
	for e := range st.Out.All() {
		out[e.Upstream+" "+e.Route] = !e.Reason.IsZero()
	}
	owner := now.owners()
	for _, s := range d.sources {
		for key, at := range sortedTimes(s.routes) {
			name, claim, _ := strings.Cut(key, " ")
			if at.IsZero() && s.said[name] != nil && now.size[name] > 0 && owner[claim] != name && !out[key] {
				o.w.fail(9, "route %s of %s is not there but of %q, and nobody says why: %s", claim, name, owner[claim], d.says(name+" ?"))
			}
		}
	}
}

func sortedTimes(of map[string]time.Time) func(func(string, time.Time) bool) {
	return func(yield func(string, time.Time) bool) {
		for _, key := range slices.Sorted(maps.Keys(of)) {
			if !yield(key, of[key]) {
				return
			}
		}
	}
}

// routesAreWell: with all well, routes are as the registries say.
func (w *world) routesAreWell(now *version) {
	claimants := map[string][]string{} // the services that want a route
	words := map[string]string{}
	several := map[string]bool{} // services of several registries, that may disagree
	for i, r := range w.land {
		for _, name := range r.truth.names() {
			if w.somebodyElses(name) {
				continue
			}
			for _, other := range w.land[:i] {
				several[name] = several[name] || other.truth[name] != nil
			}
			for _, text := range r.routes[name] {
				claim := said{words: text}.claim()
				claimants[claim], words[name+" "+claim] = append(claimants[claim], name), text
			}
		}
	}
	owner := now.owners()
	for _, claim := range slices.Sorted(maps.Keys(claimants)) {
		unsure := slices.ContainsFunc(claimants[claim], func(name string) bool { return several[name] })
		switch has, there := owner[claim]; {
		case unsure, there && now.size[has] == 0:
		case !there:
			w.fail(9, "all is well, and nobody has route %s of %s", claim, claimants[claim])
		case !slices.Contains(claimants[claim], has):
			w.fail(9, "all is well, and %s has route %s, which %s want", has, claim, claimants[claim])
		case !slices.ContainsFunc(now.upstream[has].routes, func(r said) bool { return r.words == words[has+" "+claim] }):
			w.fail(9, "all is well, and %s has another route than %q: %v", has, words[has+" "+claim], now.upstream[has].routes)
		}
		w.count("a route that has to be there")
	}
	for _, claim := range slices.Sorted(maps.Keys(owner)) {
		if has := owner[claim]; now.size[has] > 0 && !w.somebodyElses(has) && len(claimants[claim]) == 0 {
			w.fail(9, "all is well, and %s has route %s, which nobody says", has, claim)
		}
	}
}
