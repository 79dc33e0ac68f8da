package doctor

import (
	"fmt"
	"strings"

	"swallowkeeper/doctor/finding"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/upstream"
)

// checkUpstreams checks upstreams written by hand.
func (r *report) checkUpstreams() {
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "upstream" || len(d.Args) != 2 || !inHTTP(d) || r.conf.is(d.File) || r.rendered(d.File) {
			return
		}
		name := d.Args[1]
		u, kept := r.kept(name)
		if kept {
			r.duplicate(d, u)
		}
		for _, z := range d.Children("zone") {
			r.zone(z, name, kept)
		}
		for _, c := range d.Children("check") {
			r.check(c, name)
		}
	})
}

func (r *report) duplicate(d *nginxtree.Directive, u upstream.Upstream) {
	_, written := r.facts.Written.Get(u.Name)
	f := Finding{
		Check: "duplicate", Severity: Problem, Where: d.Where(), Now: d.String(),
		What: fmt.Sprintf("Upstream %s stands here and in the conf file of swallowkeeper", finding.Show(d.Args[1])),
		Why:  "nginx refuses an upstream that it finds twice: its next reload or start fails.",
		Change: fmt.Sprintf("Take it out or rename it; or have swallowkeeper leave the service "+
			"alone: add %q to exclude in [[registry]]", u.Name),
	}
	if d.Args[1] != u.Name {
		f.What = fmt.Sprintf("Upstream %s stands here, and swallowkeeper "+
			"keeps %s", finding.Show(d.Args[1]), finding.Show(u.Name))
		f.Why = "To dyups the names are one: a push of the one replaces the other. nginx but for " +
			"Tengine refuses them both in its files."
	}
	if !written {
		f.What = fmt.Sprintf("Upstream %s stands here, and a service of that name is "+
			"registered", finding.Show(d.Args[1]))
		f.Why = "swallowkeeper leaves the service out: what it did not write it does not change. " +
			"Its instances get no traffic."
	}
	if written && len(d.Children("check", "zone")) > 0 {
		f.Why += " A push replaces the whole block, also its check and zone."
	}
	r.add(f)
}

func (r *report) zone(z *nginxtree.Directive, name string, kept bool) {
	f := Finding{
		Check: "zone", Severity: Hint, Where: z.Where(), Now: z.String(),
		What: "Upstream " + finding.Show(name) + " has a zone",
		Why: "As it stands here it does no harm. But a zone in what is posted to dyups kills the " +
			"worker (signal 11): " +
			"no script may post this block.",
		Change: "Take the line out where dyups is to change this upstream.",
	}
	if kept {
		f.Severity = Warning
	}
	r.add(f)
}

// check checks an upstream_check, which by default starts with all servers down.
func (r *report) check(c *nginxtree.Directive, name string) {
	change, given := "", false
	for _, a := range c.Args[1:] {
		switch {
		case a == "default_down=false":
			return
		case strings.HasPrefix(a, "default_down="):
			given = true
		default:
			change += " " + a
		}
	}
	f := Finding{
		Check: "default-down", Severity: Warning, Where: c.Where(), Now: c.String(),
		What: "The servers of upstream " + finding.Show(name) + " are down until their checks have passed",
		Why: "default_down is true unless it is set. After each start, and each time dyups takes " +
			"such a block, the upstream " +
			"answers 502 for some checks.",
		Change: "check" + change + " default_down=false;",
	}
	if given {
		f.Why = strings.TrimPrefix(f.Why, "default_down is true unless it is set. ")
	}
	r.add(f)
}
