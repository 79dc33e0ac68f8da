package doctor

import (
	"fmt"
	"regexp"
	"strings"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/upstream"
)

// checkProxyPass looks at where requests are sent.
func (r *report) checkProxyPass() {
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "proxy_pass" || len(d.Args) != 2 || d.Around("http") == nil {
			return
		}
		scheme, rest, ok := strings.Cut(d.Args[1], "://")
		if !ok {
			return
		}
		host, uri := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			host, uri = rest[:i], rest[i:]
		}
		if strings.Contains(d.Args[1], "$") {
			r.checkVariable(d, host)
			return
		}
		r.checkBound(d, scheme, host, uri)
	})
}

// checkBound looks whether a proxy_pass without a variable leads to an upstream of ours.
func (r *report) checkBound(d *nginxtree.Directive, scheme, host, uri string) {
	u, ok := r.kept(host)
	if !ok {
		return
	}
	f := Finding{
		Check: "proxy-pass", Severity: Problem, Where: d.Where(), Now: d.String(),
		What: "proxy_pass leads to upstream " + show(u.Name) + " without a variable",
		Why: "It is bound to the servers that nginx read when it loaded: what is pushed never " +
			"reaches it, so requests go on " +
			"to servers that are gone.",
	}
	set, pass := "set $ups "+u.Name+"; ", "proxy_pass "+scheme+"://$ups;"
	if r.lua() {
		set, pass = "set $dyups_upstream "+u.Name+"; ", "include /etc/nginx/dyups/proxy.conf;"
	}
	if loc := d.Around("location"); uri != "" && loc != nil && len(loc.Args) == 2 {
		// With a variable nginx does not put the URI in the place of the location's any more.
		set += fmt.Sprintf("rewrite ^%s(.*)$ %s$1 break; ", regexp.QuoteMeta(loc.Args[1]), uri)
	}
	f.Change = set + pass
	r.add(f)
}

var (
	variable   = regexp.MustCompile(`^\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))$`)
	fromClient = regexp.MustCompile(`\$\{?(host|http_[a-z0-9_]+|arg_[A-Za-z0-9_]+|cookie_[A-Za-z0-9_]+)\b`)
)

// checkVariable follows a variable to what sets it.
func (r *report) checkVariable(d *nginxtree.Directive, host string) {
	at, from := d, host
	if m := variable.FindStringSubmatch(host); m != nil {
		if set := setter(d, m[1]+m[2]); set != nil {
			at, from = set, set.Args[2]
		}
	}
	if m := fromClient.FindStringSubmatch(from); m != nil {
		r.add(Finding{
			Check: "client-chooses", Severity: Warning, Where: at.Where(), Now: at.String(),
			What: "The client chooses where its request goes, by $" + m[1],
			Why: "nginx looks a name up in DNS for which there is no upstream: a client can have it " +
				"call any machine that it " +
				"reaches, and such look-ups hang for seconds. $host is always in lower case, while " +
				"Tengine finds names with case.",
			Change: "map $host $service { default \"\"; www.example.com web; }   # in http { }, a " +
				"line for each host, " +
				"then: if ($service = \"\") { return 404; } set $ups $service;",
		})
		return
	}
	if strings.Contains(from, "$") {
		return
	}
	if u, ok := r.kept(from); ok && u.Name != from && !r.lua() {
		r.add(Finding{
			Check: "name-case", Severity: Problem, Where: at.Where(), Now: at.String(),
			What: fmt.Sprintf("The upstream is called %s, here stands %s", show(u.Name), show(from)),
			Why: "Tengine's traffic finds upstreams with case: this one is looked up in DNS, and " +
				"answered with 502.",
			Change: strings.Replace(at.String(), from, u.Name, 1),
		})
	}
}

// setter is the last set of a variable in the block or the nearest one around it.
func setter(d *nginxtree.Directive, name string) *nginxtree.Directive {
	for block := d.Parent; block != nil; block = block.Parent {
		var last *nginxtree.Directive
		for _, s := range block.Children("set") {
			if len(s.Args) == 3 && s.Args[1] == "$"+name {
				last = s
			}
		}
		if last != nil {
			return last
		}
	}
	return nil
}

// checkUpstreams looks at the upstreams that somebody wrote by hand.
func (r *report) checkUpstreams() {
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "upstream" || len(d.Args) != 2 || !inHTTP(d) || r.conf.is(d.File) {
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
		What: fmt.Sprintf("Upstream %s stands here and in the conf file of swallowkeeper", show(d.Args[1])),
		Why:  "nginx refuses an upstream that it finds twice: its next reload or start fails.",
		Change: fmt.Sprintf("Take it out or rename it; or have swallowkeeper leave the service "+
			"alone: add %q to exclude in [[registry]]", u.Name),
	}
	if d.Args[1] != u.Name {
		f.What = fmt.Sprintf("Upstream %s stands here, and swallowkeeper "+
			"keeps %s", show(d.Args[1]), show(u.Name))
		f.Why = "To dyups the names are one: a push of the one replaces the other. nginx but for " +
			"Tengine refuses them both in its files."
	}
	if !written {
		f.What = fmt.Sprintf("Upstream %s stands here, and a service of that name is "+
			"registered", show(d.Args[1]))
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
		What: "Upstream " + show(name) + " has a zone",
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

// check looks at a check of upstream_check, whose default is that all are down at first.
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
		What: "The servers of upstream " + show(name) + " are down until their checks have passed",
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
