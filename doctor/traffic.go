package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"swallowkeeper/doctor/finding"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/doctor/origin"
	"swallowkeeper/internal/safetext"
)

// passes are the directives that proxy requests.
var passes = []string{"proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"}

// checkPasses checks where requests are sent.
func (r *report) checkPasses() {
	from := origin.New(r.facts.Nginx)
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if !slices.Contains(passes, d.Name()) || len(d.Args) != 2 || d.Around("http") == nil {
			return
		}
		if !strings.Contains(d.Args[1], "$") {
			scheme, rest := cutScheme(d.Args[1])
			host, uri := rest, ""
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				host, uri = rest[:i], rest[i:]
			}
			r.checkBound(d, scheme, host, uri)
			return
		}
		for _, v := range from.Values(d.Args[1], d) {
			r.checkValue(d, hostOf(v))
		}
	})
}

// cutScheme splits off the scheme, such as http://.
func cutScheme(s string) (scheme, rest string) {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return scheme + "://", rest
	}
	return "", s
}

// hostOf returns the host part of an address, without scheme and URI.
func hostOf(v origin.Value) origin.Value {
	v = slices.Clone(v)
	for i, p := range v {
		if p.Client != "" {
			break
		}
		if _, rest, ok := strings.Cut(p.Text, "://"); ok {
			p.Text = rest
			v = append(origin.Value{p}, v[i+1:]...)
			break
		}
	}
	for i, p := range v {
		if at := strings.IndexAny(p.Text, "/?"); at >= 0 {
			p.Text = p.Text[:at]
			v = append(v[:i:i], p)
			break
		}
	}
	return slices.DeleteFunc(v, origin.Piece.IsEmpty)
}

// checkBound reports requests that are sent to one of our upstreams without a variable.
func (r *report) checkBound(d *nginxtree.Directive, scheme, host, uri string) {
	u, ok := r.kept(host)
	if !ok || r.reloaded() || r.rendered(d.File) {
		return
	}
	f := Finding{
		Check: "proxy-pass", Severity: Problem, Where: d.Where(), Now: d.String(),
		What: d.Name() + " leads to upstream " + finding.Show(u.Name) + " without a variable",
		Why: "It is bound to the servers that nginx read when it loaded: what is pushed never " +
			"reaches it, so requests go on " +
			"to servers that are gone.",
	}
	set, pass := "set $ups "+u.Name+"; ", d.Name()+" "+scheme+"$ups;"
	if r.lua() {
		set, pass = "set $dyups_upstream "+u.Name+"; ", d.Name()+" "+scheme+"dyups;"
		if d.Name() == "proxy_pass" {
			pass = "include /etc/nginx/dyups/proxy.conf;"
		}
	}
	if loc := d.Around("location"); uri != "" && loc != nil && len(loc.Args) > 1 {
		// With a variable, nginx does not replace the location's prefix by the URI.
		if loc.Args[1] == "=" {
			set += fmt.Sprintf("rewrite ^ %s break; ", uri)
		} else {
			set += fmt.Sprintf("rewrite ^%s(.*)$ %s$1 break; ", regexp.QuoteMeta(loc.Args[len(loc.Args)-1]), uri)
		}
	}
	f.Change = set + pass
	r.add(f)
}

// checkValue checks one of the hosts that a variable can have.
func (r *report) checkValue(d *nginxtree.Directive, host origin.Value) {
	for _, p := range host {
		if p.Client != "" {
			r.clientChooses(d, p)
			return
		}
	}
	name, ok := host.Literal()
	if !ok || name == "" {
		return
	}
	at := host[0].At
	if u, ok := r.kept(name); ok && u.Name != name && !r.lua() {
		r.add(Finding{
			Check: "name-case", Severity: Problem, Where: at.Where(), Now: at.String(),
			What: fmt.Sprintf("The upstream is called %s, here stands %s", finding.Show(u.Name), finding.Show(name)),
			Why: "Tengine's traffic finds upstreams with case: this one is looked up in DNS, and " +
				"answered with 502.",
			Change: strings.Replace(at.String(), name, u.Name, 1),
		})
	}
}

func (r *report) clientChooses(d *nginxtree.Directive, p origin.Piece) {
	f := Finding{
		Check: "client-chooses", Severity: Warning, Where: p.At.Where(), Now: p.At.String(),
		What: "The client chooses where its request goes, by $" + p.Client,
		Why: "nginx looks a name up in DNS for which there is no upstream: a client can have it " +
			"call any machine that it " +
			"reaches, and such look-ups hang for seconds.",
		Change: "map $host $service { default \"\"; www.example.com web; }   # in http { }, a " +
			"line for each host, " +
			"then: if ($service = \"\") { return 404; } set $ups $service;",
	}
	if !r.resolves(d) {
		f.Why = "A client can have nginx call any address that it reaches, and each of its upstreams. Other names are " +
			"answered with 502: there is no resolver here; with one they would be looked up in DNS."
	}
	switch {
	case p.By != "":
		f.What += ", which " + safetext.Quote(p.By) + " captures"
		f.Change = "(?<" + p.Client + ">web|api)   # list the names that it may capture"
		if len(p.Client) == 1 {
			f.Change = "(web|api)   # list the names that it may capture"
		}
	case p.Client == "host":
		f.Why += " $host is always in lower case, while Tengine finds names with case."
	}
	r.add(f)
}

// resolves reports whether names without an upstream are looked up in DNS. With dyups this happens even without a
// resolver.
func (r *report) resolves(d *nginxtree.Directive) bool {
	return len(d.Inherited("resolver")) > 0 || len(d.Parent.Inherited("resolver")) > 0 ||
		slices.ContainsFunc(r.api, func(a *api) bool { return !a.lua })
}
