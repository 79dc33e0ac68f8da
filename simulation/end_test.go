package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/syncer"
)

// heal ends all trouble, has people look after what is held and frozen, and then everything must be as the
// registries list it: in the file, and on every worker.
func (w *world) heal() {
	w.script.shielded = true
	w.trace.line("world", "all is well again")
	w.agenda = filter(w.agenda, func(a appointment) bool { return a.at.Before(time.Now()) })
	now := time.Now()
	w.disk.fails = nil
	if w.other != nil {
		w.kill(w.other)
	}
	for _, n := range w.front {
		n.hung, n.slow, n.deaf = now, now, now
		n.ill()
		n.spawn()
	}
	if w.daemon == nil {
		w.again(time.Millisecond)
	}
	clear(w.dark)
	for _, r := range w.land {
		r.away = now
		for _, name := range r.truth.names() {
			for addr := range r.truth[name] {
				w.up(r.truth[name], addr)
			}
			if len(r.truth[name]) == 0 {
				delete(r.truth, name)
			}
		}
		for n := 30; n < 32 && r == w.land[0]; n++ { // as many as min_services may ask for, of names that nobody else has
			r.truth[serviceName(n)] = map[string]state{address(n, 0): usable}
		}
		w.says(r, r.truth.clone())
	}
	limits := w.script.limits
	for range 20 {
		w.until(time.Now().Add(limits.Recovery + 2*w.script.resync + 2*time.Second))
		if w.failure != nil || w.attended() {
			break
		}
	}
	for range 3 { // a hold may be one of the window, or have waited for the witness
		w.until(time.Now().Add(limits.Window + limits.Recovery + 2*w.script.resync + 2*time.Second))
		if w.failure != nil || w.attended() {
			break
		}
	}
	if w.failure == nil {
		w.allIsWell()
	}
}

// attended has people release what is frozen and approve what is held; it reports whether there was nothing to do.
func (w *world) attended() bool {
	d := w.daemon
	if d == nil || d.syncer == nil {
		return false
	}
	nothing := true
	for _, text := range w.oracle.now().frozen {
		nothing = false
		name, _ := generation.ParseScope(text)
		w.order("unfreeze", syncer.Unfreeze(name), func(error) {})
		w.calm()
	}
	for _, h := range d.syncer.Status().Holds {
		nothing = false
		w.order("approve "+h.Rule, syncer.Approve(h.ID), func(error) {})
		w.calm()
	}
	return nothing
}

func (w *world) allIsWell() {
	now := w.oracle.now()
	if w.daemon == nil || w.daemon.syncer == nil || now == nil {
		w.fail(10, "all is well, and no daemon runs")
		return
	}
	w.oracle.explains(w.daemon)
	for _, h := range w.daemon.syncer.Status().Holds {
		w.fail(2, "all is well, and yet it is held: %s", h.Reason)
	}
	wanted := map[string]bool{}
	for _, r := range w.land {
		for name, instances := range sorted(r.truth) {
			if w.somebodyElses(name) {
				continue
			}
			for addr := range instances {
				wanted[name+" "+addr] = true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if _, in := now.traffic[key]; !in {
			w.fail(9, "all is well, and %s gets no traffic: %s", key, w.daemon.says(key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(now.traffic)) {
		if !wanted[key] {
			w.fail(9, "all is well, and %s gets traffic that no registry lists: %s", key, w.daemon.says(key))
		}
	}
	for _, r := range w.land {
		for name, o := range r.options {
			twice := slices.ContainsFunc(w.land, func(other *station) bool { return other != r && other.truth[name] != nil })
			if b, in := now.upstream[name]; in && !twice && r.truth[name] != nil && b.options != optionsText(o) {
				w.fail(9, "all is well, and upstream %s has the options %q, not %q", name, b.options, optionsText(o))
			}
		}
	}
	w.routesAreWell(now)
	for _, n := range w.front {
		for name, b := range now.upstream {
			if !n.everywhere(post{name, b}) {
				w.fail(4, "all is well, and %s has another %s than the conf file", n.name, name)
			}
		}
		if left := w.oracle.leftovers(n); len(left) > 0 {
			w.fail(10, "all is well, and %s still has %s", n.name, fmt.Sprint(left))
		}
		for name := range n.own {
			if !n.everywhere(post{name, byHandBlock}) {
				w.fail(5, "%s has lost upstream %s of its own", n.name, name)
			}
		}
	}
}

// says is why a daemon has a server in or out, as a person would be told.
func (d *daemon) says(key string) string {
	name, addr, _ := strings.Cut(key, " ")
	text := ""
	for o := range d.syncer.Status().Out.All() {
		if o.Upstream == name && (o.Addr == addr || o.Addr == "") {
			text += o.Route + " " + o.Reason.String() + "; "
		}
	}
	for _, g := range d.syncer.Status().Gateways {
		text += fmt.Sprintf("%s in sync %v, generation %d, %v; ", g.Name, g.InSync, g.Generation, g.Err)
	}
	return text
}

// somebodyElses reports whether some nginx has a name that is not ours.
func (w *world) somebodyElses(name string) bool {
	return slices.ContainsFunc(w.front, func(n *nginx) bool {
		_, own := n.own[name]
		_, strange := n.strange[name]
		return own || strange || n.excused[name]
	})
}
