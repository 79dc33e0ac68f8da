package doctor

import (
	"fmt"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/upstream"
)

// checkHosts reports services with the name of a host that nginx proxies to.
func (r *report) checkHosts() {
	for _, h := range r.facts.Nginx.Hosts() {
		u, kept := r.kept(h.Name)
		if !kept || r.conf.is(h.At.File) {
			continue
		}
		_, written := r.facts.Written.Get(u.Name)
		local := upstream.SameName(h.Name, "localhost")
		if !h.Port && !local && written {
			continue // the upstream is meant
		}
		f := Finding{
			Check: "host-name", Severity: Problem, Where: h.At.Where(), Now: h.At.String(),
			What: fmt.Sprintf("nginx sends requests to the host %s, and swallowkeeper keeps an upstream of that name", finding.Show(h.Name)),
			Why:  "nginx sends them to the upstream instead.",
			Change: fmt.Sprintf("Write the host's address; or have swallowkeeper leave the service alone: add %q to exclude in [[registry]]",
				u.Name),
		}
		if h.Port {
			f.Why = "Beside an upstream of that name it may have no port: nginx refuses its configuration at its next reload or start."
		}
		if !written {
			f.Severity = Warning
			f.What = fmt.Sprintf("nginx sends requests to the host %s, and a service of that name is registered", finding.Show(h.Name))
			f.Why = "swallowkeeper leaves the service out where it can read this file (nginx_conf in [[gateway]]): " + f.Why
			if local {
				f.Why = "swallowkeeper leaves the service out. Its instances get no traffic."
			}
		}
		r.add(f)
	}
}
