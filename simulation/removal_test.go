package simulation

import (
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
)

// What may be removed, in the oracle's words. They are weaker than the guard's rules and follow from them:
//
//   - Of what there was a window ago no more is gone, net, than max_removal_window allows of the most that there were
//     since; of a service that is there still no more than max_service_removal.
//   - What takes away more than max_removal at once has been missing for the recovery.
//   - What went missing right after its registry was away, or went backwards, has been missing for the recovery.
//   - Nothing goes of a registry that has not answered since the start, of one that lists nothing usable while others
//     do, nor at all while there are fewer services than min_services.
//   - Whom a witness may have found dead counts for none of that.
//   - There are no more than max_growth times as many servers as before, but for those that were there once, and what is
//     new does not go beyond max_servers.

// slack is what the guard may be later than the oracle in noticing something, the other way round than it matters.
const slack = time.Second

// judge holds what a daemon has written by itself against that.
func (o *oracle) judge(before, v *version, d *daemon) {
	var gone, came []string
	for key := range before.traffic {
		if _, still := v.traffic[key]; !still {
			gone = append(gone, key)
		}
	}
	for key := range v.traffic {
		if _, was := before.traffic[key]; !was {
			came = append(came, key)
		}
	}
	slices.Sort(gone)
	if len(gone) > 0 {
		o.w.count("removal")
		o.fewEnough(before, v, d)
		// What another daemon was told counts, too: it stands in the account. What was judged and could not be written
		// is judged anew.
		if !o.w.quarrels() && time.Since(o.w.disk.failed) > 2*o.w.script.limits.Recovery {
			o.missingLong(before, d, gone)
			o.largeStep(before, d, gone)
		}
		o.known(before, d, gone)
	}
	if len(came) > 0 && !o.w.quarrels() {
		o.notTooMany(before, v, d, came)
	}
	if len(gone)+len(came) > 0 && !o.w.quarrels() {
		o.services(before, d)
	}
}

// fewest is how many servers there were a window ago, over all and of each service.
// What came within the window before that may have taken the place of one that left since: so it is the fewest that
// each had from two windows ago until one window ago. Together they may be fewer than there ever were at once: what one
// service lost then hides what came to another.
func (o *oracle) fewest() (all int, each map[string]int) {
	window := o.w.script.limits.Window
	from, until := time.Now().Add(-2*window), time.Now().Add(-window)
	for i, v := range o.versions {
		replaced := i+1 < len(o.versions) && !o.versions[i+1].at.After(from)
		if replaced || each != nil && v.at.After(until) {
			continue
		}
		if each == nil {
			each = maps.Clone(v.size)
			continue
		}
		for name, n := range each {
			each[name] = min(n, v.size[name])
		}
	}
	for _, n := range each {
		all += n
	}
	return all, each
}

// peak is the most servers that there were lately, over all and of each service. A hold counts from when it began.
func (o *oracle) peak() (all int, each map[string]int) {
	each = map[string]int{}
	for _, v := range slices.Backward(o.versions) {
		all = max(all, len(v.traffic))
		for name, n := range v.size {
			each[name] = max(each[name], n)
		}
		if time.Since(v.at) > 2*o.w.script.limits.Window {
			break
		}
	}
	return all, each
}

const smallest = 4 // from how many servers on a share counts

func beyond(n int, share float64, of int) bool {
	return of >= smallest && float64(n) > share*float64(of)+1e-9
}

func (o *oracle) fewEnough(before, v *version, d *daemon) {
	most := o.w.script.loosest
	if time.Since(o.pardoned) < 2*o.w.script.limits.Window {
		return // what a person let go, or brought back, is no loss
	}
	o.w.count("removal within a window")
	then, had := o.fewest()
	all, each := o.peak()
	if then >= smallest && beyond(then-len(v.traffic)-o.buriedOf(""), most.MaxRemovalWindow, all) {
		o.w.fail(2, "%s has left %d of the %d servers of a window ago", d.name, len(v.traffic), then)
	}
	for name, was := range had {
		is := v.size[name]
		if is < before.size[name] && is > 0 && d.serves(name) && was >= smallest && beyond(was-is-o.buriedOf(name), most.MaxServiceRemoval, each[name]) {
			o.w.fail(2, "%s has left %d of the %d servers that %s had a window ago", d.name, is, was, name)
		}
	}
}

func (o *oracle) largeStep(before *version, d *daemon, gone []string) {
	gone = filter(gone, func(key string) bool { return !o.buries(d, key) })
	// Before its first decision a daemon hears of several states and judges the last: what was missing when it ended is
	// missing still, whatever was listed for a moment in between.
	if time.Since(d.began) < slack {
		return
	}
	of := len(before.traffic)
	if slices.ContainsFunc(d.syncer.Status().Holds, func(h guard.Hold) bool { return len(h.Removed) > 0 }) {
		of, _ = o.peak() // a hold of servers counts from when it began
	}
	if beyond(len(gone), o.w.script.loosest.MaxRemoval, of) {
		o.w.count("large step")
		for _, key := range gone {
			if missing := d.missing(key); missing < o.w.script.limits.Recovery-slack {
				o.w.fail(2, "%s takes away %d of %d servers at once, among them %s, which was listed %s ago",
					d.name, len(gone), len(before.traffic), key, missing)
			}
		}
	}
}

// serves reports whether any registry lists a usable instance of a service: one without is gone as a whole, or kept.
func (d *daemon) serves(name string) bool {
	return slices.ContainsFunc(d.sources, func(s *source) bool {
		for addr := range s.said[name] {
			if s.said.usable(name, addr) {
				return true
			}
		}
		return false
	})
}

// missing is how long no registry has listed a server as usable, as far as the daemon was told.
func (d *daemon) missing(key string) time.Duration {
	now := time.Now()
	since := d.began.Add(-time.Hour)
	for _, s := range d.sources {
		if at := s.missingSince(key, now); at.After(since) {
			since = at
		}
	}
	return now.Sub(since)
}

func (o *oracle) missingLong(before *version, d *daemon, gone []string) {
	recovery := o.w.script.limits.Recovery
	for _, key := range gone {
		for _, s := range d.sources {
			if before.traffic[key] != s.r.name {
				continue
			}
			went, known := s.gone[key]
			if !known || o.buries(d, key) {
				continue
			}
			doubted := func(went, lapse time.Time) bool {
				after := went.Sub(lapse)
				return after >= 0 && after < recovery-slack && time.Since(went) < recovery-slack
			}
			for _, lapse := range s.lapses {
				if after := went.Sub(lapse); doubted(went, lapse) && doubted(s.last[key], lapse) {
					o.w.fail(2, "%s takes away %s, which went missing %s after its registry lapsed, %s ago", d.name, key, after, time.Since(went))
				}
			}
		}
	}
}

func (o *oracle) known(before *version, d *daemon, gone []string) {
	usableNow := map[string]bool{}
	for _, s := range d.sources {
		usableNow[s.r.name] = len(s.listed) > 0
	}
	for _, key := range gone {
		for _, s := range d.sources {
			if before.traffic[key] != s.r.name {
				continue
			}
			if s.said == nil {
				o.w.fail(1, "%s takes away %s, and %s has told it nothing yet", d.name, key, s.r.name)
			}
			others := slices.ContainsFunc(d.sources, func(other *source) bool { return other != s && len(other.listed) > 0 })
			if s.said != nil && !usableNow[s.r.name] && others && d.limits.MinServices > 0 && d.missing(key) < o.w.script.limits.Recovery-slack && !o.buries(d, key) {
				o.w.fail(2, "%s takes away %s of %s, which lists nothing at all", d.name, key, s.r.name)
			}
		}
	}
}

// services: with fewer than min_services nothing goes in or out.
func (o *oracle) services(before *version, d *daemon) {
	names := map[string]bool{}
	for _, s := range d.sources {
		for key := range s.listed {
			name, _, _ := strings.Cut(key, " ")
			names[name] = true
		}
		if s.said == nil {
			for key, origin := range before.traffic {
				if name, _, _ := strings.Cut(key, " "); strings.Contains(origin, s.r.name) {
					names[name] = true
				}
			}
		}
	}
	if len(names) < d.limits.MinServices {
		o.w.fail(2, "%s changes something, and of %d services that there must be the registries list %d", d.name, d.limits.MinServices, len(names))
	}
}

func (o *oracle) notTooMany(before, v *version, d *daemon, came []string) {
	back := 0
	for _, key := range came {
		for _, old := range slices.Backward(o.versions) {
			if _, was := old.traffic[key]; was && old != v {
				back++
				break
			}
		}
	}
	most := o.w.script.loosest
	kept, held := d.perhapsReplaced(before, v)
	of, is := len(before.traffic), len(v.traffic)-kept
	if len(before.traffic)-held >= 20 && float64(is-back) > most.MaxGrowth*float64(of)+1e-9 {
		o.w.fail(2, "%s has %d servers where there were %d: %d of them are back, and %d were perhaps replaced; max_growth is %g",
			d.name, len(v.traffic), len(before.traffic), back, kept, most.MaxGrowth)
	}
	if most.MaxServers > 0 && len(v.traffic) > max(most.MaxServers, len(before.traffic)) {
		o.w.fail(2, "%s has %d servers, at most %d are allowed", d.name, len(v.traffic), most.MaxServers)
	}
}

// perhapsReplaced counts the servers that are kept in traffic although no registry has them any more, so that what is
// new may be there in their place. What a registry has as critical is there still, and so is what was not replaced but
// taken away; of a registry that has said nothing since the start nobody knows (unknown is not gone); and what is frozen
// stays whatever happens. held counts those that are critical, too: a hold may keep them, and the rule counts from 20
// servers on that none keeps.
func (d *daemon) perhapsReplaced(before, v *version) (n, held int) {
	for key, origin := range before.traffic {
		_, stays := v.traffic[key]
		name, addr, _ := strings.Cut(key, " ")
		if !stays || slices.Contains(v.frozen, "*") || slices.Contains(v.frozen, name) {
			continue
		}
		registered, usable := false, false
		for _, s := range d.sources {
			_, is := s.said[name][addr]
			unknown := s.said == nil && strings.Contains(origin, s.r.name)
			registered = registered || is || unknown
			usable = usable || s.said.usable(name, addr) || unknown
		}
		if !registered {
			n++
		}
		if !usable {
			held++
		}
	}
	return n, held
}
