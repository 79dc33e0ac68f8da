package doctor

import (
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/doctor/access"
	"swallowkeeper/doctor/nginxtree"
)

// checkLimits checks whether nginx limits calls of the API, or connections to it. A limit of the server or of http
// applies to each location without its own.
func (r *report) checkLimits(a *api) {
	for _, kind := range []struct{ name, what, why string }{
		{
			"limit_req", "requests", "swallowkeeper calls it hundreds of times in a second: at a start, after a reload, and to " +
				"find each worker.",
		},
		{
			"limit_conn", "connections", "swallowkeeper keeps a connection to each worker, and opens eight at once to find new " +
				"ones.",
		},
	} {
		at := r.limit(a, kind.name)
		if at == nil || a.block.Value(kind.name+"_dry_run", "off") == "on" {
			continue
		}
		r.add(Finding{
			Check: "interface-limit", Severity: Warning, Where: at.Where(), Now: at.String(),
			What: fmt.Sprintf("%s limits the %s of the dyups interface (%s)", kind.name, kind.what, a.at.Where()),
			Why: kind.why + " What the limit refuses is answered 503: changes come late, and with many workers " +
				"or services nginx never gets in sync.",
			Change: kind.name + "_dry_run on;   # in the interface's location, from nginx 1.17.6 on; before, move the limit to the " +
				"servers that need it",
		})
	}
}

// limit returns the first limit that applies to calls from this machine. Requests with an empty key are not limited.
func (r *report) limit(a *api, name string) *nginxtree.Directive {
	limits := a.block.Inherited(name)
	if n := len(limits); n > 0 && len(limits[n-1].Args) > 1 && limits[n-1].Args[1] == "off" {
		return nil // Tengine's
	}
	for _, d := range limits {
		if len(d.Args) < 2 {
			continue
		}
		zone := strings.TrimPrefix(d.Args[1], "zone=")
		key, found := r.zoneKey(name+"_zone", zone)
		if found && slices.ContainsFunc(access.Listens(a.server), func(l access.Listen) bool {
			return access.IsEmpty(r.facts.Nginx, a.block, l, key)
		}) {
			continue
		}
		return d
	}
	return nil
}

// zoneKey returns the key of a zone.
func (r *report) zoneKey(directive, zone string) (key string, found bool) {
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() != directive || !inHTTP(d) {
			return
		}
		for i, arg := range d.Args[1:] {
			if name, ok := strings.CutPrefix(arg, "zone="); ok {
				if name, _, _ = strings.Cut(name, ":"); name == zone {
					key, found = strings.Join(d.Args[1:i+1], ""), true
				}
			}
		}
	})
	return key, found
}
